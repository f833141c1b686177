// An engine that is asked what it would do with a frame before it gets it, and must do just that: outcome,
// backend, and every byte that leaves. What packets change must not have changed by the asking. Whatever runs
// through it that says otherwise is a fault of the result.
#pragma once

#include "tests/packets/engine.h"

namespace linimo::tests {

class TracedEngine : public Engine {
 public:
  explicit TracedEngine(Engine& engine) : engine_(engine) {}

  void apply(const Configuration& configuration) override;
  void forget_flows() override { engine_.forget_flows(); }
  void forget_configuration() override { engine_.forget_configuration(); }
  Result run(ByteView frame, uint64_t now_ms) override;
  std::vector<Result> pass_time(uint64_t now_ms) override { return engine_.pass_time(now_ms); }
  Asked ask(ByteView frame, uint64_t now_ms) override { return engine_.ask(frame, now_ms); }
  std::vector<linimo_flow_word> words_to_tell(uint64_t now_ms) override {
    return engine_.words_to_tell(now_ms);
  }
  void hear(std::span<const linimo_flow_word> words, uint64_t now_ms) override {
    engine_.hear(words, now_ms);
  }
  FlowTable flow_table() override { return engine_.flow_table(); }
  uint64_t flows_left(uint32_t backend_id, uint64_t now_ms) override {
    return engine_.flows_left(backend_id, now_ms);
  }
  uint64_t repeated_syns(uint32_t backend_id) override { return engine_.repeated_syns(backend_id); }
  void make_room_for(uint64_t flows) override { engine_.make_room_for(flows); }

 private:
  /// Asking looks at all memory before and after, which takes a thousand times as long as forwarding: of a
  /// long sequence some packets are asked about.
  static constexpr uint32_t kAllOfTheFirst = 200, kThenOneOf = 16;
  bool asks_next();
  std::string difference(const Traced& traced, const Result& result) const;
  std::string tunnel_fault(const Traced& traced) const;

  Engine& engine_;
  std::vector<std::pair<uint32_t, Address>> backends_;  // by id
  uint32_t packets_ = 0;                                // since the configuration was applied
};

Engine& traced_dpdk_engine();
Engine& traced_xdp_engine();

}  // namespace linimo::tests
