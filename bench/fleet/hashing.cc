#include "bench/fleet/hashing.h"

#include <algorithm>
#include <span>

#include <arpa/inet.h>

#include "bench/fleet/random.h"
#include "maglev/table.h"

namespace linimo::fleet {
namespace {

constexpr uint32_t kFailures[] = {1, 2, 5, 10, 20, 50};

using Slots = std::vector<uint16_t>;

/// Backends at random addresses, sorted.
std::vector<TableMember> random_pool(Random& random) {
  std::vector<TableMember> members;
  while (members.size() < kPaperBackends) {
    while (members.size() < kPaperBackends)
      members.push_back({Address::v4(htonl(0x0a000000 + random.below(1 << 24))), 1});
    std::sort(members.begin(), members.end());
    members.erase(std::unique(members.begin(), members.end()), members.end());
  }
  return members;
}

uint64_t key_of(const TableMember& member, uint64_t salt) {
  return Random(uint64_t{member.address.v4_network_order()} << 32 | salt).next();
}

/// A finalizer of 64 bits (MurmurHash3's), which a compiler can do many at a time.
uint64_t mix(uint64_t x) {
  x = (x ^ x >> 33) * 0xff51afd7ed558ccd;
  x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53;
  return x ^ x >> 33;
}

Slots rendezvous(std::span<const TableMember> members, uint32_t size) {
  std::vector<uint64_t> keys;
  for (const TableMember& member : members) keys.push_back(key_of(member, 0));
  Slots slots(size);
  for (uint32_t slot = 0; slot < size; ++slot) {
    const uint64_t slot_key = mix(slot + 1);
    uint64_t highest = 0;
    for (uint32_t m = 0; m < keys.size(); ++m) {
      const uint64_t score = mix(keys[m] ^ slot_key);
      if (score < highest) continue;
      highest = score;
      slots[slot] = static_cast<uint16_t>(m);
    }
  }
  return slots;
}

/// Each slot, at a random place on the ring, belongs to the next point.
Slots ring(std::span<const TableMember> members, uint32_t size) {
  struct Point {
    uint64_t at;
    uint16_t member;
  };
  std::vector<Point> points;
  for (size_t m = 0; m < members.size(); ++m) {
    for (uint32_t i = 0; i < kRingPoints; ++i)
      points.push_back({key_of(members[m], i + 1), static_cast<uint16_t>(m)});
  }
  std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) { return a.at < b.at; });
  Slots slots(size);
  for (uint32_t slot = 0; slot < size; ++slot) {
    const auto next = std::lower_bound(points.begin(), points.end(), mix(slot + 1),
                                       [](const Point& point, uint64_t at) { return point.at < at; });
    slots[slot] = (next == points.end() ? points.front() : *next).member;
  }
  return slots;
}

Slots slots_of(Hashing hashing, std::span<const TableMember> members, uint32_t size) {
  switch (hashing) {
    case Hashing::kMaglev:
      return populate(members, size);
    case Hashing::kRendezvous:
      return rendezvous(members, size);
    case Hashing::kRing:
      break;
  }
  return ring(members, size);
}

void add(Evenness& sum, const Slots& slots, uint32_t trials) {
  std::vector<uint32_t> count(kPaperBackends);
  for (const uint16_t member : slots) ++count[member];
  const auto [least, most] = std::minmax_element(count.begin(), count.end());
  const double average = static_cast<double>(slots.size()) / kPaperBackends;
  sum.most += *most / average / trials;
  sum.least += *least / average / trials;
}

/// `gone[member]`: it fails. Without Maglev a slot keeps its backend as long as that lives: no other ranks
/// higher, no other point lies nearer.
void add(Disruption& sum, const Slots& slots, std::span<const TableMember> members,
         const std::vector<bool>& gone, uint32_t trials) {
  uint32_t changed = 0, needless = 0;
  if (sum.hashing == Hashing::kMaglev) {
    std::vector<TableMember> left(members.begin(), members.end());
    for (size_t m = 0; m < left.size(); ++m) left[m].weight = gone[m] ? 0 : 1;
    const Slots after = populate(left, sum.table_size);
    for (uint32_t slot = 0; slot < sum.table_size; ++slot) {
      changed += after[slot] != slots[slot];
      needless += after[slot] != slots[slot] && !gone[slots[slot]];
    }
  } else {
    changed = static_cast<uint32_t>(
        std::count_if(slots.begin(), slots.end(), [&](uint16_t member) { return gone[member]; }));
  }
  const double share = 1.0 / sum.table_size / trials;
  sum.changed += changed * share;
  sum.needless += needless * share;
}

}  // namespace

const char* name_of(Hashing hashing) {
  return hashing == Hashing::kMaglev ? "Maglev" : hashing == Hashing::kRendezvous ? "rendezvous" : "ring";
}

Figures paper_figures(uint32_t trials, uint64_t seed) {
  Figures figures{.trials = trials, .evenness = {}, .disruption = {}};
  for (const uint32_t size : kPaperSizes) {
    for (const Hashing hashing : kHashings) {
      Random random(seed);
      Evenness& evenness = figures.evenness.emplace_back(Evenness{hashing, size, 0, 0});
      std::vector<Disruption> disruption;
      for (const uint32_t failures : kFailures) disruption.push_back({hashing, size, failures, 0, 0});
      for (uint32_t trial = 0; trial < trials; ++trial) {
        const std::vector<TableMember> members = random_pool(random);
        const Slots slots = slots_of(hashing, members, size);
        add(evenness, slots, trials);
        for (Disruption& sum : disruption) {
          std::vector<bool> gone(members.size());
          for (uint32_t left = sum.failures; left > 0;) {
            const uint32_t member = random.below(kPaperBackends);
            left -= gone[member] ? 0 : 1;
            gone[member] = true;
          }
          add(sum, slots, members, gone, trials);
        }
      }
      figures.disruption.insert(figures.disruption.end(), disruption.begin(), disruption.end());
    }
  }
  return figures;
}

}  // namespace linimo::fleet
