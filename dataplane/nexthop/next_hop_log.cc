#include "dataplane/nexthop/next_hop_log.h"

#include <algorithm>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace linimo {
namespace {

constexpr size_t kNamed = 3;

const char* state_name(NextHop::State state) {
  constexpr const char* kNames[] = {"no route", "next hop not resolved",
                                    "route leaves by an interface that is not Linimo's", "resolved"};
  return kNames[state];
}

}  // namespace

void NextHopLog::note(uint32_t id, const Address& backend, NextHop::State state) {
  const auto [entry, is_new] = known_.try_emplace(id, Known{backend, state, {}});
  Known& known = entry->second;
  if (!is_new && known.address == backend && known.state == state) return;
  if (known.address != backend) known.said.reset();  // the number has gone to another
  known.address = backend;
  known.state = state;
  changed_ = true;
}

std::vector<NextHopLog::Line> NextHopLog::lines(Clock::time_point now) {
  std::vector<Line> lines;
  if (!changed_ || (last_ && now - *last_ < kPeriod)) return lines;
  changed_ = false;
  std::map<NextHop::State, std::vector<const Address*>> by_state;
  for (auto& [id, known] : known_) {
    if (known.said == known.state) continue;
    known.said = known.state;
    by_state[known.state].push_back(&known.address);
  }
  for (const auto& [state, backends] : by_state) {
    std::string names;
    for (size_t i = 0; i < std::min(backends.size(), kNamed); ++i)
      names += (i == 0 ? "" : ", ") + backends[i]->to_string();
    lines.push_back({state, backends.size() == 1
                                ? fmt::format("backend {}: {}", names, state_name(state))
                                : fmt::format("{} backends ({}{}): {}", backends.size(), names,
                                              backends.size() > kNamed ? ", ..." : "", state_name(state))});
  }
  if (!lines.empty()) last_ = now;
  return lines;
}

void NextHopLog::flush(Clock::time_point now) {
  for (const Line& line : lines(now))
    spdlog::log(line.state == NextHop::kResolved ? spdlog::level::info : spdlog::level::warn, "{}",
                line.text);
}

}  // namespace linimo
