// The service of a port of a VIP, in one probe: for VIPs that are single addresses, and rules that name few
// ports, of services that everyone may use. What is not here may still have a service: Generation::service
// knows all.
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

  // Fibonacci hashing: the product's high bits depend on all bits of what was multiplied.
  static constexpr uint64_t kSpread = 0x9e3779b97f4a7c15;

  struct Key4 {
    uint64_t word = 0;

    Key4() = default;
    Key4(uint32_t address, uint16_t port, uint8_t protocol)
        : word(uint64_t{address} | uint64_t{port} << 32 | uint64_t{protocol} << 48) {}
    uint64_t spread() const { return word * kSpread; }
    bool operator==(const Key4&) const = default;
  };
  struct Key6 {
    AddressWords address;
    uint64_t port = 0;

    Key6() = default;
    Key6(const AddressWords& address, uint16_t port, uint8_t protocol)
        : address(address), port(uint64_t{port} | uint64_t{protocol} << 16) {}
    uint64_t spread() const {
      const uint64_t mixed = address.high * kSpread ^ (address.low ^ port << 32);
      return (mixed ^ mixed >> 32) * kSpread;
    }
    bool operator==(const Key6&) const = default;
  };

  /// The same as they lie in memory, for the path in lanes: a place is found by the upper bits of
  /// `key.spread()`.
  template <typename Key>
  struct Place {
    Key key;
    uint32_t service = kNone;
  };
  template <typename Key>
  struct View {
    const Place<Key>* places;
    uint64_t mask;
    uint32_t shift;
  };
  using Places4 = View<Key4>;
  using Places6 = View<Key6>;

  ServiceTable(std::span<const linimo_vip> vips, std::span<const linimo_rule> rules,
               std::span<const linimo_service> services) {
    size_t v4 = 0, v6 = 0;
    for_each(vips, rules, services,
             [&](const AddressWords& address, auto...) { ++(address.is_v4() ? v4 : v6); });
    v4_.make_room(v4);
    v6_.make_room(v6);
    for_each(vips, rules, services,
             [&](const AddressWords& address, uint16_t port, uint8_t protocol, uint32_t service) {
               if (address.is_v4()) {
                 v4_.add(Key4(static_cast<uint32_t>(address.low >> 32), port, protocol), service);
               } else {
                 v6_.add(Key6(address, port, protocol), service);
               }
             });
  }

  /// The index of the service, or kNone. All in network byte order. IPv6 on the wire may look like IPv4 in
  /// the snapshot, hence two functions.
  uint32_t find_v4(uint32_t address, uint16_t port, uint8_t protocol) const {
    return v4_.find(Key4(address, port, protocol));
  }
  uint32_t find_v6(const AddressWords& address, uint16_t port, uint8_t protocol) const {
    return v6_.find(Key6(address, port, protocol));
  }

  Places4 places4() const { return v4_.view(); }
  Places6 places6() const { return v6_.view(); }

 private:
  static constexpr uint32_t kMostPorts = 64;         // of a rule
  static constexpr uint32_t kMostEntries = 1 << 16;  // of all: 2 MB

  /// Open addressing, at most half full.
  template <typename Key>
  class Places {
   public:
    void make_room(size_t entries) {
      places_.resize(std::bit_ceil(2 * entries + 2));
      shift_ = static_cast<uint32_t>(64 - std::countr_zero(places_.size()));
      mask_ = places_.size() - 1;
    }
    void add(const Key& key, uint32_t service) {
      uint64_t at = key.spread() >> shift_;
      while (places_[at].service != kNone) at = (at + 1) & mask_;
      places_[at] = {key, service};
    }
    uint32_t find(const Key& key) const {
      for (uint64_t at = key.spread() >> shift_;; at = (at + 1) & mask_) {
        const Place<Key>& found = places_[at];
        if (found.key == key || found.service == kNone) [[likely]]
          return found.service;  // a free place says kNone, whatever its key
      }
    }

    View<Key> view() const { return {places_.data(), mask_, shift_}; }

   private:
    std::vector<Place<Key>> places_;
    uint64_t mask_ = 0;
    uint32_t shift_ = 0;
  };

  template <typename Visit>
  static void for_each(std::span<const linimo_vip> vips, std::span<const linimo_rule> rules,
                       std::span<const linimo_service> services, Visit visit) {
    uint32_t left = kMostEntries;
    for (const linimo_vip& vip : vips) {
      if (vip.prefix_length != 128) continue;
      const AddressWords address = AddressWords::v6(vip.address.bytes);
      for (const linimo_rule& rule : rules.subspan(vip.rule_first, vip.rule_count)) {
        const uint32_t ports = uint32_t{rule.port_last} - rule.port_first + 1;
        if (ports > kMostPorts || ports > left || services[rule.service].source_count != 0) continue;
        left -= ports;
        for (uint32_t port = rule.port_first; port <= rule.port_last; ++port)
          visit(address, __builtin_bswap16(static_cast<uint16_t>(port)), static_cast<uint8_t>(rule.protocol),
                uint32_t{rule.service});
      }
    }
  }

  Places<Key4> v4_;
  Places<Key6> v6_;
};

}  // namespace linimo
