// Who gets a new flow of a service whose scheduler keeps state: round-robin, weighted round-robin, least
// connections. The other services need none of this: the pool's table answers for them.
//
//   const Schedule schedule(LINIMO_SCHEDULER_ROUND_ROBIN, members_of_pool, slots_of_pool);  // a generation
//   const linimo_slot member = scheduler.next(schedule, service_id, flow_hash);              // a worker
//
// A Schedule is what a generation knows, immutable. A Scheduler is what a worker remembers from flow to flow,
// and keeps from generation to generation; that worker alone calls it. Only members of the pool's table take
// part: backends that are up and have weight, which is less than configured while one starts slowly.
//
// Every worker counts for itself, so shares are those wished for at each worker, and so together; what is in
// flight at another worker, or another node, nobody asks. Of the three:
// - round-robin gives each member one flow in turn, in the order of their addresses, whatever they weigh.
// - weighted round-robin gives the turns out by weight, and smoothly: turn n goes to the member in whose part
//   of the line [0, sum of the weights) the number n / phi lies, without its integer part. Of all sequences
//   the multiples of the golden ratio stay closest to evenly spread, wherever one begins to count (Knuth, The
//   Art of Computer Programming, vol. 3, 6.4): a member is at most four turns from its share, at any time in
//   the first hundred thousand, and the bound grows with the logarithm of their number. It costs one
//   multiplication and a binary search. A walk over the pool's table would cost less, but has the shares in
//   the long run alone, since neighbouring slots are as good as random.
// - least connections takes, of two different members that the flow's hash draws from the table, the one
//   with fewer connections for its weight: nearly as even as asking all members (Mitzenmacher, "The power of
//   two choices in randomized load balancing", 2001), in constant time. Of equals the one of the flow's own
//   slot, so that an idle pool is used by weight. A connection is an entry of the worker's own connection
//   table whose client has not said FIN.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/flow/connection_table.h"
#include "maglev/abi.h"

namespace linimo {

class Schedule {
 public:
  /// `by`: a scheduler that keeps state. `members`, `slots`: of a pool of a validated snapshot; must outlive
  /// this.
  Schedule(linimo_scheduler by, std::span<const linimo_backend> members, std::span<const linimo_slot> slots);

 private:
  friend class Scheduler;

  linimo_scheduler by_;
  std::span<const linimo_backend> members_;
  std::span<const linimo_slot> slots_;
  std::vector<uint64_t> ends_;  // of the members' parts of the line: sums of weights; weighted round-robin
};

class Scheduler {
 public:
  /// `connections`: of the worker; must outlive this.
  explicit Scheduler(const ConnectionTable& connections);

  /// An index into the pool's backends, or LINIMO_NO_BACKEND: it has no members.
  linimo_slot next(const Schedule& schedule, uint32_t service_id, uint64_t flow_hash);

 private:
  linimo_slot least_connected(const Schedule& schedule, uint64_t flow_hash) const;

  const ConnectionTable& connections_;
  std::vector<uint32_t> turns_;  // taken, by service id
};

}  // namespace linimo
