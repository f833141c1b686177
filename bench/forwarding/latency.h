// How long packets stay with a loop that is not always busy: from their arrival, whether the loop was ready
// or not, until they are sent.
#pragma once

#include <string>
#include <vector>

#include "bench/forwarding/arrivals.h"
#include "bench/forwarding/subject.h"

namespace linimo::bench {

/// Packets of a subject, at one rate.
struct Stays {
  std::string name;  // of the point
  std::string load;  // in words
  double mpps = 0;
  std::vector<Histogram> rounds;
};

struct Timed {
  Subject& subject;
  std::string name;
};

/// The floor, computing for as long as what it is compared with: at the same rate as often busy, but without
/// its memory and its other work. Where a packet waits as long with it, the machine makes it wait.
constexpr char kSlowFloor[] = "floor, as slow";

/// Each of `loaded` at a low and at a high share of what it can do at most, and both floors at the same
/// rates; by turns.
std::vector<Stays> measure_latency(const Timed& floor, const std::vector<Timed>& loaded, uint32_t rounds);

void print_latency(const std::vector<Stays>& stays);
std::string json_of(const std::vector<Stays>& stays);

}  // namespace linimo::bench
