#include "maglev/table.h"

#include <algorithm>
#include <array>

#include "maglev/hash.h"

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

}  // namespace

bool is_prime(uint32_t value) {
  if (value < 4) return value >= 2;
  if (value % 2 == 0) return false;
  for (uint32_t i = 3; uint64_t{i} * i <= value; i += 2) {
    if (value % i == 0) return false;
  }
  return true;
}

std::vector<linimo_slot> populate(std::span<const TableMember> members, uint32_t table_size) {
  std::vector<linimo_slot> slots(table_size, LINIMO_NO_BACKEND);
  std::vector<Turn> turns = first_turns(members, table_size);
  if (turns.empty()) return slots;

  uint64_t heaviest = 0;
  for (const Turn& turn : turns) heaviest = std::max(heaviest, turn.weight);

  // Rounds in which the heaviest member always takes a turn and a lighter one takes one whenever its share of
  // the rounds so far has grown by one: after any round every share is exact to one slot.
  // Most of the time goes into passing over taken slots, so these are looked up in a bitmap that fits the
  // first cache.
  std::vector<uint64_t> taken(table_size / 64 + 1);
  uint32_t free_slots = table_size;
  for (;;) {
    for (Turn& turn : turns) {
      turn.claimed += turn.weight;
      if (turn.claimed < heaviest) continue;
      turn.claimed -= heaviest;
      uint32_t slot = turn.next;
      const uint32_t skip = turn.skip;
      const auto advance = [&] {
        const uint32_t past = slot + skip;
        slot = past >= table_size ? past - table_size : past;
      };
      while (taken[slot / 64] >> (slot % 64) & 1) advance();
      taken[slot / 64] |= uint64_t{1} << (slot % 64);
      slots[slot] = static_cast<linimo_slot>(turn.member);
      advance();
      turn.next = slot;
      if (--free_slots == 0) return slots;
    }
  }
}

uint64_t table_digest(std::span<const TableMember> members, std::span<const linimo_slot> slots) {
  uint64_t digest = XXH3_64bits_withSeed(slots.data(), slots.size_bytes(), slots.size());
  for (const TableMember& member : members) {
    if (member.weight != 0) digest = XXH3_64bits_withSeed(member.address.bytes.data(), 16, digest);
  }
  return digest;
}

}  // namespace linimo
