// What a step asks for, held against what happened.
#pragma once

#include <set>
#include <string>

#include "tests/packets/case_file.h"
#include "tests/packets/engine.h"

namespace linimo::tests {

inline constexpr uint32_t kStart_s = 100'000;  // the tests' clock begins here, far from zero

/// Empty where the frame went where the step says, with the bytes that it says; else what differs. The
/// position of the possibility that came true is added to `chosen`.
std::string difference_from(const Step& step, const Left& left, std::set<size_t>* chosen = nullptr);

/// The same, and the counter too.
std::string difference_from(const Step& step, const Result& result, std::set<size_t>* chosen = nullptr);

}  // namespace linimo::tests
