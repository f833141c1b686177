#include "dataplane/nexthop/links.h"

#include <algorithm>
#include <string_view>

#include <linux/if_ether.h>
#include <linux/if_link.h>

namespace linimo {
namespace {

std::string_view text_of(const nlattr* attribute) {
  const std::string_view text(static_cast<const char*>(mnl_attr_get_payload(attribute)),
                              mnl_attr_get_payload_len(attribute));
  return text.substr(0, text.find('\0'));
}

uint16_t word_of(const nlattr* attribute) {
  return mnl_attr_get_payload_len(attribute) < sizeof(uint16_t) ? 0 : mnl_attr_get_u16(attribute);
}

/// Of IFLA_LINKINFO; TPID 0 if the device is no VLAN's.
VlanTag tag_in(const nlattr* link_info) {
  bool is_vlan = false;
  VlanTag tag{.tpid = ETH_P_8021Q, .control = 0};
  for_each_nested(link_info, [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == IFLA_INFO_KIND) is_vlan = text_of(attribute) == "vlan";
    if (mnl_attr_get_type(attribute) != IFLA_INFO_DATA || !is_vlan) return;
    for_each_nested(attribute, [&](const nlattr* data) {
      if (mnl_attr_get_type(data) == IFLA_VLAN_ID) tag.control = word_of(data) & 0xfff;
      if (mnl_attr_get_type(data) == IFLA_VLAN_PROTOCOL) tag.tpid = __builtin_bswap16(word_of(data));
    });
  });
  return is_vlan ? tag : VlanTag{};
}

}  // namespace

uint16_t mtu_attribute(const nlattr* attribute) {
  if (mnl_attr_get_payload_len(attribute) < sizeof(uint32_t)) return 0;
  return static_cast<uint16_t>(std::min<uint32_t>(mnl_attr_get_u32(attribute), 0xffff));
}

void Links::learn(const nlmsghdr& message) {
  if (mnl_nlmsg_get_payload_len(&message) < sizeof(ifinfomsg)) return;
  const auto* fixed = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
  if (message.nlmsg_type == RTM_DELLINK) {
    links_.erase(fixed->ifi_index);
    return;
  }
  Link link;
  int below = 0;
  for_each_attribute(message, sizeof *fixed, [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case IFLA_MTU:
        link.mtu = mtu_attribute(attribute);
        break;
      case IFLA_LINK:
        if (mnl_attr_get_payload_len(attribute) >= sizeof(uint32_t))
          below = static_cast<int>(mnl_attr_get_u32(attribute));
        break;
      case IFLA_LINKINFO:
        link.tag = tag_in(attribute);
        break;
      default:
        break;
    }
  });
  if (link.tag.tpid != 0) link.below = below;  // a veth has an IFLA_LINK too: its peer
  links_[fixed->ifi_index] = link;
}

uint16_t Links::mtu(int device) const {
  const auto link = links_.find(device);
  return link == links_.end() ? 1500 : link->second.mtu;
}

std::optional<Links::Way> Links::way_from(int device, std::span<const int> own) const {
  Way way{device, {}};
  const auto is_own = [&] { return std::ranges::find(own, way.device) != own.end(); };
  for (auto link = links_.find(device); !is_own() && link != links_.end() && link->second.below != 0;
       link = links_.find(way.device)) {
    if (way.tags[1].tpid != 0) return std::nullopt;
    way.tags[1] = way.tags[0];  // the lower a device, the further out its tag
    way.tags[0] = link->second.tag;
    way.device = link->second.below;
  }
  return way;
}

}  // namespace linimo
