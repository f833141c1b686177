// A frame in words: "tcp 198.51.100.7:4242 -> 203.0.113.10:443, 60 bytes, flags S".
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace linimo {

/// `frame`: its beginning at least; `length`: of the whole. What cannot be read of it is left out.
std::string frame_text(std::span<const uint8_t> frame, uint32_t length);

}  // namespace linimo
