// What a worker has to tell of its flows, on its way to the control thread: a bounded ring of one writer and
// one reader that loses what finds no room.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "maglev/abi.h"

namespace linimo {

class FlowWords {
 public:
  static constexpr uint32_t kMost = 1024;

  /// The worker. False: there is no room.
  bool push(const linimo_flow_word& word) {
    const uint32_t written = written_.load(std::memory_order_relaxed);
    if (written - read_.load(std::memory_order_acquire) == kMost) return false;
    words_[written % kMost] = word;
    written_.store(written + 1, std::memory_order_release);
    return true;
  }

  /// The control thread. False: there is none.
  bool pop(linimo_flow_word& word) {
    const uint32_t read = read_.load(std::memory_order_relaxed);
    if (read == written_.load(std::memory_order_acquire)) return false;
    word = words_[read % kMost];
    read_.store(read + 1, std::memory_order_release);
    return true;
  }

 private:
  alignas(64) std::atomic<uint32_t> written_ = 0;
  alignas(64) std::atomic<uint32_t> read_ = 0;
  std::array<linimo_flow_word, kMost> words_;
};

}  // namespace linimo
