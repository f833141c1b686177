#include "dataplane/forward/publication.h"

#include <chrono>
#include <stdexcept>
#include <thread>

#include <rte_rcu_qsbr.h>

namespace linimo {

Publication::Publication(uint32_t workers, Allocate allocate, NextHopTable* next_hops)
    : workers_(workers),
      allocate_(std::move(allocate)),
      next_hops_(next_hops),
      quiescence_memory_(allocate_(rte_rcu_qsbr_get_memsize(workers))) {
  if (!quiescence_memory_) throw std::runtime_error("no memory; reserve more hugepages");
  quiescence_ = reinterpret_cast<rte_rcu_qsbr*>(quiescence_memory_.get());
  rte_rcu_qsbr_init(quiescence_, workers);
  if (next_hops_ == nullptr) return;
  next_hops_->on_store([this](uint32_t backend_id) {
    const Generation* live = current_.load(std::memory_order_relaxed);
    if (live != nullptr) live->take_next_hop(*next_hops_, backend_id);
  });
}

Publication::~Publication() {
  if (next_hops_ != nullptr) next_hops_->on_store({});
}

tl::expected<void, std::string> Publication::publish(
    std::span<const std::byte> snapshot, std::span<const Address> host_addresses, uint32_t now_s,
    const std::function<void()>& waiting, const std::function<void(const SnapshotView&)>& before_first) {
  const auto block = [this](size_t bytes) { return block_for(bytes); };
  auto next = Generation::compile(snapshot, block, host_addresses, {owned_.get(), workers_, now_s});
  if (!next) return tl::unexpected(next.error());
  if (next_hops_ != nullptr) (*next)->take_next_hops(*next_hops_);
  if (owned_ == nullptr) before_first((*next)->snapshot());
  current_.store(next->get(), std::memory_order_release);
  // A worker that passes a quiescent point after this takes the new pointer right behind it.
  const uint64_t token = rte_rcu_qsbr_start(quiescence_);
  auto next_call = std::chrono::steady_clock::now() + kWaitingPeriod;
  while (rte_rcu_qsbr_check(quiescence_, token, false) == 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(20));
    const auto now = std::chrono::steady_clock::now();
    if (now < next_call) continue;
    next_call = now + kWaitingPeriod;  // whoever was stopped meanwhile catches nothing up
    waiting();
  }
  if (owned_ != nullptr) (*next)->take_stamps(*owned_);
  owned_ = std::move(*next);
  return {};
}

void Publication::join(uint32_t index) {
  rte_rcu_qsbr_thread_register(quiescence_, index);
  rte_rcu_qsbr_thread_online(quiescence_, index);
}

void Publication::leave(uint32_t index) {
  rte_rcu_qsbr_thread_offline(quiescence_, index);
  rte_rcu_qsbr_thread_unregister(quiescence_, index);
}

const Generation* Publication::between_bursts(uint32_t index) {
  rte_rcu_qsbr_quiescent(quiescence_, index);
  return current_.load(std::memory_order_acquire);
}

// What the generation before the live one had is used again: fresh hugepages would be mapped and zeroed for
// every publication, and most tables are in it already.
Generation::Block Publication::block_for(size_t bytes) {
  for (Block& block : blocks_) {
    const bool unused = block.memory.use_count() == 1;
    if (unused && bytes <= block.size && block.size <= 2 * bytes) return {block.memory, block.held};
  }
  std::erase_if(blocks_, [](const Block& block) { return block.memory.use_count() == 1; });
  Generation::Memory memory = allocate_(bytes);
  if (!memory) return memory;
  Block& block = blocks_.emplace_back(Block{memory, bytes, {}});
  return {block.memory, block.held};
}

}  // namespace linimo
