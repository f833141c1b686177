#include "dataplane/forward/scheduler.h"

#include <algorithm>

#include "maglev/hash.h"
#include "maglev/rules/schedule.h"
#include "maglev/snapshot.h"

namespace linimo {
Schedule::Schedule(linimo_scheduler by, std::span<const linimo_backend> members,
                   std::span<const linimo_slot> slots)
    : by_(by), members_(members), slots_(slots) {
  if (by != LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN) return;
  uint64_t end = 0;
  for (const linimo_backend& member : members_) ends_.push_back(end += member.weight);
}

Scheduler::Scheduler(const ConnectionTable& connections)
    : connections_(connections), turns_(LINIMO_MAX_SERVICES) {}

linimo_slot Scheduler::next(const Schedule& schedule, uint32_t service_id, uint64_t flow_hash) {
  const size_t members = schedule.members_.size();
  if (members == 0) return LINIMO_NO_BACKEND;
  if (schedule.by_ == LINIMO_SCHEDULER_LEAST_CONNECTIONS) return least_connected(schedule, flow_hash);
  const uint32_t turn = turns_[service_id]++;
  if (schedule.by_ == LINIMO_SCHEDULER_ROUND_ROBIN) return static_cast<linimo_slot>(turn % members);
  const uint64_t place = linimo_place_of_turn(turn, schedule.ends_.back());
  const auto found = std::upper_bound(schedule.ends_.begin(), schedule.ends_.end(), place);
  return static_cast<linimo_slot>(found - schedule.ends_.begin());
}

linimo_slot Scheduler::least_connected(const Schedule& schedule, uint64_t flow_hash) const {
  const auto slots = schedule.slots_;
  const auto size = static_cast<uint32_t>(slots.size());
  const linimo_slot first = slots[slot_of(flow_hash, size)];
  linimo_slot second = first;
  uint32_t at = linimo_second_draw(flow_hash, size);
  for (uint32_t draw = 0; draw < LINIMO_DRAWS && second == first; ++draw) {
    second = slots[at];
    at = linimo_slot_behind(at, size);
  }
  // A table that was not made from the pool's backends, which nobody checks, may name others than members.
  if (std::max(first, second) >= schedule.members_.size()) return first;
  const auto connections = [&](linimo_slot member) {
    return connections_.connections_of(schedule.members_[member].id);
  };
  return linimo_takes_second(connections(first), schedule.members_[first].weight, connections(second),
                             schedule.members_[second].weight)
             ? second
             : first;
}

}  // namespace linimo
