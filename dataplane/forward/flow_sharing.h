// What the workers of this engine and the other nodes of a fleet tell each other of flows, and of datagrams
// in fragments. Control thread, but for what the workers do: they read told() and datagrams(), and push into
// words().
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "dataplane/flow/flow_words.h"
#include "dataplane/flow/fragment_memory.h"
#include "dataplane/flow/told_flows.h"
#include "dataplane/forward/generation.h"

namespace linimo {

class FlowSharing {
 public:
  /// Room for so many flows that were told of.
  FlowSharing(uint64_t flows, uint32_t workers);

  const ToldFlows* told() const { return &told_; }
  const FragmentMemory* datagrams() const { return &datagrams_; }
  FlowWords* words(uint32_t worker) { return words_[worker].get(); }

  /// What there is to tell the other nodes, at most so much; what is left waits.
  std::vector<linimo_flow_word> take(size_t most, const Generation& live, uint32_t now_s);

  /// What another node has told. Words of services that are not live here are nothing.
  void hear(std::span<const linimo_flow_word> words, const Generation& live, uint64_t now_ms);

  /// About once a second.
  void sweep(const Generation& live, uint32_t now_s);

 private:
  ToldFlows told_;
  FragmentMemory datagrams_;                       // whose first fragments went by other nodes
  std::vector<std::unique_ptr<FlowWords>> words_;  // by worker
};

}  // namespace linimo
