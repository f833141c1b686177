#include "controlplane/health/grpc_health.h"

#include <cstdint>

namespace linimo {
namespace {

constexpr size_t kPrefixSize = 5;             // a flag for compression, then the length, big-endian
constexpr char kServiceField = (1 << 3) | 2;  // field 1, length-delimited (protobuf's encoding)
constexpr char kStatusField = (1 << 3) | 0;   // field 1, a varint

}  // namespace

std::string grpc_health_request(std::string_view service) {
  std::string message;
  if (!service.empty()) {
    message += kServiceField;
    message += static_cast<char>(service.size());
    message += service;
  }
  std::string framed(kPrefixSize, '\0');
  framed[kPrefixSize - 1] = static_cast<char>(message.size());
  return framed + message;
}

std::optional<uint64_t> grpc_serving_status(std::string_view body) {
  if (body.size() < kPrefixSize || body[0] != 0) return std::nullopt;
  uint32_t length = 0;
  for (size_t i = 1; i < kPrefixSize; ++i) length = length << 8 | static_cast<uint8_t>(body[i]);
  const std::string_view message = body.substr(kPrefixSize);
  if (message.size() != length) return std::nullopt;
  if (message.empty()) return 0;  // protobuf leaves out what is zero
  if (message[0] != kStatusField) return std::nullopt;
  uint64_t status = 0;
  for (size_t i = 1; i < message.size() && i <= 9; ++i) {
    const auto byte = static_cast<uint8_t>(message[i]);
    status |= static_cast<uint64_t>(byte & 0x7f) << (7 * (i - 1));
    if ((byte & 0x80) != 0) continue;
    return i + 1 == message.size() ? std::optional(status) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace linimo
