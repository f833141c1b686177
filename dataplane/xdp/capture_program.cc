#include "dataplane/xdp/capture_program.h"

#include <cerrno>
#include <cstring>
#include <ctime>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include "bpf/capture.skel.h"

namespace linimo::xdp {
namespace {

/// As in bpf/captured.h.
struct CaptureOfCpu {
  linimo_capture_rate rate;
  uint64_t missed;
  linimo_captured packet;
};

uint64_t nanoseconds_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

tl::unexpected<std::string> failed(const char* what) {
  return tl::unexpected(fmt::format("{}: {}", what, std::strerror(errno)));
}

}  // namespace

CaptureProgram::~CaptureProgram() {
  ring_buffer__free(ring_);
  linimo_capture_bpf__destroy(object_);
}

tl::expected<std::unique_ptr<CaptureProgram>, std::string> CaptureProgram::load(const Program& program,
                                                                                const CaptureSetting& setting,
                                                                                const CaptureProgram* first) {
  std::unique_ptr<CaptureProgram> loaded(new CaptureProgram);
  linimo_capture_bpf* object = loaded->object_ = linimo_capture_bpf__open();
  if (object == nullptr) return failed("the capture's program");
  const Shape& shape = program.shape();
  uint64_t mac = 0;
  std::memcpy(&mac, setting.mac.data(), sizeof(Mac));
  object->rodata->port_number = setting.port;
  object->bss->port_mac = mac;
  object->rodata->first_row = setting.first_row;
  object->rodata->queue_rows = setting.rows;
  object->rodata->row_count = shape.all_rows();
  object->rodata->bucket_count = static_cast<uint32_t>(shape.buckets());
  object->rodata->capture_snap = setting.snap;
  object->rodata->capture_rate = setting.rate;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object->obj) {
    if (bpf_map__is_internal(map)) continue;
    int shared = program.map_fd(bpf_map__name(map));
    if (shared < 0 && first == nullptr) continue;  // its own
    if (shared < 0) shared = bpf_object__find_map_fd_by_name(first->object_->obj, bpf_map__name(map));
    if (bpf_map__reuse_fd(map, shared) != 0) return failed("a map of the capture's program");
  }
  if (const int result = linimo_capture_bpf__load(object); result != 0) {
    errno = -result;
    return failed("the kernel refused the capture's program (--log-level debug shows why)");
  }
  if (first != nullptr) return loaded;
  loaded->next_ = std::make_unique<linimo_captured>();
  loaded->clock_offset_ns_ = nanoseconds_of(CLOCK_REALTIME) - nanoseconds_of(CLOCK_MONOTONIC);
  loaded->ring_ = ring_buffer__new(bpf_map__fd(object->maps.capture_ring), on_record, loaded.get(), nullptr);
  if (loaded->ring_ == nullptr) return failed("the capture's ring");
  return loaded;
}

int CaptureProgram::fd() const {
  return bpf_program__fd(object_->progs.linimo_capture);
}

int CaptureProgram::on_record(void* self, void* data, size_t size) {
  auto& program = *static_cast<CaptureProgram*>(self);
  if (size > sizeof *program.next_) return 0;
  std::memcpy(program.next_.get(), data, size);
  program.next_->time_ns += program.clock_offset_ns_;
  program.not_taken_ = !(*program.take_)(*program.next_);
  return program.not_taken_ ? -EAGAIN : 0;
}

void CaptureProgram::read(const Capture::Take& take) {
  missed_ = count_missed();
  if (not_taken_ && !take(*next_)) return;
  not_taken_ = false;
  take_ = &take;
  (void)ring_buffer__consume(ring_);
  take_ = nullptr;
}

uint64_t CaptureProgram::count_missed() const {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) return 0;
  std::vector<CaptureOfCpu> all(static_cast<size_t>(cpus));
  const uint32_t only = 0;
  if (bpf_map_lookup_elem(bpf_map__fd(object_->maps.capture_cpus), &only, all.data()) != 0) return 0;
  uint64_t missed = 0;
  for (const CaptureOfCpu& cpu : all) missed += cpu.missed;
  return missed;
}

}  // namespace linimo::xdp
