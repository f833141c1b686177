// A file of captured packets in the format pcapng (draft-ietf-opsawg-pcapng), as bytes to be written one
// after the other, in host byte order: the beginning, then interfaces and packets in any order, but each
// interface before its packets.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace linimo::pcapng {

/// `program`: what wrote it.
std::string beginning(std::string_view program);

/// The next interface, from number 0 on. Of Ethernet; time stamps are in nanoseconds.
std::string interface(std::string_view name, uint32_t snap);

enum class Direction : uint32_t { kIn = 1, kOut = 2 };

struct Packet {
  uint32_t interface = 0;
  uint64_t time_ns = 0;  // since 1970
  uint32_t length = 0;   // of the frame, of which `bytes` is the beginning
  Direction direction = Direction::kIn;
  std::span<const uint8_t> bytes = {};
  std::string_view comment = {};
};
std::string packet(const Packet& packet);

}  // namespace linimo::pcapng
