#include "controlplane/tables/disruption.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace linimo {
namespace {

/// Of a slot; nullptr: none.
const Address* member_at(const PoolTable& table, size_t slot) {
  const linimo_slot member = table.slots[slot];
  return member == LINIMO_NO_BACKEND ? nullptr : &table.members[member].address;
}

bool is_same(const Address* one, const Address* other) {
  return one == nullptr || other == nullptr ? one == other : *one == *other;
}

/// A slot is a part of all hashes (linimo_slot_of), so tables of different sizes are laid one upon the other.
double moved_with_the_same_hash(const PoolTable& before, const PoolTable& after) {
  const uint64_t slots = before.slots.size(), others = after.slots.size();
  double moved = 0;
  for (uint64_t one = 0, other = 0, at = 0;
       one < slots && other < others;) {  // in parts of 1 / (slots * others)
    const uint64_t end_of_one = (one + 1) * others, end_of_other = (other + 1) * slots;
    const uint64_t end = std::min(end_of_one, end_of_other);
    if (!is_same(member_at(before, one), member_at(after, other))) moved += static_cast<double>(end - at);
    one += end == end_of_one ? 1 : 0;
    other += end == end_of_other ? 1 : 0;
    at = end;
  }
  return moved / static_cast<double>(slots * others);
}

std::map<Address, double> shares(const PoolTable& table) {
  std::map<Address, double> shares;
  for (size_t slot = 0; slot < table.slots.size(); ++slot) {
    if (const Address* member = member_at(table, slot)) shares[*member] += 1;
  }
  for (auto& [member, share] : shares) share /= static_cast<double>(table.slots.size());
  return shares;
}

/// Every flow has a slot by chance.
double moved_with_another_hash(const PoolTable& before, const PoolTable& after) {
  const auto then = shares(after);
  double stays = 0;
  for (const auto& [member, share] : shares(before)) {
    if (const auto found = then.find(member); found != then.end()) stays += share * found->second;
  }
  return 1 - stays;
}

bool lives(const PoolSpec& pool, const Address& address) {
  return std::ranges::any_of(pool.backends, [&](const BackendSpec& backend) {
    return backend.address == address && backend.state != LINIMO_BACKEND_DOWN;
  });
}

PoolDisruption of_pool(const PoolSpec& before, const PoolSpec* after, bool same_seed,
                       const FlowsOf& flows_of) {
  PoolDisruption told{.pool = before.name, .slots = static_cast<uint32_t>(before.table->slots.size())};
  told.share_moved = after == nullptr ? 1
                     : same_seed      ? moved_with_the_same_hash(*before.table, *after->table)
                                      : moved_with_another_hash(*before.table, *after->table);
  told.slots_moved = static_cast<uint32_t>(std::lround(told.share_moved * told.slots));
  std::map<Address, double> share_of = shares(*before.table);
  for (const BackendSpec& backend : before.backends) {
    if (backend.state == LINIMO_BACKEND_DOWN) continue;
    const uint64_t flows = flows_of(before.name, backend.address);
    const bool leaves = after == nullptr || !lives(*after, backend.address);
    told.flows += flows;
    if (leaves) told.share_leaving += share_of[backend.address];
    // With another seed nobody finds an entry again.
    told.flows_breaking +=
        leaves      ? flows
        : same_seed ? 0
                    : static_cast<uint64_t>(std::llround(told.share_moved * static_cast<double>(flows)));
  }
  return told;
}

template <typename Spec>
const Spec* named(const std::vector<Spec>& all, const std::string& name) {
  const auto found = std::ranges::find(all, name, &Spec::name);
  return found == all.end() ? nullptr : &*found;
}

/// What a packet of the service matches, it still matches.
bool covers(const ServiceSpec& then, const ServiceSpec& before) {
  return then.protocol == before.protocol &&
         std::ranges::all_of(before.vips,
                             [&](const Prefix& vip) {
                               return std::ranges::any_of(
                                   then.vips, [&](const Prefix& wider) { return wider.contains(vip); });
                             }) &&
         std::ranges::all_of(before.ports, [&](const PortRange& ports) {
           return std::ranges::any_of(then.ports, [&](const PortRange& wider) {
             return wider.first <= ports.first && ports.last <= wider.last;
           });
         });
}

bool hashes_sources(const ServiceSpec& service) {
  return service.scheduler == LINIMO_SCHEDULER_SOURCE_HASH;
}

}  // namespace

Disruption disruption(const SnapshotSpec& before, const SnapshotSpec& after, const FlowsOf& flows_of) {
  Disruption told;
  const bool same_seed = before.hash_seed == after.hash_seed;
  for (const PoolSpec& pool : before.service_pools())
    told.pools.push_back(of_pool(pool, named(after.pools, pool.name), same_seed, flows_of));
  for (const ServiceSpec& service : before.services) {
    const PoolDisruption& pool = told.pools[service.pool];
    const ServiceSpec* const then = named(after.services, service.name);
    // An entry's backend is of no use in another pool.
    const bool goes = then == nullptr || after.pools[then->pool].name != pool.pool || !covers(*then, service);
    const bool same_hash = goes || hashes_sources(*then) == hashes_sources(service);
    const bool remembered = same_seed && same_hash && service.tracking != LINIMO_TRACKING_OFF &&
                            (then == nullptr || then->tracking != LINIMO_TRACKING_OFF);
    const double moved = same_hash ? pool.share_moved
                                   : moved_with_another_hash(*before.pools[service.pool].table,
                                                             *after.pools[then->pool].table);
    told.services.push_back({.service = service.name,
                             .pool = pool.pool,
                             .tracking = service.tracking,
                             .share_breaking = goes         ? 1
                                               : remembered ? pool.share_leaving
                                                            : moved});
  }
  return told;
}

}  // namespace linimo
