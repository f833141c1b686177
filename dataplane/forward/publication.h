// How a new generation reaches the workers: one pointer, taken anew by each worker between two bursts.
//
// Swapping the pointer is not enough: a worker may be in the middle of a burst with the old one, so that must
// stay until every worker has been between bursts once since the swap. That is quiescent-state-based
// reclamation (McKenney and Slingwine, "Read-copy update", 1998; DPDK's rte_rcu_qsbr): a worker announces the
// moment with one store of its own, takes no lock and never waits; the control thread waits instead. When it
// has waited, every worker also uses the new generation, which is what the acknowledgement promises.
//
//   control thread                       worker i
//   publication.publish(bytes, hosts, now); publication.join(i);
//                                        while (...) pipeline.run(burst, publication.between_bursts(i), ...);
//                                        publication.leave(i);
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "dataplane/forward/generation.h"

struct rte_rcu_qsbr;

namespace linimo {

class Publication {
 public:
  static constexpr std::chrono::milliseconds kWaitingPeriod{250};
  using Allocate = std::function<Generation::Memory(size_t bytes)>;

  /// `allocate` gives 64-byte aligned memory, or nothing; it is called on the control thread. Generations
  /// have copies of `next_hops`, which are kept up with it, and which must outlive this; null: they need
  /// none, for nothing goes in lanes.
  Publication(uint32_t workers, Allocate allocate, NextHopTable* next_hops = nullptr);
  ~Publication();
  Publication(const Publication&) = delete;

  /// Control thread. Validates a copy of the snapshot, switches, and returns when every worker that has
  /// joined has switched and the old generation is gone. The error says why it was refused; then nothing has
  /// changed.
  /// `now_s`: of the workers' clock. `waiting`: called every kWaitingPeriod while some worker has not
  /// switched. `before_first`: called once a snapshot is accepted and no worker has had one before.
  tl::expected<void, std::string> publish(
      std::span<const std::byte> snapshot, std::span<const Address> host_addresses, uint32_t now_s,
      const std::function<void()>& waiting = [] {},
      const std::function<void(const SnapshotView&)>& before_first = [](const SnapshotView&) {});

  /// Control thread, about once a second: settles slots of the live generation.
  void settle_slots(uint32_t now_s) const {
    if (owned_ != nullptr) owned_->settle_slots(now_s);
  }

  /// Control thread. What is live, or nullptr before the first.
  const Generation* live() const { return owned_.get(); }

  /// Worker `index`, on its own thread.
  void join(uint32_t index);
  void leave(uint32_t index);

  /// Worker `index` holds nothing of a generation now; gives the one for its next burst, or nullptr before
  /// the first.
  const Generation* between_bursts(uint32_t index);

 private:
  struct Block {
    Generation::Memory memory;
    size_t size;
    HeldTables held;
  };
  Generation::Block block_for(size_t bytes);

  uint32_t workers_;
  Allocate allocate_;
  NextHopTable* next_hops_;
  Generation::Memory quiescence_memory_;
  rte_rcu_qsbr* quiescence_;
  std::atomic<const Generation*> current_ = nullptr;
  std::vector<Block> blocks_;
  std::unique_ptr<const Generation> owned_;
};

}  // namespace linimo
