// Addresses and prefixes: one type for both families, the 128-bit form of abi.h.
//
//   auto vip = Address::parse("203.0.113.10");     // std::nullopt when it is not an address
//   vip->is_v4(); vip->to_string();
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "maglev/abi.h"

namespace linimo {

struct Address {
  std::array<uint8_t, 16> bytes{};  // network byte order, IPv4 as ::ffff:a.b.c.d

  static std::optional<Address> parse(std::string_view text);
  static Address v4(uint32_t network_order);
  static Address from_abi(const linimo_addr& raw);
  linimo_addr to_abi() const;

  bool is_v4() const { return std::memcmp(bytes.data(), kMappedPrefix.data(), 12) == 0; }
  bool is_zero() const { return *this == Address{}; }
  uint32_t v4_network_order() const;
  std::string to_string() const;

  auto operator<=>(const Address&) const = default;

 private:
  static constexpr std::array<uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
};

struct Prefix {
  Address address;        // host bits zero
  uint32_t length = 128;  // of the 128-bit form: an IPv4 /24 is 120

  /// "203.0.113.0/24", "2001:db8::/32", or an address. Refuses host bits that are set.
  static std::optional<Prefix> parse(std::string_view text);
  bool is_v4() const { return length >= 96 && address.is_v4(); }
  bool contains(const Address& other) const;  // never true across families: ::/0 holds no IPv4 address
  bool contains(const Prefix& other) const {
    return length <= other.length && is_v4() == other.is_v4() && contains(other.address);
  }
  std::string to_string() const;

  auto operator<=>(const Prefix&) const = default;
};

/// The address with all bits behind the first `length` cleared.
Address masked(const Address& address, uint32_t length);

}  // namespace linimo
