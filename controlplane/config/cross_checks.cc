#include <map>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "controlplane/config/sections.h"
#include "controlplane/config/values.h"

namespace linimo {
namespace {

void check_encap_sources(const NodeConfig& node, const PoolSection& section) {
  for (size_t i = 0; i < section.backends.size(); ++i) {
    const bool v4 = section.pool.backends[i].address.is_v4();
    if (!(v4 ? node.encap_source4 : node.encap_source6).is_zero()) continue;
    // Once for a pool: there may be thousands, and one mend for all.
    section.place->place().attempt([&] {
      section.backends[i]->fail(
          fmt::format("[node] encap_source has no {} address to tunnel from", v4 ? "IPv4" : "IPv6"),
          "one of each family that backends have");
    });
    return;
  }
}

/// All VIPs, to be asked which of them, if any, covers an address: one look-up for each length in use.
class VipSet {
 public:
  void add(const Prefix& vip) { by_length_[vip.length].insert(vip.address); }

  bool covers(const Address& address) const {
    for (const auto& [length, addresses] : by_length_) {
      const auto found = addresses.find(masked(address, length));
      if (found != addresses.end() && Prefix{*found, length}.contains(address)) return true;
    }
    return false;
  }

 private:
  std::map<uint32_t, std::set<Address>> by_length_;
};

void check_backends_are_no_vips(const std::vector<PoolSection>& pools,
                                const std::vector<ServiceSection>& services) {
  VipSet vips;
  for (const ServiceSection& section : services) {
    for (const Prefix& vip : section.service.vips) vips.add(vip);
  }
  for (const PoolSection& section : pools) {
    for (size_t i = 0; i < section.backends.size(); ++i) {
      const Address& address = section.pool.backends[i].address;
      if (!vips.covers(address)) continue;
      section.place->place().attempt([&] {
        section.backends[i]->fail(fmt::format("backend {} lies inside a VIP", address.to_string()),
                                  "an address of its own: packets to it would come back here");
      });
    }
  }
}

void check_contending_services(const std::vector<ServiceSection>& services) {
  struct Claim {
    PortRange ports;
    const ServiceSection* section;
  };
  // Claims of one kind on one VIP do not overlap, so the last one that begins in time is the only candidate.
  using Claims = std::map<uint16_t, Claim>;  // by first port
  std::map<std::tuple<Prefix, uint8_t, PortKind>, Claims> all;
  for (const ServiceSection& section : services) {
    const ServiceConfig& service = section.service;
    for (size_t i = 0; i < service.vips.size(); ++i) {
      for (const PortRange& ports : service.ports) {
        Claims& claims = all[{service.vips[i], service.protocol, kind_of(ports)}];
        const auto after = claims.upper_bound(ports.last);
        if (after != claims.begin() && std::prev(after)->second.ports.last >= ports.first) {
          const ServiceSection& other = *std::prev(after)->second.section;
          section.place->place().attempt([&] {
            section.vips[i]->fail(
                fmt::format("service \"{}\" claims {} port {}, which service \"{}\" has (line {})",
                            service.name, service.vips[i].to_string(), ports_text(ports), other.service.name,
                            other.place->place().line),
                "each VIP and port in one service");
          });
        }
        claims[ports.first] = {ports, &section};
      }
    }
  }
}

template <typename Section>
void check_unique_names(const std::vector<Section>& sections, std::string_view kind,
                        const std::string& (*name_of)(const Section&)) {
  std::map<std::string_view, const Section*> seen;
  for (const Section& section : sections) {
    const auto [first, fresh] = seen.emplace(name_of(section), &section);
    if (fresh) continue;
    const size_t line = first->second->place->place().line;
    section.place->place().attempt([&] {
      section.place->fail(
          fmt::format("a second {} named \"{}\" (the first is in line {})", kind, name_of(section), line),
          "each name once");
    });
  }
}

void check_limits(const std::vector<PoolSection>& pools, const std::vector<ServiceSection>& services) {
  size_t backends = 0;
  uint64_t bytes = 0;
  for (const PoolSection& section : pools) {
    backends += section.pool.backends.size();
    if (backends > LINIMO_MAX_BACKEND_IDS) {
      section.place->fail("too many backends",
                          fmt::format("at most {} in all pools", LINIMO_MAX_BACKEND_IDS));
    }
    bytes += sizeof(linimo_pool) + section.pool.backends.size() * sizeof(linimo_backend) +
             uint64_t{section.pool.table_size} * sizeof(linimo_slot);
    // A quarter stays free for services and their rules, whose number is bounded below.
    if (bytes > LINIMO_MAX_SNAPSHOT_BYTES / 4 * 3)
      section.place->fail("the tables take too much memory", "3 GiB in all");
  }
  size_t rules = 0;
  for (const ServiceSection& section : services) {
    rules += section.service.vips.size() * section.service.ports.size();
    if (rules > 1'000'000)
      section.place->fail("too many VIPs times ports", "at most a million in all services");
  }
  if (services.size() > LINIMO_MAX_SERVICES) {
    services[LINIMO_MAX_SERVICES].place->fail("too many services",
                                              fmt::format("at most {}", LINIMO_MAX_SERVICES));
  }
}

}  // namespace

void check_across_sections(const Sections& sections) {
  check_unique_names<PoolSection>(sections.pools, "pool",
                                  [](const PoolSection& s) -> const std::string& { return s.pool.name; });
  check_unique_names<ServiceSection>(
      sections.services, "service",
      [](const ServiceSection& s) -> const std::string& { return s.service.name; });
  sections.place.attempt([&] { check_limits(sections.pools, sections.services); });
  if (sections.node_is_right) {
    for (const PoolSection& section : sections.pools) check_encap_sources(sections.node, section);
  }
  check_backends_are_no_vips(sections.pools, sections.services);
  check_contending_services(sections.services);
}

}  // namespace linimo
