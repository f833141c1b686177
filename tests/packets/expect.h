// What a step asks for, held against what happened.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/packets/case_file.h"
#include "tests/packets/engine.h"

namespace linimo::tests {

inline constexpr uint64_t kStart_ms = 100'000'000;  // the tests' clock begins here, far from zero

/// Which possibilities came true, by flow.
using Chosen = std::map<std::string, std::set<size_t>>;

/// Empty where the frame went where it should, with the bytes that it should have; else what differs. The
/// position of the possibility that came true is added to `chosen`.
std::string difference_from(const Expected& expected, const Left& left, Chosen* chosen = nullptr);

/// The same, and the counter too.
std::string difference_from(const Expected& expected, const Result& result, Chosen* chosen = nullptr);

/// The same for all that settling brought.
std::string difference_from(const Step& settles, std::vector<Result> results, Chosen* chosen = nullptr);

}  // namespace linimo::tests
