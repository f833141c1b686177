#include "maglev/address.h"

#include <charconv>

#include <arpa/inet.h>
#include <fmt/format.h>

namespace linimo {

std::optional<Address> Address::parse(std::string_view text) {
  const std::string copy(text);  // inet_pton wants a terminated string
  Address result;
  if (in_addr v4{}; inet_pton(AF_INET, copy.c_str(), &v4) == 1) return Address::v4(v4.s_addr);
  if (inet_pton(AF_INET6, copy.c_str(), result.bytes.data()) == 1) return result;
  return std::nullopt;
}

Address Address::v4(uint32_t network_order) {
  Address result;
  std::memcpy(result.bytes.data(), kMappedPrefix.data(), 12);
  std::memcpy(result.bytes.data() + 12, &network_order, 4);
  return result;
}

Address Address::from_abi(const linimo_addr& raw) {
  Address result;
  std::memcpy(result.bytes.data(), raw.bytes, 16);
  return result;
}

linimo_addr Address::to_abi() const {
  linimo_addr raw;
  std::memcpy(raw.bytes, bytes.data(), 16);
  return raw;
}

uint32_t Address::v4_network_order() const {
  uint32_t result = 0;
  std::memcpy(&result, bytes.data() + 12, 4);
  return result;
}

std::string Address::to_string() const {
  if (is_v4()) return fmt::format("{}.{}.{}.{}", bytes[12], bytes[13], bytes[14], bytes[15]);
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(AF_INET6, bytes.data(), text, sizeof text);
}

Address masked(const Address& address, uint32_t length) {
  Address result = address;
  for (uint32_t i = 0; i < 16; ++i) {
    const uint32_t kept = length > 8 * i ? length - 8 * i : 0;
    if (kept < 8) result.bytes[i] &= static_cast<uint8_t>(0xff00 >> kept);
  }
  return result;
}

std::optional<Prefix> Prefix::parse(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = Address::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  Prefix result{*address, 128};
  if (slash != std::string_view::npos) {
    const auto digits = text.substr(slash + 1);
    const uint32_t longest = address->is_v4() ? 32 : 128;
    uint32_t length = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
    if (error != std::errc{} || end != digits.data() + digits.size() || length > longest) return std::nullopt;
    result.length = 128 - longest + length;
  }
  if (masked(result.address, result.length) != result.address) return std::nullopt;
  return result;
}

bool Prefix::contains(const Address& other) const {
  return is_v4() == other.is_v4() && masked(other, length) == address;
}

std::string Prefix::to_string() const {
  const uint32_t length_in_family = is_v4() ? length - 96 : length;
  const uint32_t longest = is_v4() ? 32 : 128;
  if (length_in_family == longest) return address.to_string();
  return address.to_string() + "/" + std::to_string(length_in_family);
}

}  // namespace linimo
