#include "maglev/counters.h"

#include <algorithm>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace linimo {
namespace {

constexpr uint32_t kMaxWorkers = 1024;
constexpr size_t kArrayMap = 2;  // BPF_MAP_TYPE_ARRAY

uint64_t read(const uint64_t& word) {
  return __atomic_load_n(&word, __ATOMIC_RELAXED);
}

/// Values of a BPF array map lie one behind the other, and it never changes its size. What the kernel says of
/// the descriptor is readable without the right to call bpf().
std::optional<size_t> array_map_size(int fd) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(fd));
  std::optional<size_t> type;
  size_t value_size = 0;
  size_t entries = 0;
  for (std::string line; std::getline(info, line);) {
    const auto number = [&line] { return std::strtoull(line.c_str() + line.find(':') + 1, nullptr, 10); };
    if (line.starts_with("map_type:")) type = number();
    if (line.starts_with("value_size:")) value_size = number();
    if (line.starts_with("max_entries:")) entries = number();
  }
  if (type != kArrayMap || value_size % 8 != 0) return std::nullopt;
  return value_size * entries;
}

/// Bytes that can be mapped for good. Without the seal the other side could shrink its file and so end this
/// process with SIGBUS.
std::optional<size_t> lasting_size(int fd) {
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0) return array_map_size(fd);
  struct stat status {};
  if ((seals & F_SEAL_SHRINK) == 0 || fstat(fd, &status) != 0) return std::nullopt;
  return static_cast<size_t>(status.st_size);
}

}  // namespace

size_t counters_size(uint32_t workers) {
  return sizeof(CountersBlock) + size_t{workers} * sizeof(WorkerCounters);
}

const char* outcome_name(linimo_outcome outcome) {
  static constexpr const char* kNames[] = {
#define LINIMO_OUTCOME_NAME(name) #name,
      LINIMO_OUTCOMES(LINIMO_OUTCOME_NAME)
#undef LINIMO_OUTCOME_NAME
  };
  return outcome < LINIMO_OUTCOME_COUNT ? kNames[outcome] : "unknown";
}

std::optional<CountersView> CountersView::map(int fd) {
  const std::optional<size_t> lasting = lasting_size(fd);
  if (!lasting || *lasting < counters_size(1)) return std::nullopt;
  const size_t size = *lasting;
  void* memory = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return std::nullopt;
  CountersView view;
  view.block_ = std::shared_ptr<const CountersBlock>(
      static_cast<const CountersBlock*>(memory),
      [size](const CountersBlock* block) { munmap(const_cast<CountersBlock*>(block), size); });
  view.workers_ = view.block_->workers;
  struct stat status {};
  if (fstat(fd, &status) == 0) view.inode_ = status.st_ino;
  if (view.block_->magic != kCountersMagic || view.block_->abi_version != LINIMO_ABI_VERSION ||
      view.workers_ == 0 || view.workers_ > kMaxWorkers || size < counters_size(view.workers_)) {
    return std::nullopt;
  }
  return view;
}

uint64_t CountersView::path_mtus_lowered() const {
  return read(block_->path_mtus_lowered);
}

uint64_t CountersView::transmit_lost() const {
  return read(block_->transmit_lost);
}

uint64_t CountersView::receive_lost() const {
  return read(block_->receive_lost);
}

uint64_t CountersView::tunnel_errors(size_t kind) const {
  return kind < std::size(block_->tunnel_errors) ? read(block_->tunnel_errors[kind]) : 0;
}

std::span<const TunnelErrorCount> CountersView::tunnel_errors_by_backend() const {
  const std::span all(block_->tunnel_errors_of);
  return all.first(
      std::min<size_t>(__atomic_load_n(&block_->tunnel_error_backends, __ATOMIC_ACQUIRE), all.size()));
}

uint64_t CountersView::path_mtus_ignored() const {
  return __atomic_load_n(&block_->path_mtus_ignored, __ATOMIC_RELAXED);
}

uint64_t CountersView::path_mtus_lowered_now() const {
  return __atomic_load_n(&block_->path_mtus_lowered_now, __ATOMIC_RELAXED);
}

uint64_t CountersView::outcome(linimo_outcome which) const {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < workers_; ++i) sum += read(block_->worker(i).outcomes[which]);
  return sum;
}

namespace {

TrafficCount add(TrafficCount sum, const TrafficCount& row) {
  sum.packets += read(row.packets);
  sum.bytes += read(row.bytes);
  sum.new_flows += read(row.new_flows);
  return sum;
}

}  // namespace

TrafficCount CountersView::service(uint32_t id) const {
  TrafficCount sum;
  for (uint32_t i = 0; i < workers_ && id < LINIMO_MAX_SERVICES; ++i)
    sum = add(sum, block_->worker(i).services[id]);
  return sum;
}

uint64_t CountersView::repeated_syns(uint32_t id) const {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < workers_ && id < LINIMO_MAX_BACKEND_IDS; ++i)
    sum += read(block_->worker(i).repeated_syns[id]);
  return sum;
}

FlowCount CountersView::flows_of_backend(uint32_t id) const {
  FlowCount sum;
  for (uint32_t i = 0; i < workers_ && id < LINIMO_MAX_BACKEND_IDS; ++i) {
    const TrafficCount& backend = block_->worker(i).backends[id];
    sum.tcp += __atomic_load_n(&backend.tcp_flows, __ATOMIC_RELAXED);
    sum.udp += __atomic_load_n(&backend.udp_flows, __ATOMIC_RELAXED);
  }
  return sum;
}

uint64_t CountersView::census_rounds() const {
  std::optional<uint64_t> least;
  for (uint32_t i = 0; i < workers_; ++i) {
    const WorkerCounters& worker = block_->worker(i);
    if (read(worker.flows_capacity) == 0) continue;  // it has no table
    const uint64_t rounds = __atomic_load_n(&worker.census_rounds, __ATOMIC_ACQUIRE);
    least = std::min(least.value_or(rounds), rounds);
  }
  return least.value_or(0);
}

TrafficCount CountersView::backend(uint32_t id) const {
  TrafficCount sum;
  for (uint32_t i = 0; i < workers_ && id < LINIMO_MAX_BACKEND_IDS; ++i) {
    sum = add(sum, block_->worker(i).backends[id]);
  }
  return sum;
}

}  // namespace linimo
