#include "dataplane/dpdk/device_kind.h"

#include <algorithm>
#include <iterator>
#include <map>

#include <fmt/format.h>
#include <linux/if_link.h>

namespace linimo::dpdk {
namespace {

// Other kinds have a link of another meaning: a veth's is its peer.
constexpr std::string_view kStacked[] = {"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"};
constexpr std::string_view kMadeOfOthers[] = {"bond", "team", "bridge"};

struct Device {
  std::string name, kind;
  int below = 0, master = 0;

  bool is_among(auto& kinds) const { return std::ranges::find(kinds, kind) != std::end(kinds); }
};

std::map<int, Device> all_devices(Netlink& netlink) {
  std::map<int, Device> devices;
  netlink.dump(RTM_GETLINK, AF_UNSPEC, sizeof(ifinfomsg), [&](const nlmsghdr& message) {
    const auto* fixed = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
    Device& device = devices[fixed->ifi_index];
    for_each_attribute(message, sizeof *fixed, [&](const nlattr* attribute) {
      const auto number = [&] { return static_cast<int>(mnl_attr_get_u32(attribute)); };
      switch (mnl_attr_get_type(attribute)) {
        case IFLA_IFNAME:
          device.name = mnl_attr_get_str(attribute);
          break;
        case IFLA_LINK:
          device.below = number();
          break;
        case IFLA_MASTER:
          device.master = number();
          break;
        case IFLA_LINKINFO:
          for_each_nested(attribute, [&](const nlattr* info) {
            if (mnl_attr_get_type(info) == IFLA_INFO_KIND) device.kind = mnl_attr_get_str(info);
          });
          break;
        default:
          break;
      }
    });
  });
  return devices;
}

}  // namespace

std::vector<std::string> devices_that_need(Netlink& netlink, int index) {
  const auto devices = all_devices(netlink);
  const auto own = devices.find(index);
  const int master = own == devices.end() ? 0 : own->second.master;
  std::vector<std::string> found;
  for (const auto& [other, device] : devices) {
    const bool stands_on = device.below == index && device.is_among(kStacked);
    if (stands_on || (other == master && other != 0))
      found.push_back(fmt::format("{} ({})", device.name, device.kind));
  }
  return found;
}

std::string refusal_of_kind(const std::string& name, std::string_view kind,
                            const std::vector<std::string>& parts) {
  const std::string others = parts.empty() ? "" : fmt::format(" ({})", fmt::join(parts, ", "));
  if (kind == "bond" || kind == "team")
    return fmt::format(
        "{} is a {}: DPDK takes NICs, not what the kernel makes of them; take its members{} out of it and "
        "name "
        "them in [node] interfaces, with a route by each, or take engine \"xdp\", which serves the {} as it "
        "is",
        name, kind, others, kind);
  if (kind == "bridge")
    return fmt::format(
        "{} is a bridge: DPDK takes NICs; take one{} out of it and name that in [node] interfaces", name,
        others);
  if (std::ranges::find(kStacked, kind) != std::end(kStacked))
    return fmt::format(
        "{} is a {} device: DPDK takes whole NICs; name the one it stands on{} and make {} anew on the TAP "
        "(`linimo0`), or take engine \"xdp\"",
        name, kind, others, name);
  return "";
}

std::string refusal_of_device(Netlink& netlink, int index) {
  const auto devices = all_devices(netlink);
  const auto own = devices.find(index);
  if (own == devices.end()) return "";
  std::vector<std::string> parts;
  for (const auto& [other, device] : devices) {
    const bool below = other == own->second.below && own->second.is_among(kStacked);
    if (below || (device.master == index && own->second.is_among(kMadeOfOthers)))
      parts.push_back(device.name);
  }
  return refusal_of_kind(own->second.name, own->second.kind, parts);
}

}  // namespace linimo::dpdk
