// The engine `dpdk`, as the suite drives it: the real pipeline over real mbufs, without ports and hugepages.
//
// What a port would do is done here: frames are put into mbufs, and taken out of the lists that the pipeline
// fills. Under AddressSanitizer everything behind the frame's last byte is poisoned, so that reading one byte
// too many is caught although the mbuf has room for it.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "dataplane/forward/flow_sharing.h"
#include "dataplane/forward/pipeline.h"
#include "tests/packets/engine.h"

struct rte_mbuf;
struct rte_mempool;

namespace linimo::tests {

/// How often each outcome was counted.
using Counts = std::array<uint64_t, LINIMO_OUTCOME_COUNT>;

struct BurstResult {
  std::vector<Left> left;     // of each frame of the burst
  std::vector<size_t> order;  // of those that left, by port, then the kernel's
  Counts counts{};
  std::string fault;
};

class DpdkEngine : public Engine {
 public:
  /// `lanes`: by which back end packets go in lanes, or null: none do.
  explicit DpdkEngine(const LanePath* lanes = nullptr);
  ~DpdkEngine() override;

  void apply(const Configuration& configuration) override;
  void forget_flows() override { forget_flows(flows_capacity_); }
  void forget_configuration() override { generation_.reset(); }
  Result run(ByteView frame, uint64_t now_ms) override;
  std::vector<Result> pass_time(uint64_t now_ms) override;
  Asked ask(ByteView frame, uint64_t now_ms) override;
  std::vector<linimo_flow_word> words_to_tell(uint64_t now_ms) override;
  void hear(std::span<const linimo_flow_word> words, uint64_t now_ms) override;
  FlowTable flow_table() override;
  uint64_t flows_left(uint32_t backend_id, uint64_t now_ms) override;
  uint64_t repeated_syns(uint32_t backend_id) override;
  void make_room_for(uint64_t flows) override;

  /// At most kMaxBurst frames. `nic_flags`: what a NIC found out about them (RTE_MBUF_F_RX_...).
  BurstResult run_burst(std::span<const ByteView> frames, uint64_t now_ms, uint64_t nic_flags = 0);
  /// One frame in several buffers, of these sizes.
  BurstResult run_in_parts(ByteView frame, std::span<const size_t> parts, uint64_t now_ms);
  void forget_flows(uint64_t capacity);
  /// Packets since the flows were forgotten.
  uint64_t went_in_lanes() const { return pipeline_->went_in_lanes(); }

  const WorkerCounters& counters() const { return *counters_; }
  const ConnectionTable& connections() const { return flows_.front().connections; }
  /// What other workers would remember; the engine runs as worker 0.
  std::span<FlowState> all_flows() { return flows_; }

 private:
  static constexpr uint32_t kWorkers = 2;  // one of which never runs

  BurstResult run_burst(std::span<rte_mbuf* const> burst, uint64_t now_ms);
  rte_mbuf* mbuf_with(ByteView frame, uint64_t nic_flags);
  rte_mbuf* mbufs_with(ByteView frame, std::span<const size_t> parts);
  Counts outcomes() const;
  uint64_t fingerprint() const;
  void find_held(std::span<rte_mbuf* const> burst, BurstResult& result);
  void check_pool(std::string& fault);

  const LanePath* lanes_;
  rte_mempool* pool_;
  std::unique_ptr<WorkerCounters> counters_;
  std::unique_ptr<NextHopTable> next_hops_;
  PortMacs port_macs_;
  std::unique_ptr<const Generation> generation_;
  std::vector<std::shared_ptr<std::byte>> connection_memory_;
  std::vector<FlowState> flows_;
  std::unique_ptr<FlowSharing> sharing_;
  std::optional<Pipeline> pipeline_;
  uint64_t flows_capacity_ = kUsualFlows;
  uint32_t now_s_ = 0;  // of the last frame
  Fate fate_;           // likewise, where it went alone
  BurstOutput out_;
};

/// One for the whole program, which goes in no lanes.
DpdkEngine& dpdk_engine();
/// And one for each back end of lanes that this CPU can do, every packet of which goes in lanes that can.
DpdkEngine& dpdk_engine(const LanePath& lanes);

}  // namespace linimo::tests
