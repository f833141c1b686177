// The engine `xdp`: the kernel forwards, by a program on the interfaces; this process fills its maps.
//
// Everything that forwarding needs is pinned (pins.h). The end of this process, however it comes, changes
// nothing: packets go on by the last generation, and the next process takes the maps over as they are, flows
// and counters with them. Only `linimo-dataplane --detach` ends forwarding.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/conditions.h"
#include "dataplane/device_watch.h"
#include "dataplane/engine.h"
#include "dataplane/event_loop.h"
#include "dataplane/loss_watch.h"
#include "dataplane/netdev.h"
#include "dataplane/xdp/fragment_thread.h"
#include "dataplane/xdp/pins.h"
#include "dataplane/xdp/program.h"
#include "dataplane/xdp/traced_program.h"
#include "dataplane/xdp/xdp_capture.h"
#include "maglev/config/node.h"

namespace linimo::xdp {

class XdpEngine : public EngineBase {
 public:
  /// Attaches to every interface. The error says what to do. From then on interfaces that are made anew, or
  /// whose program was taken off, are taken over again within a second, and queues that come are served.
  static tl::expected<std::unique_ptr<XdpEngine>, std::string> start(const NodeConfig& config,
                                                                     EventLoop& loop, ConditionBoard& board);

  tl::expected<void, std::string> publish(std::span<const std::byte> snapshot) override;
  std::optional<SnapshotView> live() const override { return program_->live(); }
  void set_host_addresses(std::vector<Address> addresses) override;
  NextHopTable& next_hops() override { return program_->next_hops(); }
  std::vector<Egress> egresses() const override;
  uint32_t workers() const override;  // receive queues

  tl::expected<Traced, std::string> trace(const TraceRequest& request) override;
  bool ready_to_trace() override;
  tl::expected<std::unique_ptr<Capture>, std::string> capture(const CaptureRequest& request) override;
  FlowTables flow_tables() const override;
  tl::expected<size_t, std::string> remove_flows(std::span<const FlowPlace> places) override;
  std::vector<linimo_flow_word> words_to_tell(size_t most) override { return program_->words_to_tell(most); }
  void hear(std::span<const linimo_flow_word> words) override { program_->hear(words); }
  std::vector<std::pair<std::string, Mac>> interfaces() const override;
  CountersBlock& counters() override { return program_->counters(); }
  int counters_fd() const override { return program_->counters_fd(); }

 private:
  struct Interface {
    std::string name;
    NetdevFacts facts;  // index 0: it is gone
    uint32_t first_row = 0;
    uint32_t rows = 1;
    std::shared_ptr<std::atomic<int>> program = std::make_shared<std::atomic<int>>(-1);  // descriptor
    UniqueFd link = {};
    bool takes_several = false;    // frames in several buffers, from another of them
    bool is_predecessors = false;  // what the link holds: it forwards by maps that are not ours
    std::unique_ptr<LossWatch> losses = {};
  };

  XdpEngine(const NodeConfig& config, ConditionBoard& board) : config_(config), board_(board) {}
  tl::expected<void, std::string> find_interfaces();
  tl::expected<void, std::string> load();
  tl::expected<void, std::string> take(uint32_t port);
  tl::expected<void, std::string> load_program(uint32_t port);
  tl::expected<void, std::string> attach(Interface& interface);
  void replace_predecessors();
  tl::expected<void, std::string> set_port(uint32_t port);
  void look_at_buffers();
  void follow(uint32_t port, const NetdevFacts* now);
  void release(Interface& interface);
  void serve_queues(const Interface& interface);
  void hold_fragments();
  void count_losses();

  const NodeConfig config_;
  ConditionBoard& board_;
  std::optional<Pins> pins_;
  Shape shape_;
  std::vector<Interface> interfaces_;
  std::unique_ptr<Program> program_;
  using TracedLoaded = tl::expected<std::shared_ptr<TracedProgram>, std::string>;
  std::future<TracedLoaded> traced_loading_;  // once somebody has asked
  std::shared_ptr<TracedProgram> traced_;     // GCC 12 warns of a future of a unique one for nothing
  XdpCapture* capture_ = nullptr;             // while there is one
  std::unique_ptr<FragmentThread> fragments_;
  std::string fragments_lost_;  // why some cannot be held
  std::unique_ptr<DeviceWatch> watch_;
  std::vector<Address> host_addresses_;
  bool waits_ = false;  // for tables, before predecessors' programs are replaced
  uint32_t waited_ = 0;
};

}  // namespace linimo::xdp
