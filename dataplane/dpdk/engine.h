// The engine `dpdk`: ports, workers and the exception path, put together and taken apart.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "dataplane/conditions.h"
#include "dataplane/dpdk/eal.h"
#include "dataplane/dpdk/guardian.h"
#include "dataplane/dpdk/kernel_path.h"
#include "dataplane/dpdk/port.h"
#include "dataplane/dpdk/port_watch.h"
#include "dataplane/dpdk/stall_watch.h"
#include "dataplane/dpdk/table_memory.h"
#include "dataplane/dpdk/worker.h"
#include "dataplane/engine.h"
#include "dataplane/event_loop.h"
#include "dataplane/link/counters_memory.h"

namespace linimo::dpdk {

class DpdkEngine final : public EngineBase {
 public:
  /// Takes the configured interfaces. `guardian` must have been made before any thread, and outlives the
  /// engine. `taps`: the devices() of the process before, if this one takes over; they stand for the netdevs
  /// already. The error says what to do; whatever was begun is undone.
  static tl::expected<std::unique_ptr<DpdkEngine>, std::string> start(const NodeConfig& config, Eal eal,
                                                                      Guardian& guardian,
                                                                      std::vector<UniqueFd> taps,
                                                                      EventLoop& loop, ConditionBoard& board);

  /// Workers stop between two bursts, the TAPs go, the ports close.
  ~DpdkEngine() override;

  tl::expected<void, std::string> publish(std::span<const std::byte> snapshot) override;
  std::optional<SnapshotView> live() const override;
  void set_host_addresses(std::vector<Address> addresses) override;
  NextHopTable& next_hops() override { return shared_.next_hops; }
  std::vector<Egress> egresses() const override;
  uint32_t workers() const override { return static_cast<uint32_t>(workers_.size()); }
  std::string manner() const override;
  std::string outdated() const override { return watch_->outdated(); }
  tl::expected<Traced, std::string> trace(const TraceRequest& request) override;
  tl::expected<std::unique_ptr<Capture>, std::string> capture(const CaptureRequest& request) override;
  FlowTables flow_tables() const override;
  tl::expected<size_t, std::string> remove_flows(std::span<const FlowPlace> places) override;
  std::vector<linimo_flow_word> words_to_tell(size_t most) override;
  void hear(std::span<const linimo_flow_word> words) override;
  std::vector<std::pair<std::string, Mac>> interfaces() const override;
  std::vector<UniqueFd> devices() const override { return exception_->taps(); }
  CountersBlock& counters() override { return counters_.block(); }
  int counters_fd() const override { return counters_.fd(); }

 private:
  DpdkEngine(const NodeConfig& config, Eal eal, ConditionBoard& board);
  tl::expected<void, std::string> take_interfaces(const NodeConfig& config, Guardian& guardian,
                                                  std::vector<UniqueFd> taps);
  tl::expected<PortFacts, std::string> take_ports(Interface& interface, uint16_t mtu);
  tl::expected<void, std::string> make_workers(const NodeConfig& config);
  uint64_t spread() const;

  ConditionBoard& board_;
  Eal eal_;
  CountersMemory counters_;
  StallWatch stalls_;
  Shared shared_;
  std::unique_ptr<KernelPath> exception_;
  std::vector<uint8_t> rss_key_;      // of several workers
  std::vector<NetdevFacts> netdevs_;  // of interfaces, when they were taken; index 0: no netdev
  std::vector<UniqueFd> unfiltered_;  // of netdevs: see receive_everything
  std::unique_ptr<PortWatch> watch_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::optional<TableMemory> tables_;
  std::unique_ptr<Publication> publication_;
  std::vector<Address> host_addresses_;
  bool launched_ = false;
};

}  // namespace linimo::dpdk
