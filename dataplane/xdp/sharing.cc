// The process's part of what nodes of a fleet tell each other of flows (bpf/sharing.h has the program's).

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <spdlog/spdlog.h>

#include "dataplane/flow/fragment_memory.h"
#include "dataplane/xdp/array_map.h"
#include "dataplane/xdp/program.h"
#include "dataplane/xdp/ticks.h"
#include "maglev/hash.h"
#include "maglev/rules/adaptive.h"

namespace linimo::xdp {
namespace {

/// Gets the words of the ring, one by one, until there are enough.
int take_word(void* taken, void* word, size_t size) {
  auto& [words, most] = *static_cast<TakenWords*>(taken);
  if (size == sizeof(linimo_flow_word)) words.push_back(*static_cast<const linimo_flow_word*>(word));
  return words.size() < most ? 0 : -ENOSPC;
}

}  // namespace

/// Once a snapshot has become the live one.
void Program::share_flows() {
  std::fill(sharing_.begin(), sharing_.end(), nullptr);
  bool shares = false;
  for (const linimo_service& service : live_->services()) {
    if (service.shares_flows == 0) continue;
    sharing_[service.id] = &service;
    shares = true;
  }
  if ((shares || live_->node_pool() != nullptr) && words_ == nullptr)
    words_.reset(ring_buffer__new(map_fd("words"), take_word, &taken_, nullptr));
  if (shares && !told_ && !make_told()) {
    spdlog::warn("no memory for what other nodes say of {} flows: {}; lower [node] flows_per_worker",
                 shape_.flows_per_row, std::strerror(errno));
  }
}

/// The table that the program asks, as an earlier process has left it.
bool Program::make_told() {
  const uint32_t row = shape_.all_rows();
  const std::filesystem::path pin = pin_of_inner(pins_, "connections", row);
  uint64_t cells = 0;
  UniqueFd table = pinned_map(pin, cells);
  if (!table || cells != shape_.buckets()) {
    table = create_array("connections", shape_.buckets(), 0);
    if (!table || !pin_map(table, pin)) return false;
  }
  if (words_ == nullptr) return false;
  told_memory_ = Mapping::of(table.get(), shape_.buckets() * sizeof(linimo_cell));
  if (!told_memory_ || !put_table(row, table)) return false;
  told_.emplace(shape_.flows_per_row, std::span(told_memory_.as<std::byte>(), told_memory_.size()));
  return true;
}

/// Null: it is not live, or does not share.
const linimo_service* Program::sharing(const linimo_flow_word& word) const {
  return told_ && word.service < sharing_.size() && word.backend < LINIMO_MAX_BACKEND_IDS
             ? sharing_[word.service]
             : nullptr;
}

std::vector<linimo_flow_word> Program::words_to_tell(size_t most) {
  if (words_ == nullptr) return {};
  taken_ = {{}, most};
  ring_buffer__consume(words_.get());
  std::erase_if(taken_.words, [&](const linimo_flow_word& word) {
    if (word.datagram != 0) return false;
    const linimo_service* service = sharing(word);
    return service == nullptr || !told_->note(word, ticks_within(service->idle_timeout_s), ticks_now());
  });
  return std::exchange(taken_.words, {});
}

void Program::hear(std::span<const linimo_flow_word> words) {
  for (const linimo_flow_word& word : words) {
    if (word.datagram != 0) {
      hear_of_datagram(word);
      continue;
    }
    const linimo_service* service = sharing(word);
    if (service == nullptr) continue;
    told_->note(word, ticks_within(service->idle_timeout_s), ticks_now());
    UnsettledSlots* unsettled = generation_.unsettled.of_pool(service->pool);
    const linimo_pool& pool = live_->pools()[service->pool];
    const uint32_t slot = slot_of(word.hash, pool.table_size);
    if (word.ended != 0 || unsettled == nullptr || !unsettled->contains(slot)) continue;
    const linimo_slot current = live_->slots(pool)[slot];
    if (linimo_deviates(word.backend, current == LINIMO_NO_BACKEND ? LINIMO_MAX_BACKEND_IDS
                                                                   : live_->backends(pool)[current].id))
      unsettled->deviated(shape_.spare(), slot, ticks_now());
  }
}

/// Behind the rows' own parts of the memory.
void Program::hear_of_datagram(const linimo_flow_word& word) {
  if (!linimo_is_sound_word(word.backend, word.service)) return;
  const linimo_pool* nodes = live_->node_pool();
  if (nodes != nullptr && std::ranges::any_of(live_->backends(*nodes), [&](const linimo_backend& node) {
        return node.id == word.backend;
      }))
    return;  // no datagram goes to a node
  auto* memory = fragments_.as<std::byte>() +
                 (shape_.fragment_buckets() - LINIMO_FRAGMENT_BUCKETS) * sizeof(linimo_cell);
  FragmentMemory told({memory, FragmentMemory::kBytes});
  told.remember(word.hash, {word.backend, word.service}, coarse_ns() / 1'000'000);
}

void Program::sweep_told() {
  if (told_) told_->sweep(told_->buckets_a_second(), swept_services_, ticks_now());
}

}  // namespace linimo::xdp
