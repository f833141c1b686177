#include "controlplane/tables/learning.h"

#include <algorithm>
#include <set>

namespace linimo {
namespace {

using std::chrono::seconds;

struct Window {
  uint32_t length_s = 0;  // the longest idle timeout of the pool's adaptive services; 0: it has none
  bool shared = true;     // all of them share their flows

  /// For how long of it a slot's base counts.
  seconds with_base() const { return seconds(shared ? length_s : (2 * length_s + 2) / 3); }
  seconds without_base() const { return seconds(length_s) - with_base(); }
};

/// By pool.
std::vector<Window> windows(const SnapshotSpec& spec) {
  std::vector<Window> windows(spec.pools.size());
  for (const ServiceSpec& service : spec.services) {
    if (service.tracking != LINIMO_TRACKING_ADAPTIVE) continue;
    Window& window = windows[service.pool];
    window.length_s = std::max(window.length_s, service.idle_timeout_s);
    window.shared = window.shared && service.shares_flows;
  }
  return windows;
}

uint16_t seconds_left(Learning::Time until, Learning::Time now) {
  const auto left = std::chrono::ceil<seconds>(until - now).count();
  return static_cast<uint16_t>(std::clamp<int64_t>(left, 1, LINIMO_MAX_IDLE_TIMEOUT_S));
}

}  // namespace

/// Slots whose backend is another than before, and the one before lives.
std::vector<Learning::Slot> Learning::changed(const PoolTable& before, const PoolSpec& pool, Time until) {
  std::set<Address> alive;
  for (const BackendSpec& backend : pool.backends) {
    if (backend.state != LINIMO_BACKEND_DOWN) alive.insert(backend.address);
  }
  const std::vector<TableMember>& members = pool.table->members;
  constexpr uint32_t kGone = ~0U, kDead = ~1U;
  std::vector<uint32_t> now_at(before.members.size());  // where a former member stands now
  for (size_t i = 0; i < now_at.size(); ++i) {
    const Address& address = before.members[i].address;
    const auto at = std::lower_bound(members.begin(), members.end(), TableMember{address, 0});
    const bool stays = at != members.end() && at->address == address;
    now_at[i] = stays ? static_cast<uint32_t>(at - members.begin()) : alive.contains(address) ? kGone : kDead;
  }
  std::vector<Slot> slots;
  for (uint32_t s = 0; s < before.slots.size(); ++s) {
    const linimo_slot was = before.slots[s];
    if (was == LINIMO_NO_BACKEND || now_at[was] == kDead || now_at[was] == pool.table->slots[s]) continue;
    slots.push_back({s, before.members[was].address, until});
  }
  return slots;
}

void Learning::plan(SnapshotSpec& spec, Time now) {
  planned_.clear();
  const std::vector<Window> window = windows(spec);
  for (size_t p = 0; p < spec.pools.size(); ++p) {
    PoolSpec& pool = spec.pools[p];
    Pool& planned = planned_[pool.name];
    planned.table = pool.table;
    const auto live = live_.find(pool.name);
    if (window[p].length_s == 0 || live == live_.end() ||
        live->second.table->slots.size() != pool.table->slots.size())
      continue;

    std::vector<Slot> fresh;
    if (live->second.table != pool.table)
      fresh = changed(*live->second.table, pool, now + window[p].with_base());
    const seconds without_base = window[p].without_base();
    std::vector<Slot> going_on = live->second.slots;
    std::erase_if(going_on, [&](const Slot& slot) { return slot.until + without_base <= now; });
    // Of two for one slot the first stays: the one that is learning already.
    std::ranges::merge(going_on, fresh, std::back_inserter(planned.slots), {}, &Slot::slot, &Slot::slot);
    const auto same = [](const Slot& left, const Slot& right) { return left.slot == right.slot; };
    planned.slots.erase(std::unique(planned.slots.begin(), planned.slots.end(), same), planned.slots.end());

    if (planned.slots.empty()) continue;
    std::set<Address> known;
    for (const BackendSpec& backend : pool.backends) known.insert(backend.address);
    for (const Slot& slot : planned.slots) {
      if (slot.until > now && known.contains(slot.base))
        pool.unsettled.push_back({slot.slot, slot.base, seconds_left(slot.until, now)});
    }
  }
}

void Learning::recall(std::vector<Former> former) {
  live_.clear();
  for (Former& tables : former) {
    plan(tables.spec, tables.since);
    accepted();
  }
}

void Learning::resume(const SnapshotView& live, Time since) {
  live_.clear();
  for (const linimo_pool& pool : live.pools()) {
    const auto backends = live.backends(pool);
    auto table = std::make_shared<PoolTable>();
    for (const linimo_backend& member : live.members(pool))
      table->members.push_back({Address::from_abi(member.address), member.weight});
    const auto slots = live.slots(pool);
    // Indices into the pool's backends, whose first are the members; another's snapshot may use the rest.
    const bool regular = std::ranges::all_of(
        slots, [&](linimo_slot slot) { return slot == LINIMO_NO_BACKEND || slot < table->members.size(); });
    if (!regular) continue;
    table->slots.assign(slots.begin(), slots.end());
    Pool& known = live_[pool.name];
    known.table = std::move(table);
    for (const linimo_unsettled& slot : live.unsettled(pool)) {
      known.slots.push_back(
          {slot.slot, Address::from_abi(backends[slot.base].address), since + seconds(slot.learning_s)});
    }
  }
}

}  // namespace linimo
