#include "bench/fleet/node.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include <sys/mman.h>

#include "maglev/rules/choice.h"

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
    : publication_(1, allocate), counters_(untouched(sizeof(WorkerCounters))) {
  auto& counters = *reinterpret_cast<WorkerCounters*>(counters_.get());
  for (const uint64_t flows : {uint32_t{1}, settings.flows_per_node, settings.flows_per_node})
    tables_.emplace_back(flows, counters);
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
  const Generation& generation = *publication_.live();
  const ServiceView& service = *services_[mode];
  Table& table = tables_[mode];
  const bool unsettled = !service.is_settled(packet.slot);
  const Target* const current = service.targets + service.slots[packet.slot];
  if (!linimo_is_tracked(service.tracked, unsettled)) return current->backend_id;

  ++table.counts.asked;
  const Target* target = nullptr;
  ConnectionTable::Entry entry = table.connections.find(packet.hash, service.tracking_key, now_s);
  if (entry != nullptr) {
    const Target* known = generation.target_of(ConnectionTable::backend_id(entry));
    const bool usable = known != nullptr && known->pool == service.pool && known->alive;
    const linimo_entry_use use =
        linimo_use_of_entry(usable, false, packet.begins, usable && known->takes_new_flows,
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
      const uint16_t base = service.unsettled->base(packet.slot, now_s);
      if (base != LINIMO_NO_BACKEND && service.targets[base].alive) target = service.targets + base;
    }
    if (entry != nullptr) {
      table.connections.redirect(entry, target->backend_id);
    } else if (!table.connections.insert(packet.hash, service.tracking_key, target->backend_id, now_s)) {
      ++table.counts.unstored;
    }
  }
  if (service.unsettled != nullptr && target != current) service.unsettled->deviated(0, packet.slot, now_s);
  return target->backend_id;
}

void Node::keep_house(uint32_t now_s) {
  for (const Mode mode : {kFull, kAdaptive}) {
    Table& table = tables_[mode];
    ConnectionTable& connections = table.connections;
    connections.sweep(connections.buckets() / kSweepRound_s + 1, publication_.live()->swept_services(), now_s,
                      table.census);
  }
  if (now_s % kSettleEvery_s == 0) publication_.settle(now_s);
}

uint32_t Node::unsettled() const {
  const UnsettledSlots* slots = services_[kAdaptive]->unsettled;
  return slots == nullptr ? 0 : slots->count();
}

}  // namespace linimo::fleet
