#include "maglev/table.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "maglev/hash.h"
#include "maglev/table_search.h"

namespace linimo {
namespace {

constexpr uint64_t kTableSeed = 0x4c696e696d6f0001;  // of the table algorithm, the same everywhere

// Where a member stands in its own permutation of the slots: (offset + i * skip) mod size.
struct Turn {
  uint32_t next;
  uint32_t skip;
  uint32_t member;
  uint64_t weight;
  uint64_t claimed;  // weight handed out so far, in units of 1 / heaviest
};

std::vector<Turn> first_turns(std::span<const TableMember> members, uint32_t size) {
  std::vector<Turn> turns;
  turns.reserve(members.size());
  for (uint32_t i = 0; i < members.size(); ++i) {
    if (members[i].weight == 0) continue;
    const XXH128_hash_t hash = XXH3_128bits_withSeed(members[i].address.bytes.data(), 16, kTableSeed);
    turns.push_back({.next = static_cast<uint32_t>(hash.low64 % size),
                     .skip = static_cast<uint32_t>(hash.high64 % (size - 1) + 1),
                     .member = i,
                     .weight = members[i].weight,
                     .claimed = 0});
  }
  return turns;
}

/// Rounds in which the heaviest member always takes a turn and a lighter one takes one whenever its share of
/// the rounds so far has grown by one: after any round every share is exact to one slot.
class Rounds {
 public:
  explicit Rounds(std::span<Turn> turns) : turns_(turns), at_(turns.size() - 1) {
    for (const Turn& turn : turns) heaviest_ = std::max(heaviest_, turn.weight);
  }

  /// Whose turn it is.
  size_t next() {
    for (;;) {
      if (++at_ == turns_.size()) at_ = 0;
      Turn& turn = turns_[at_];
      turn.claimed += turn.weight;
      if (turn.claimed < heaviest_) continue;
      turn.claimed -= heaviest_;
      return at_;
    }
  }

 private:
  std::span<Turn> turns_;
  size_t at_;
  uint64_t heaviest_ = 0;
};

uint32_t after(uint32_t slot, uint32_t skip, uint32_t size) {
  const uint32_t past = slot + skip;
  return past >= size ? past - size : past;
}

std::vector<EightSteps> eight_steps(std::span<const Turn> turns, uint32_t size) {
  std::vector<EightSteps> result(turns.size());
  for (size_t i = 0; i < turns.size(); ++i) {
    for (size_t step = 1; step < 8; ++step) result[i][step] = after(result[i][step - 1], turns[i].skip, size);
  }
  return result;
}

/// The number by which `value` is multiplied to make 1, modulo a prime: Euclid's algorithm.
uint32_t inverse(uint32_t value, uint32_t prime) {
  int64_t factor = 0;
  int64_t next_factor = 1;
  uint32_t rest = prime;
  for (uint32_t next_rest = value; next_rest != 0;) {
    const uint32_t times = rest / next_rest;
    factor = std::exchange(next_factor, factor - times * next_factor);
    rest = std::exchange(next_rest, rest - times * next_rest);
  }
  return static_cast<uint32_t>(factor < 0 ? factor + prime : factor);
}

__extension__ typedef unsigned __int128 Wide;

/// From here on, a slot is (slot - next) * inverse(skip) mod size steps away. Taken as a part of 2^64 of the
/// whole round, the steps come of one multiplication, which is modulo 2^64 by itself: (slot - next) * unit.
/// It is wrong by less than `size` in all, and one step is 2^64 / size.
uint64_t unit_of(uint32_t skip, uint32_t size) {
  return static_cast<uint64_t>((Wide{inverse(skip, size)} << 64) / size);
}

uint64_t steps_of(uint64_t distance, uint32_t size) {
  return static_cast<uint64_t>((Wide{distance} * size + (Wide{1} << 63)) >> 64);
}

}  // namespace

bool is_prime(uint32_t value) {
  if (value < 4) return value >= 2;
  if (value % 2 == 0) return false;
  for (uint32_t i = 3; uint64_t{i} * i <= value; i += 2) {
    if (value % i == 0) return false;
  }
  return true;
}

std::vector<linimo_slot> populate(std::span<const TableMember> members, uint32_t table_size,
                                  const TableSearch& search) {
  std::vector<linimo_slot> slots(table_size, LINIMO_NO_BACKEND);
  std::vector<Turn> turns = first_turns(members, table_size);
  if (turns.empty()) return slots;
  Rounds rounds(turns);

  // Most of the time goes into passing over taken slots, so these are looked up in a bitmap that fits the
  // first cache. How they are passed over depends on how many are free.
  std::vector<uint32_t> taken(table_size / 32 + 1);
  uint32_t free_slots = table_size;
  const auto claim = [&](Turn& turn, uint32_t slot) {
    taken[slot / 32] |= uint32_t{1} << (slot % 32);
    slots[slot] = static_cast<linimo_slot>(turn.member);
    turn.next = after(slot, turn.skip, table_size);
    --free_slots;
  };

  // Many: the next one is, or that after it.
  while (free_slots > table_size / 2) {
    Turn& turn = turns[rounds.next()];
    uint32_t slot = turn.next;
    while (taken[slot / 32] >> (slot % 32) & 1) slot = after(slot, turn.skip, table_size);
    claim(turn, slot);
  }

  // Fewer: one of the next eight is, or of the eight after these.
  const std::vector<EightSteps> steps = eight_steps(turns, table_size);
  const auto few = static_cast<uint32_t>(std::sqrt(2.0 * table_size));
  while (free_slots > few) {
    const size_t at = rounds.next();
    Turn& turn = turns[at];
    uint32_t next = turn.next;
    uint32_t found = 0;
    while ((found = search.free_of_eight(taken.data(), steps[at], next, table_size)) == 0)
      next = after(after(next, steps[at].back(), table_size), turn.skip, table_size);
    claim(turn, after(next, steps[at][static_cast<size_t>(std::countr_zero(found))], table_size));
  }

  // Few: there are more steps to each of them than there are of them. So they are listed, and the one with
  // the least steps is computed. A free slot holds its place in the list meanwhile.
  std::vector<uint32_t> left;
  for (uint32_t slot = 0; slot < table_size; ++slot) {
    if (taken[slot / 32] >> (slot % 32) & 1) continue;
    slots[slot] = static_cast<linimo_slot>(left.size());
    left.push_back(slot);
  }
  std::vector<uint64_t> units(turns.size());
  while (!left.empty()) {
    const size_t at = rounds.next();
    Turn& turn = turns[at];
    if (units[at] == 0) units[at] = unit_of(turn.skip, table_size);
    const uint64_t distance = search.least(left, turn.next, units[at]);
    const auto slot =
        static_cast<uint32_t>((turn.next + steps_of(distance, table_size) * turn.skip) % table_size);
    slots[left.back()] = slots[slot];
    left[slots[slot]] = left.back();
    left.pop_back();
    claim(turn, slot);
  }
  return slots;
}

std::vector<linimo_slot> populate(std::span<const TableMember> members, uint32_t table_size) {
  return populate(members, table_size, table_search());
}

uint64_t table_digest(std::span<const TableMember> members, std::span<const linimo_slot> slots) {
  uint64_t digest = XXH3_64bits_withSeed(slots.data(), slots.size_bytes(), slots.size());
  for (const TableMember& member : members) {
    if (member.weight != 0) digest = XXH3_64bits_withSeed(member.address.bytes.data(), 16, digest);
  }
  return digest;
}

}  // namespace linimo
