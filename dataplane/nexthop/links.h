// The kernel's devices, as far as next hops need them: MTUs, and which VLAN devices stand on which others.
//
// A route may leave by a VLAN device (ip-link(8), type vlan), or by one on top of another (802.1ad): packets
// then leave by the device at the bottom, under the tags on the way there; or by a VLAN device that is the
// node's own, which adds its tag itself.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>

#include "dataplane/egress/next_hop.h"
#include "maglev/os/netlink.h"

namespace linimo {

class Links {
 public:
  struct Way {
    int device;                   // where frames leave
    std::array<VlanTag, 2> tags;  // outermost first, as in NextHop
  };

  /// RTM_NEWLINK or RTM_DELLINK.
  void learn(const nlmsghdr& message);

  uint16_t mtu(int device) const;  // 1500 if it is not known

  /// Nothing if there are more tags than a frame may have here, or the devices stand on one another in a
  /// circle.
  /// `own`: devices that frames are given to as they are, though they may stand on others.
  std::optional<Way> way_from(int device, std::span<const int> own = {}) const;

 private:
  struct Link {
    uint16_t mtu = 1500;
    int below = 0;  // of a VLAN device: the one it stands on; else 0
    VlanTag tag;
  };
  std::map<int, Link> links_;
};

/// A metric or attribute that gives an MTU, at most 65535; 0 if it is cut short.
uint16_t mtu_attribute(const nlattr* attribute);

}  // namespace linimo
