#include "bench/fleet/node.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include <sys/mman.h>

#include "maglev/hash.h"
#include "maglev/rules/adaptive.h"
#include "maglev/rules/choice.h"
#include "maglev/rules/sharing.h"

namespace linimo::fleet {
namespace {

/// What is large lies on huge pages, where the kernel has some: most of the time goes into cache misses.
Generation::Memory allocate(size_t bytes) {
  constexpr size_t kLine = 64, kHugePage = 2 << 20, kLarge = 1 << 16;
  const size_t unit = bytes < kLarge ? kLine : kHugePage;
  const size_t whole = (bytes + unit - 1) / unit * unit;
  Generation::Memory memory(static_cast<std::byte*>(std::aligned_alloc(unit, whole)), std::free);
  if (memory != nullptr && unit == kHugePage) madvise(memory.get(), whole, MADV_HUGEPAGE);
  return memory;
}

Generation::Memory zeroed(size_t bytes) {
  Generation::Memory memory = allocate(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory.get(), 0, bytes);
  return memory;
}

/// Zeros that take no memory until they are written.
Generation::Memory untouched(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return {static_cast<std::byte*>(memory), [bytes](std::byte* mapped) { munmap(mapped, bytes); }};
}

}  // namespace

Node::Table::Table(uint64_t flows, WorkerCounters& counters)
    : memory(zeroed(ConnectionTable::bytes_for(flows))),
      connections(flows, {memory.get(), ConnectionTable::bytes_for(flows)}),
      census(counters) {}

Node::Node(const Settings& settings)
    : publication_(1, allocate),
      counters_(untouched(sizeof(WorkerCounters))),
      told_(settings.told_flows),
      idle_timeout_s_(settings.idle_timeout_s),
      backends_(settings.backends),
      table_size_(settings.table_size) {
  for (const Mode mode : kAllModes)
    tables_.emplace_back(mode == kOff ? 1 : settings.flows_per_node, counters());
}

void Node::publish(const std::vector<std::byte>& snapshot, uint32_t now_s) {
  if (const auto published = publication_.publish(snapshot, {}, now_s); !published)
    throw std::runtime_error(published.error());
  for (uint32_t mode = 0; mode < kModes; ++mode)
    services_[mode] = publication_.live()->service(0, 6, port_of(mode));
}

// The decision of dataplane/forward/pipeline.cc (recall and target_of_slot) over the same objects and by the
// same rules, without mbufs: for a TCP packet that is no fragment and names no backend.
// tests/packets/fleet_test.cc shows that it is the same.
uint32_t Node::choose(Mode mode, const Packet& packet, uint32_t now_s) {
  const ServiceView& service = *services_[mode];
  Table& table = tables_[mode];
  const bool unsettled = !service.is_settled(packet.slot);
  const Target* const current = service.targets + service.slots[packet.slot];
  if (!linimo_is_tracked(service.tracked, unsettled)) return current->backend_id % backends_;

  ++table.counts.asked;
  const Target* target = nullptr;
  ConnectionTable::Entry entry = table.connections.find(packet.hash, service.tracking_key, now_s);
  if (entry != nullptr) {
    const Target* known = usable(ConnectionTable::backend_id(entry), service);
    const linimo_entry_use use = linimo_use_of_entry(known != nullptr, false, packet.begins,
                                                     known != nullptr && known->takes_new_flows,
                                                     ConnectionTable::may_have_ended(entry, now_s));
    if (use == LINIMO_ENTRY_FOLLOWED) {
      target = known;
      table.connections.touch(entry, packet.ends, packet.begins, now_s);
    }
    if (use == LINIMO_ENTRY_ENDED) entry = nullptr;
  }
  if (target == nullptr) {
    target = current;
    if (linimo_asks_base(unsettled, packet.begins)) {
      if (const Target* base = base_of(service, packet.slot, now_s)) target = base;
      if (mode == kShared) {
        const uint64_t told = told_.find(packet.hash, kShared, idle_timeout_s_, now_s);
        const Target* known = told != 0 ? usable(linimo_flow_backend(told), service) : nullptr;
        if (known != nullptr) target = known;
      }
    }
    if (entry != nullptr) {
      table.connections.redirect(entry, target->backend_id);
    } else if (!table.connections.insert(packet.hash, service.tracking_key, target->backend_id, now_s)) {
      ++table.counts.unstored;
    }
  }
  if (service.unsettled != nullptr && linimo_deviates(target->backend_id, current->backend_id))
    service.unsettled->deviated(0, packet.slot, now_s);
  if (mode == kShared) tell(packet, service, target, now_s);
  return target->backend_id % backends_;
}

const Target* Node::usable(uint32_t backend_id, const ServiceView& service) const {
  const Target* target = publication_.live()->target_of(backend_id);
  return target != nullptr && target->pool == service.pool && target->alive ? target : nullptr;
}

const Target* Node::base_of(const ServiceView& service, uint32_t slot, uint32_t now_s) const {
  const uint16_t base = service.unsettled->base(slot, now_s);
  return base != LINIMO_NO_BACKEND && service.targets[base].alive ? service.targets + base : nullptr;
}

void Node::tell(const Packet& packet, const ServiceView& service, const Target* target, uint32_t now_s) {
  const Target* base = base_of(service, packet.slot, now_s);
  const bool wanted = linimo_is_to_be_told(
      target->backend_id, service.targets[service.slots[packet.slot]].backend_id,
      base == nullptr ? LINIMO_MAX_BACKEND_IDS : base->backend_id, LINIMO_MAX_BACKEND_IDS,
      service.unsettled->base_left(packet.slot, now_s), idle_timeout_s_);
  if (packet.alone && !packet.ends) {
    if (wanted) ++tables_[kShared].counts.untold;
    return;
  }
  const linimo_word_kind kind =
      linimo_word_of(told_.find(packet.hash, kShared, idle_timeout_s_, now_s), packet.ends, wanted,
                     target->backend_id, idle_timeout_s_, now_s);
  if (kind == LINIMO_WORD_NONE) return;
  const Word word{packet.hash, target->backend_id, kShared, kind == LINIMO_WORD_ENDED, 0};
  if (told_.note(word, idle_timeout_s_, now_s)) words_.push_back(word);
}

void Node::hear(const Word& word, uint32_t now_s) {
  told_.note(word, idle_timeout_s_, now_s);
  const ServiceView& service = *services_[kShared];
  const uint32_t slot = slot_of(word.hash, table_size_);
  if (word.ended == 0 && !service.is_settled(slot) &&
      linimo_deviates(word.backend, service.targets[service.slots[slot]].backend_id))
    service.unsettled->deviated(0, slot, now_s);
}

void Node::sweep(Table& table, std::span<const SweptService> services, uint32_t now_s) {
  ConnectionTable& connections = table.connections;
  connections.sweep(connections.buckets() / kSweepRound_s + 1, services, now_s, table.census);
}

void Node::keep_house(uint32_t now_s) {
  for (const Mode mode : kWithTables) sweep(tables_[mode], publication_.live()->swept_services(), now_s);
  told_.sweep(told_.buckets() / kSweepRound_s + 1, publication_.live()->swept_services(), now_s);
  if (now_s % kSettleEvery_s == 0) publication_.settle_slots(now_s);
}

uint32_t Node::unsettled() const {
  const UnsettledSlots* slots = services_[kAdaptive]->unsettled;
  return slots == nullptr ? 0 : slots->count();
}

}  // namespace linimo::fleet
