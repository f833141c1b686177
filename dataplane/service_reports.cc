#include "dataplane/service_reports.h"

#include <algorithm>

#include <fmt/format.h>

namespace linimo {

bool all_go_round(const ConditionBoard& board) {
  return std::none_of(board.entries().begin(), board.entries().end(), [](const auto& entry) {
    return entry.first.first == "dataplane-alive" && entry.second.state == ConditionState::kFails;
  });
}

std::string service_status(std::optional<uint64_t> generation, bool controlled, const ConditionBoard& board) {
  const auto failing = std::count_if(board.entries().begin(), board.entries().end(), [](const auto& entry) {
    return entry.second.state == ConditionState::kFails;
  });
  return fmt::format("{}{}{}",
                     generation ? fmt::format("forwards by generation {}", *generation) : "has no tables yet",
                     controlled ? "" : ", no control plane",
                     failing == 0 ? "" : fmt::format(", {} condition(s) fail: linimo status", failing));
}

}  // namespace linimo
