// How even tables are, and how much of them changes when backends fail: Figures 11 and 12 of the Maglev paper
// (Eisenbud et al., NSDI 2016), with Linimo's tables beside rendezvous hashing (Thaler, Ravishankar, 1998)
// and ring hashing (Karger et al., 1997), each of which fills the slots of a table by its own rule.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace linimo::fleet {

inline constexpr uint32_t kPaperBackends = 1000;
inline constexpr uint32_t kPaperSizes[] = {65537, 655373};
inline constexpr uint32_t kRingPoints = 1000;  // of each backend: the paper's "views"

enum class Hashing : uint8_t { kMaglev, kRendezvous, kRing };
inline constexpr Hashing kHashings[] = {Hashing::kMaglev, Hashing::kRendezvous, Hashing::kRing};
const char* name_of(Hashing hashing);

struct Evenness {
  Hashing hashing;
  uint32_t table_size;
  double most;   // slots of the backend that has most of them, over the average
  double least;  // of the one that has fewest
};

struct Disruption {
  Hashing hashing;
  uint32_t table_size;
  uint32_t failures;  // of 1000 backends, at once
  double changed;     // share of all slots
  double needless;    // share of all slots: change, though their backend lives
};

struct Figures {
  uint32_t trials = 0;  // means of so many pools
  std::vector<Evenness> evenness;
  std::vector<Disruption> disruption;
};

Figures paper_figures(uint32_t trials, uint64_t seed);

}  // namespace linimo::fleet
