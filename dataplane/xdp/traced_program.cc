#include "dataplane/xdp/traced_program.h"

#include <cerrno>
#include <cstring>
#include <random>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>

#include "bpf/trace.skel.h"
#include "dataplane/xdp/oversized.h"
#include "dataplane/xdp/ticks.h"
#include "maglev/rules/next_hop.h"

namespace linimo::xdp {
namespace {

constexpr size_t kShortestFrame = 14;  // that the kernel runs a program for
constexpr size_t kGrowth = 256;

/// What the process would make of a frame that it is handed (fragment_thread.h).
void take_handed(std::span<const uint8_t> bytes, Traced& traced) {
  linimo_xdp_handed handed{};
  if (bytes.size() <= sizeof handed) return;
  std::memcpy(&handed, bytes.data(), sizeof handed);
  if (handed.ifindex == 0) return;  // a fragment, which waits
  traced.frames = cut_frame(handed, bytes.subspan(sizeof handed), std::random_device()());
  traced.told.outcome = traced.frames.empty() ? uint32_t{LINIMO_OUTCOME_too_big} : handed.sent_as;
}

}  // namespace

TracedProgram::~TracedProgram() {
  linimo_trace_bpf__destroy(object_);
}

tl::expected<std::unique_ptr<TracedProgram>, std::string> TracedProgram::load(const Program& program) {
  linimo_trace_bpf* object = linimo_trace_bpf__open();
  if (object == nullptr) return tl::unexpected<std::string>("no memory for the traced program");
  std::unique_ptr<TracedProgram> traced(new TracedProgram(program, object));
  const Shape& shape = program.shape();
  object->rodata->queue_rows = 1;
  object->rodata->row_count = shape.all_rows();
  object->rodata->bucket_count = static_cast<uint32_t>(shape.buckets());
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object->obj) {
    if (bpf_map__is_internal(map)) continue;
    if (bpf_map__reuse_fd(map, program.map_fd(bpf_map__name(map))) != 0)
      return tl::unexpected(fmt::format("a map of the traced program: {}", std::strerror(errno)));
  }
  if (const int result = linimo_trace_bpf__load(object); result != 0) {
    return tl::unexpected(fmt::format(
        "the kernel refused the traced program: {} (--log-level debug shows why)", std::strerror(-result)));
  }
  return traced;
}

tl::expected<Traced, std::string> TracedProgram::run(uint32_t port, uint32_t row,
                                                     std::span<const uint8_t> frame) {
  if (frame.size() < kShortestFrame) return tl::unexpected<std::string>("a frame has 14 bytes at least");
  auto& memory = *object_->bss;
  uint64_t mac = 0;
  std::memcpy(&mac, program_.mac_of(port).data(), sizeof(Mac));
  memory.port_mac = mac;
  memory.port_number = port;
  memory.first_row = row;
  memory.told = {};
  memory.told.outcome = LINIMO_OUTCOME_COUNT;

  std::vector<uint8_t> out(frame.size() + kGrowth);
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = out.data(),
              .data_size_in = static_cast<uint32_t>(frame.size()),
              .data_size_out = static_cast<uint32_t>(out.size()));
  if (bpf_prog_test_run_opts(bpf_program__fd(object_->progs.linimo_trace), &options) != 0) {
    return tl::unexpected(
        errno == EINVAL
            ? fmt::format("the kernel tries no frames of {} bytes: at most 17 pages less headroom",
                          frame.size())
            : fmt::format("the kernel did not run the traced program: {}", std::strerror(errno)));
  }
  out.resize(options.data_size_out);

  Traced traced;
  traced.told = memory.told;
  traced.told.row = row;
  traced.told.entry_age = static_cast<uint32_t>(traced.told.entry_age * kNsOfTick / 1'000'000);
  if (const auto live = program_.live()) traced.told.generation = live->header().generation;
  traced.port = port;
  const bool sent = options.retval == XDP_TX || options.retval == XDP_REDIRECT;
  if (sent && traced.told.reached == LINIMO_TRACE_SENT) traced.port = linimo_next_hop_port(traced.told.way);
  if (options.retval == XDP_REDIRECT && traced.told.outcome == LINIMO_OUTCOME_COUNT)
    take_handed(out, traced);
  else if (sent || options.retval == XDP_PASS)
    traced.frames.push_back(std::move(out));
  traced.told.pieces = static_cast<uint32_t>(traced.frames.size());
  return traced;
}

}  // namespace linimo::xdp
