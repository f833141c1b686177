// linimo flow: which flows the data plane tracks, and to have it forget some.
#pragma once

#include <string>

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

#include "controlplane/cli/trace.h"

namespace linimo {

struct FlowOptions {
  std::string service, backend, client;
  std::string protocol, from, to;  // of one flow
  size_t limit = 100;
  bool all = false, dry_run = false;
  CLI::App *list = nullptr, *show = nullptr, *clear = nullptr;

  CLI::App* add_to(CLI::App& app);
  /// What it narrows by; "" for everything.
  std::string query() const;
};

/// {"flows": [...], "matched", "left_off", "mistaken", "memory"}: all parts, put together. `fetch`: GET.
tl::expected<nlohmann::json, std::string> list_flows(const FlowOptions& options, const FetchPath& fetch);

/// {"would_clear", "mistaken"}: how many clear_flows() would clear, if they stayed as they are. `fetch`: GET.
tl::expected<nlohmann::json, std::string> foresee_clearing(const FlowOptions& options,
                                                           const FetchPath& fetch);

/// {"cleared", "mistaken"}. `post`: POST. The error says how many were removed before it.
tl::expected<nlohmann::json, std::string> clear_flows(const FlowOptions& options, const FetchPath& post);

std::string render_flows(const nlohmann::json& answer);
/// Of one flow: a line for each worker that has it.
std::string render_flow(const nlohmann::json& answer);
std::string render_clearing(const nlohmann::json& answer);
std::string render_cleared(const nlohmann::json& answer);

}  // namespace linimo
