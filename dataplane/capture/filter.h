// Which packets a capture wants: a program of classic BPF, as libpcap compiles it, over the frame as it came.
//
// Whoever sends it may be hostile. What is taken here ends (it jumps forward only), reads no further than the
// frame, and no memory of its own before that was written.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "maglev/protocol.h"

namespace linimo {

class Filter {
 public:
  /// The error says what is wrong with which step, counted from 0.
  static tl::expected<Filter, std::string> of(std::span<const protocol::FilterStep> steps);

  /// `kept`: how many of the frame's `length` bytes are at `frame`; what would be behind them matches
  /// nothing.
  bool matches(const uint8_t* frame, uint32_t length, uint32_t kept) const;

  std::span<const protocol::FilterStep> steps() const { return steps_; }

 private:
  explicit Filter(std::span<const protocol::FilterStep> steps) : steps_(steps.begin(), steps.end()) {}

  std::vector<protocol::FilterStep> steps_;
};

}  // namespace linimo
