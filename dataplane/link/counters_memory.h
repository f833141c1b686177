// The counters' shared memory, writer's side (maglev/counters.h says what is in it).
#pragma once

#include "maglev/counters.h"
#include "maglev/unique_fd.h"

namespace linimo {

class CountersMemory {
 public:
  /// `rows`: one for each thread that counts. Throws std::system_error.
  explicit CountersMemory(uint32_t rows);
  ~CountersMemory();
  CountersMemory(const CountersMemory&) = delete;

  WorkerCounters& row(uint32_t index) const { return block_->worker(index); }
  CountersBlock& block() const { return *block_; }
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  CountersBlock* block_;
  size_t size_;
};

}  // namespace linimo
