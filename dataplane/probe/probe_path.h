// The data plane's part of health checks through the tunnel (maglev/probes.h): what comes out of the device
// linimo-hc goes to a backend in the same outer header that clients' packets get, byte for byte, and onto the
// wire by the kernel's routes, which next hops are taken from too (with engine dpdk through linimo0, so by
// the engine's own ports). The same for both engines.
//
//   auto probes = ProbePath::open(loop, config, engine);
//   if (!probes) warn(probes.error());   // all else works
//
// Lives on the control thread. Needs CAP_NET_ADMIN and CAP_NET_RAW.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>

#include <tl/expected.hpp>

#include "dataplane/conditions.h"
#include "dataplane/engine.h"
#include "dataplane/event_loop.h"
#include "maglev/config/node.h"
#include "maglev/os/netlink.h"
#include "maglev/unique_fd.h"

namespace linimo {

class ProbePath {
 public:
  /// The device, its routes, and the rules by which marked packets take them; `device`: the one that another
  /// process had and passed on, or none. The error says what is missing.
  static tl::expected<std::unique_ptr<ProbePath>, std::string> open(EventLoop& loop, const NodeConfig& config,
                                                                    const EngineBase& engine,
                                                                    ConditionBoard& board,
                                                                    UniqueFd device = {});
  /// The device, for another process: all that leads packets to it stays.
  UniqueFd hand_over();
  /// The device goes, its routes with it, and the rules.
  ~ProbePath();
  ProbePath(const ProbePath&) = delete;

 private:
  ProbePath(EventLoop& loop, const EngineBase& engine, ConditionBoard& board);
  tl::expected<void, std::string> make_device();
  void take_device(UniqueFd device);
  /// Device, routes and rules are others' to take away: what is missing comes back.
  void mend();
  void serve();
  void forward(std::span<uint8_t> frame);

  EventLoop& loop_;
  const EngineBase& engine_;
  ConditionBoard& board_;
  Netlink events_;
  Netlink requests_;
  Address source4_, source6_;  // of tunnels, while no generation says
  UniqueFd routes_;            // the file
  UniqueFd device_;
  UniqueFd out4_, out6_;
};

}  // namespace linimo
