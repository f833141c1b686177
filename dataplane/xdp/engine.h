// The engine `xdp`: the kernel forwards, by a program on the interfaces; this process fills its maps.
//
// Everything that forwarding needs is pinned (pins.h). The end of this process, however it comes, changes
// nothing: packets go on by the last generation, and the next process takes the maps over as they are, flows
// and counters with them. Only `linimo-dataplane --detach` ends forwarding.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataplane/conditions.h"
#include "dataplane/engine.h"
#include "dataplane/event_loop.h"
#include "dataplane/netdev.h"
#include "dataplane/xdp/fragment_thread.h"
#include "dataplane/xdp/pins.h"
#include "dataplane/xdp/program.h"
#include "maglev/config/node.h"

namespace linimo::xdp {

class XdpEngine : public EngineBase {
 public:
  /// Attaches to every interface. The error says what to do.
  static tl::expected<std::unique_ptr<XdpEngine>, std::string> start(const NodeConfig& config,
                                                                     EventLoop& loop, ConditionBoard& board);

  tl::expected<void, std::string> publish(std::span<const std::byte> snapshot) override;
  std::optional<SnapshotView> live() const override { return program_->live(); }
  void set_host_addresses(std::vector<Address> addresses) override;
  NextHopTable& next_hops() override { return program_->next_hops(); }
  std::vector<Egress> egresses() const override;
  uint32_t workers() const override { return shape_.rows; }

  CountersBlock& counters() override { return program_->counters(); }
  int counters_fd() const override { return program_->counters_fd(); }

 private:
  struct Interface {
    std::string name;
    NetdevFacts facts;
    uint32_t first_row;
    UniqueFd link;
    int program_fd = -1;
  };

  explicit XdpEngine(ConditionBoard& board) : board_(board) {}
  void hold_fragments();
  tl::expected<void, std::string> attach(const NodeConfig& config, const Pins& pins, uint32_t port);

  ConditionBoard& board_;
  Shape shape_;
  std::vector<Interface> interfaces_;
  std::unique_ptr<Program> program_;
  std::unique_ptr<FragmentThread> fragments_;
  std::vector<Address> host_addresses_;
};

}  // namespace linimo::xdp
