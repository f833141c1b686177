// What was measured, as a table and as JSON.
#pragma once

#include <string>
#include <vector>

#include "bench/forwarding/point.h"

namespace linimo::bench {

struct Result {
  Point point;
  std::vector<double> ns;  // a packet, of each round
  double bytes_for_a_flow = 0;
  uint64_t unstored = 0;
  uint64_t dropped = 0, displaced = 0;  // packets; entries of a bystander
};

struct Machine {
  std::string cpu;
  double load_before = 0, load_after = 0;  // processes that wanted to run, mean over a minute
};

/// `packets`: of each round. Differences and ratios are taken round by round, because what disturbs a machine
/// lasts longer than one measurement; then the median.
double median(std::vector<double> values);
void print_table(const std::vector<Result>& results, const Machine& machine, uint64_t packets);
void write_json(const std::string& path, const std::vector<Result>& results, const Machine& machine,
                uint64_t packets, const std::string& latency);

}  // namespace linimo::bench
