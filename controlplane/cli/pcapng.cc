#include "controlplane/cli/pcapng.h"

#include <algorithm>
#include <type_traits>

namespace linimo::pcapng {
namespace {

constexpr uint32_t kSectionHeader = 0x0a0d0d0a, kInterface = 1, kEnhancedPacket = 6;
constexpr uint32_t kByteOrder = 0x1a2b3c4d;
constexpr uint16_t kEndOfOptions = 0, kComment = 1, kName = 2, kPacketFlags = 2, kUserApplication = 4,
                   kResolution = 9;
constexpr uint16_t kEthernet = 1;
constexpr char kNanoseconds = 9;
constexpr size_t kLongestOption = 0xffff;

template <typename Number>
void put(std::string& bytes, std::type_identity_t<Number> number) {
  const Number value = number;
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_padded(std::string& bytes, std::string_view content) {
  bytes += content;
  bytes.append((4 - content.size() % 4) % 4, '\0');
}

void put_option(std::string& bytes, uint16_t code, std::string_view value) {
  value = value.substr(0, kLongestOption);
  put<uint16_t>(bytes, code);
  put<uint16_t>(bytes, static_cast<uint16_t>(value.size()));
  put_padded(bytes, value);
}

void end_options(std::string& bytes) {
  put_option(bytes, kEndOfOptions, {});
}

/// With its length in front and behind.
std::string block(uint32_t type, std::string_view body) {
  constexpr size_t kAround = 12;
  std::string bytes;
  const auto length = static_cast<uint32_t>(kAround + body.size());
  put<uint32_t>(bytes, type);
  put<uint32_t>(bytes, length);
  bytes += body;
  put<uint32_t>(bytes, length);
  return bytes;
}

}  // namespace

std::string beginning(std::string_view program) {
  std::string body;
  put<uint32_t>(body, kByteOrder);
  put<uint16_t>(body, 1);  // version 1.0
  put<uint16_t>(body, 0);
  put<uint64_t>(body, ~uint64_t{0});  // nobody knows yet how long it will be
  put_option(body, kUserApplication, program);
  end_options(body);
  return block(kSectionHeader, body);
}

std::string interface(std::string_view name, uint32_t snap) {
  std::string body;
  put<uint16_t>(body, kEthernet);
  put<uint16_t>(body, 0);
  put<uint32_t>(body, snap);
  put_option(body, kName, name);
  put_option(body, kResolution, {&kNanoseconds, 1});
  end_options(body);
  return block(kInterface, body);
}

std::string packet(const Packet& packet) {
  std::string body;
  put<uint32_t>(body, packet.interface);
  put<uint32_t>(body, static_cast<uint32_t>(packet.time_ns >> 32));
  put<uint32_t>(body, static_cast<uint32_t>(packet.time_ns));
  put<uint32_t>(body, static_cast<uint32_t>(packet.bytes.size()));
  put<uint32_t>(body, packet.length);
  put_padded(body, {reinterpret_cast<const char*>(packet.bytes.data()), packet.bytes.size()});
  if (!packet.comment.empty()) put_option(body, kComment, packet.comment);
  std::string flags;
  put<uint32_t>(flags, static_cast<uint32_t>(packet.direction));
  put_option(body, kPacketFlags, flags);
  end_options(body);
  return block(kEnhancedPacket, body);
}

}  // namespace linimo::pcapng
