// What a packet that an engine was asked about would have become.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "maglev/trace.h"

namespace linimo {

struct Traced {
  linimo_trace told{};
  std::string leaves_by = {};                // the interface, as it is configured; an engine says it
  uint32_t port = 0;                         // by which it would leave, where it is for the wire
  std::vector<std::vector<uint8_t>> frames;  // that would go on, to the wire or to the kernel; none: it would
                                             // be dropped, or held
};

}  // namespace linimo
