// Who answers ARP and neighbour discovery for a VIP on the LANs of this node: nobody may but the router's own
// next hops, for a VIP is routed.
#pragma once

#include <string>
#include <vector>

namespace linimo {

struct VipAnswer {
  std::string vip, device, mac;

  bool operator==(const VipAnswer&) const = default;
};

/// Asks on each device, once for each VIP (at most 64), and waits half a second. Takes the right to open raw
/// sockets; without it nobody is asked. Changes nothing here; who is asked learns this node's MAC address, as
/// of any such question.
std::vector<VipAnswer> ask_for_vips(const std::vector<std::string>& vips,
                                    const std::vector<std::string>& devices);

/// Of these so many are not asked about.
size_t vips_left_out(const std::vector<std::string>& vips);

}  // namespace linimo
