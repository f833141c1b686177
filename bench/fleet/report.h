// The results, on the terminal and as JSON.
#pragma once

#include <string>
#include <vector>

#include "bench/fleet/hashing.h"
#include "bench/fleet/simulation.h"

namespace linimo::fleet {

void print_table(const Settings& settings, const std::vector<Result>& results);
void print_figures(const Figures& figures);

/// Throws if the file cannot be written.
void write_json(const std::string& path, const Settings& settings, const std::vector<Result>& results,
                const Figures& figures);

}  // namespace linimo::fleet
