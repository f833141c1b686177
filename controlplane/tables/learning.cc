#include "controlplane/tables/learning.h"

#include <algorithm>
#include <set>

namespace linimo {
namespace {

using std::chrono::seconds;

struct Window {
  seconds length{};    // the longest idle timeout of the pool's adaptive services; 0: it has none
  bool shared = true;  // all of them share their flows

  /// For how long of it a slot's base counts.
  seconds with_base() const { return shared ? length : (2 * length + seconds(2)) / 3; }
};

/// By pool. `services`: of a specification or of a snapshot.
std::vector<Window> windows(size_t pools, const auto& services) {
  std::vector<Window> windows(pools);
  for (const auto& service : services) {
    if (service.tracking != LINIMO_TRACKING_ADAPTIVE) continue;
    Window& window = windows[service.pool];
    window.length = std::max(window.length, seconds(service.idle_timeout_s));
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
std::vector<Learning::Slot> Learning::changed(const PoolTable& before, const PoolSpec& pool, Time until,
                                              Time over) {
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
    slots.push_back({s, before.members[was].address, until, over});
  }
  return slots;
}

void Learning::plan(SnapshotSpec& spec, Time now) {
  planned_.clear();
  const std::vector<Window> all = windows(spec.pools.size(), spec.services);
  for (size_t p = 0; p < spec.pools.size(); ++p) {
    PoolSpec& pool = spec.pools[p];
    const Window& window = all[p];
    Pool& planned = planned_[pool.name];
    planned.table = pool.table;
    planned.window = window.length;
    const auto live = live_.find(pool.name);
    if (window.length == seconds(0) || live == live_.end() ||
        live->second.table->slots.size() != pool.table->slots.size())
      continue;

    std::vector<Slot> fresh;
    if (live->second.table != pool.table)
      fresh = changed(*live->second.table, pool, now + window.with_base(), now + window.length);
    // With a shorter window slots settle sooner there; a longer one does not begin again what is over.
    const seconds shorter = std::max(live->second.window - window.length, seconds(0));
    std::vector<Slot> going_on = live->second.slots;
    for (Slot& slot : going_on) slot.over = std::max(slot.until, slot.over - shorter);
    std::erase_if(going_on, [&](const Slot& slot) { return slot.over <= now; });
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

void Learning::recall(std::vector<Former> former, Time now) {
  live_.clear();
  for (Former& tables : former) {
    plan(tables.spec, tables.since);
    accepted();
  }
  begin_anew(now);
}

void Learning::begin_anew(Time now) {
  for (auto& [name, pool] : live_)
    std::erase_if(pool.slots, [now](const Slot& slot) { return slot.until <= now; });
}

void Learning::resume(const SnapshotView& live, Time since) {
  live_.clear();
  const std::vector<Window> all = windows(live.pools().size(), live.services());
  for (size_t p = 0; p < all.size(); ++p) {
    const linimo_pool& pool = live.pools()[p];
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
    known.window = all[p].length;
    for (const linimo_unsettled& slot : live.unsettled(pool)) {
      const Time until = since + seconds(slot.learning_s);
      known.slots.push_back({slot.slot, Address::from_abi(backends[slot.base].address), until,
                             until + (all[p].length - all[p].with_base())});
    }
  }
}

}  // namespace linimo
