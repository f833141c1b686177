// The Maglev table (Eisenbud et al., "Maglev", NSDI 2016, section 3.4), weighted.
//
//   std::vector<TableMember> members = {{address, 100}, {other, 50}};
//   auto table = populate(members, 65537);   // table[slot] is an index into the sorted members
//
// A table is a function of the *set* of (address, weight), whatever the order in which they are listed, and
// of nothing else: no machine, process or earlier table plays a part. Two nodes that agree on the set agree
// on every slot; `table_digest` lets them compare in eight bytes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "maglev/abi.h"
#include "maglev/address.h"

namespace linimo {

struct TableMember {
  Address address;
  uint32_t weight = 1;  // relative; 0 takes no slot

  auto operator<=>(const TableMember&) const = default;
};

inline constexpr uint32_t kDefaultTableSize = 65537;

/// Table sizes are primes, so that every skip visits every slot.
bool is_prime(uint32_t value);

/// Fills a table of `table_size` (a prime) slots; each gets an index into `members`, which must be sorted by
/// address, without repetition, at most LINIMO_MAX_POOL_BACKENDS. No slot is given to a member of weight 0;
/// when no member has weight, every slot is LINIMO_NO_BACKEND. Each share is exact to one slot.
std::vector<linimo_slot> populate(std::span<const TableMember> members, uint32_t table_size);

/// The same by other means than this CPU's best: for tests.
struct TableSearch;
std::vector<linimo_slot> populate(std::span<const TableMember> members, uint32_t table_size,
                                  const TableSearch& search);

/// Eight bytes that are equal exactly when the tables are (up to a collision of XXH3-64).
uint64_t table_digest(std::span<const TableMember> members, std::span<const linimo_slot> slots);

}  // namespace linimo
