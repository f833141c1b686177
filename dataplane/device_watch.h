// The node's own netdevs while it runs: they may go, come back as another device, lose their carrier, change
// their MAC address, MTU or queues.
//
//   DeviceWatch watch(loop, {"eth0"}, board, [](size_t which, const NetdevFacts* now) { ... return ""; });
//
// Looks at all of them whenever the kernel reports a change of one (RTM_NEWLINK, RTM_DELLINK), and once a
// second, since not all changes are reported (queues are not) and what could not be mended before may be now.
// Keeps the conditions `interface-present`, `carrier`, `vlan-tags` and `peer-offloads`. Control thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "dataplane/conditions.h"
#include "dataplane/event_loop.h"
#include "dataplane/netdev.h"
#include "maglev/os/netlink.h"

namespace linimo {

class DeviceWatch {
 public:
  /// Called at every look, whether anything changed or not. `now` is null where there is no such device.
  /// Returns why a device that is there is of no use all the same; empty: it is.
  using Look = std::function<std::string(size_t which, const NetdevFacts* now)>;

  /// The loop must not run any more when the object goes. `mend`: what brings an interface back once it is
  /// there again; empty: that happens by itself.
  DeviceWatch(EventLoop& loop, std::vector<std::string> names, ConditionBoard& board, std::string mend,
              Look look);
  DeviceWatch(const DeviceWatch&) = delete;

  void look();

 private:
  void judge(const std::string& name, const NetdevFacts* now, const std::string& useless);
  void judge_offloads(const std::string& name, const NetdevFacts* now);

  std::vector<std::string> names_;
  ConditionBoard& board_;
  std::string mend_;
  Look look_;
  Netlink events_;
};

}  // namespace linimo
