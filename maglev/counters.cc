#include "maglev/counters.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace linimo {
namespace {

constexpr uint32_t kMaxWorkers = 1024;

uint64_t read(const uint64_t& word) {
  return __atomic_load_n(&word, __ATOMIC_RELAXED);
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
  struct stat status {};
  // Without the seal the other side could shrink the file and so end this process with SIGBUS.
  if (fstat(fd, &status) != 0 || (fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK) == 0) return std::nullopt;
  const auto size = static_cast<size_t>(status.st_size);
  if (size < counters_size(1)) return std::nullopt;
  void* memory = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return std::nullopt;
  CountersView view;
  view.block_ = std::shared_ptr<const CountersBlock>(
      static_cast<const CountersBlock*>(memory),
      [size](const CountersBlock* block) { munmap(const_cast<CountersBlock*>(block), size); });
  view.workers_ = view.block_->workers;
  if (view.block_->magic != kCountersMagic || view.block_->abi_version != LINIMO_ABI_VERSION ||
      view.workers_ == 0 || view.workers_ > kMaxWorkers || size < counters_size(view.workers_)) {
    return std::nullopt;
  }
  return view;
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

TrafficCount CountersView::backend(uint32_t id) const {
  TrafficCount sum;
  for (uint32_t i = 0; i < workers_ && id < LINIMO_MAX_BACKEND_IDS; ++i) {
    sum = add(sum, block_->worker(i).backends[id]);
  }
  return sum;
}

}  // namespace linimo
