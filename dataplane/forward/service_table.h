// The service of a port of a VIP, in one probe: for VIPs that are single addresses, and rules that name few
// ports. What is not here may still have a service: Generation::service knows all.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/forward/vip_table.h"
#include "maglev/abi.h"

namespace linimo {

class ServiceTable {
 public:
  static constexpr uint32_t kNone = ~uint32_t{0};

  ServiceTable(std::span<const linimo_vip> vips, std::span<const linimo_rule> rules) {
    size_t entries = 0;
    for_each(vips, rules, [&](const auto&...) { ++entries; });
    places_.resize(std::bit_ceil(2 * entries + 2));
    shift_ = static_cast<uint32_t>(64 - std::countr_zero(places_.size()));
    mask_ = places_.size() - 1;
    for_each(vips, rules, [&](const AddressWords& address, uint32_t port, uint32_t service) {
      uint64_t at = place(address, port);
      while (places_[at].service != kNone) at = (at + 1) & mask_;
      places_[at] = {address, port, service};
    });
  }

  /// `port`: see port_of. The index of the service, or kNone.
  uint32_t find(const AddressWords& address, uint32_t port) const {
    for (uint64_t at = place(address, port);; at = (at + 1) & mask_) {
      const Place& found = places_[at];
      if (found.address == address && found.port == port) return found.service;
      if (found.service == kNone) return kNone;
    }
  }

  /// A port (network byte order) of a protocol of an IP version: IPv6 on the wire may look like IPv4 in here.
  static uint32_t port_of(uint16_t port, uint8_t protocol, bool v6) {
    return port | uint32_t{protocol} << 16 | uint32_t{v6} << 24;
  }

 private:
  static constexpr uint32_t kMostPorts = 64;         // of a rule
  static constexpr uint32_t kMostEntries = 1 << 16;  // of all: 3 MB

  struct Place {
    AddressWords address;
    uint32_t port = 0;
    uint32_t service = kNone;
  };

  template <typename Visit>
  static void for_each(std::span<const linimo_vip> vips, std::span<const linimo_rule> rules, Visit visit) {
    uint32_t left = kMostEntries;
    for (const linimo_vip& vip : vips) {
      if (vip.prefix_length != 128) continue;
      const AddressWords address = AddressWords::v6(vip.address.bytes);
      for (const linimo_rule& rule : rules.subspan(vip.rule_first, vip.rule_count)) {
        const uint32_t ports = uint32_t{rule.port_last} - rule.port_first + 1;
        if (ports > kMostPorts || ports > left) continue;
        left -= ports;
        for (uint32_t port = rule.port_first; port <= rule.port_last; ++port) {
          visit(address,
                port_of(__builtin_bswap16(static_cast<uint16_t>(port)), static_cast<uint8_t>(rule.protocol),
                        !address.is_v4()),
                uint32_t{rule.service});
        }
      }
    }
  }

  uint64_t place(const AddressWords& address, uint32_t port) const {
    uint64_t mixed = address.low * 0x9e3779b97f4a7c15 ^ (address.high ^ port) * 0xc2b2ae3d27d4eb4f;
    mixed = (mixed ^ mixed >> 32) * 0x9e3779b97f4a7c15;
    return mixed >> shift_;
  }

  std::vector<Place> places_;
  uint64_t mask_ = 0;
  uint32_t shift_ = 0;
};

}  // namespace linimo
