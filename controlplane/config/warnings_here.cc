// What only the machine that is to run a configuration can tell. Looks, and changes nothing.
#include <cstring>
#include <set>

#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include "controlplane/config/sections.h"

namespace linimo {
namespace {

std::set<Address> own_addresses() {
  std::set<Address> own;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return own;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    Address address;
    if (entry->ifa_addr->sa_family == AF_INET) {
      address = *Address::parse("0.0.0.0");
      std::memcpy(&address.bytes[12], &reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr, 4);
    } else if (entry->ifa_addr->sa_family == AF_INET6) {
      std::memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr)->sin6_addr,
                  16);
    } else {
      continue;
    }
    own.insert(address);
  }
  freeifaddrs(list);
  return own;
}

bool is_program(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & S_IXOTH) != 0;
}

/// A netdev's name, and not a PCI address or one of DPDK's virtual devices.
bool is_netdev_name(const std::string& interface) {
  return interface.find(':') == std::string::npos && !interface.starts_with("net_");
}

}  // namespace

std::vector<std::string> warnings_here(const Sections& sections) {
  std::vector<std::string> warnings;
  const auto warn = [&](const TomlPlace& place, std::string_view what) {
    warnings.push_back(fmt::format("{}: {}", place.to_string(), what));
  };
  const std::set<Address> own = own_addresses();
  const NodeConfig& node = sections.node;
  for (const std::string& interface : node.interfaces) {
    if (is_netdev_name(interface) && if_nametoindex(interface.c_str()) == 0)
      warn(sections.place, fmt::format("[node] interfaces: there is no interface {} here", interface));
  }
  for (const auto& [source, prefix] : {std::pair(node.encap_source4, node.encap_prefix4),
                                       std::pair(node.encap_source6, node.encap_prefix6)}) {
    if (source.is_zero() || prefix != 128 || own.contains(source)) continue;
    warn(sections.place, fmt::format("[node] encap_source: {} is not an address of this node, so ICMP errors "
                                     "about tunnels do not reach it",
                                     source.to_string()));
  }
  for (const PoolSection& section : sections.pools) {
    for (size_t i = 0; i < section.backends.size(); ++i) {
      const Address& address = section.pool.backends[i].address;
      if (own.contains(address)) {
        warn(section.backends[i]->place(),
             fmt::format("backend {} is an address of this node, which does not forward to itself",
                         address.to_string()));
      }
    }
    if (const auto& health = section.pool.health; health && health->type == CheckType::kExec) {
      const std::string path = fmt::format("{}/{}", kChecksFolder, health->program);
      if (!is_program(path)) {
        warn(section.place->place(),
             fmt::format("pool \"{}\": {} is not a program that everyone may run", section.pool.name, path));
      }
    }
  }
  for (const ServiceSection& section : sections.services) {
    for (size_t i = 0; i < section.vips.size(); ++i) {
      for (const Address& address : own) {
        if (!section.service.vips[i].contains(address)) continue;
        warn(section.vips[i]->place(),
             fmt::format("{} is an address of this node, and would be forwarded instead of received",
                         address.to_string()));
      }
    }
  }
  return warnings;
}

}  // namespace linimo
