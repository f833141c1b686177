// Fleets in virtual time, one for each seed (simulation.h).
//
//   fleet-simulation --seeds 20000 [--first 1]        runs them until one violates what must hold
//   fleet-simulation --seconds 60 --first 1           as many as that takes
//   fleet-simulation --seed 4711 --trace              shows one again
//
// Ends with 0 if nothing was violated; else names the seed.

#include <chrono>
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "tests/fleet/simulation.h"

int main(int argc, char** argv) {
  using linimo::fleet::Result;
  uint64_t seeds = 1;
  uint64_t first = 1;
  uint64_t limit_s = 0;
  bool trace = false;
  CLI::App app{"What must hold in a fleet, whatever happens"};
  app.add_option("--seeds", seeds, "how many");
  app.add_option("--first,--seed", first, "the first, or only, one");
  app.add_option("--seconds", limit_s, "how long, instead of how many");
  app.add_flag("--trace", trace, "tell what happens");
  CLI11_PARSE(app, argc, argv);

  Result all;
  const auto begun = std::chrono::steady_clock::now();
  const auto more = [&](uint64_t done) {
    return limit_s == 0 ? done < seeds
                        : std::chrono::steady_clock::now() < begun + std::chrono::seconds(limit_s);
  };
  uint64_t seed = first;
  for (; more(seed - first); ++seed) {
    const Result result = linimo::fleet::Simulation(seed, trace).run();
    all.steps += result.steps;
    all.commits += result.commits;
    all.activations += result.activations;
    all.elections += result.elections;
    if (result.violation.empty()) continue;
    fmt::print("seed {} ({} before it held): {}\nshow it again: {} --seed {} --trace\n", seed, seed - first,
               result.violation, argv[0], seed);
    return 1;
  }
  fmt::print("{} seeds held: {} steps, {} commits, {} elections, {} activations\n", seed - first, all.steps,
             all.commits, all.elections, all.activations);
  return 0;
}
