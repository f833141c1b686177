// linimo top: what the node does right now, as rates between two answers of the API. Pure: the terminal is
// top_screen.h's.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

namespace linimo {

struct TopSample {
  std::chrono::steady_clock::time_point at;
  nlohmann::json status, services, backends;  // as the API answers
};

enum class TopSort { kPackets, kBits, kNewFlows, kName };
inline constexpr int kTopSorts = 4;
const char* top_sort_name(TopSort sort);

struct TopLayout {
  size_t columns = 80;
  size_t lines = 24;  // at most; 0: as many as it takes
  TopSort sort = TopSort::kPackets;
  std::string hint;  // what stands at the right of the first line
};

/// Lines of at most so many columns, each with its end. What went backwards, since another data plane counts
/// now, has no rate until the next sample.
std::string render_top(const TopSample& before, const TopSample& now, const TopLayout& layout);

/// 1234567 as "1.23M"; nothing as "-".
std::string rate_text(std::optional<double> per_second);

}  // namespace linimo
