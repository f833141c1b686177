#include "controlplane/cli/flows.h"

#include <algorithm>
#include <cctype>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "controlplane/cli/arguments.h"
#include "controlplane/cli/dry_run.h"
#include "controlplane/cli/text_table.h"
#include "controlplane/trace/flow_query.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr size_t kPage = 128;          // that an answer has at most
constexpr double kWorthSaying = 0.05;  // of flows that are others'
constexpr const char* kPath = "/v1/flows";

void add_filters(CLI::App& command, FlowOptions& options) {
  command.add_option("--service", options.service, "of this service");
  command.add_option("--backend", options.backend, "of this backend, POOL/ADDRESS")->check(backend_mistake);
  command.add_option("--client", options.client, "of this client, or of a prefix of few: ADDRESS[/LENGTH]");
}

void add_flow(CLI::App& command, FlowOptions& options) {
  command.add_option("PROTOCOL", options.protocol, "tcp or udp")
      ->check(CLI::IsMember({"tcp", "udp"}))
      ->required();
  command.add_option("FROM", options.from, "ADDRESS:PORT of the client")->required();
  command.add_option("TO", options.to, "ADDRESS:PORT of the VIP")->required();
}

std::string doubt(const json& answer) {
  const auto mistaken = answer.at("mistaken").get<double>();
  if (mistaken < kWorthSaying) return "";
  return fmt::format("About {:.2g} of them may be other clients': an entry keeps 20 bits of a flow's hash.\n",
                     mistaken);
}

std::string life_of(const json& flow) {
  return fmt::format("{}, idle for {} s, forgotten in {} s", flow.at("state").get<std::string>(),
                     flow.at("idle_s").get<uint64_t>(), flow.at("left_s").get<uint64_t>());
}

}  // namespace

CLI::App* FlowOptions::add_to(CLI::App& app) {
  auto* flow =
      app.add_subcommand("flow", "the flows that are tracked: list, show, clear")->require_subcommand(1);
  list = flow->add_subcommand("list", "tracked flows, by service, backend or client");
  add_filters(*list, *this);
  list->add_option("--limit", limit, "how many to show")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  show = flow->add_subcommand("show", "one flow, if it is tracked");
  add_flow(*show, *this);
  show->footer("Example: linimo flow show tcp 198.51.100.7:4242 203.0.113.10:443");
  clear = flow->add_subcommand("clear", "forget flows: each next packet goes where a new flow's would");
  add_filters(*clear, *this);
  clear->add_flag("--all", all, "every flow");
  clear->add_flag("--dry-run", dry_run, kDryRunHelp);
  clear->footer("Without a prompt. Example: linimo flow clear --backend web/10.0.1.1");
  // Which names there are, the control plane knows.
  const FlowIds any = {.service = [](const auto&) { return 1; }, .backend = [](auto) { return 1; }};
  for (CLI::App* command : {list, show})
    command->callback([this, any] { require(flow_query(query(), any, false)); });
  clear->callback([this, any] {
    if (all == !(service + backend + client).empty())
      throw CLI::ValidationError("say which flows to clear: --service, --backend or --client; or --all");
    require(flow_query(query(), any, true));
  });
  return flow;
}

std::string FlowOptions::query() const {
  std::string query;
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) query += fmt::format("{}{}={}", query.empty() ? "" : "&", name, escaped(value));
  };
  add("service", service);
  add("backend", backend);
  add("client", client);
  add("protocol", protocol);
  add("from", from);
  add("to", to);
  add("all", all ? "1" : "");
  return query;
}

tl::expected<json, std::string> list_flows(const FlowOptions& options, const FetchPath& fetch) {
  const std::string query = options.query();
  json all = {{"flows", json::array()}};
  uint64_t matched = 0;
  double mistaken = 0;
  for (std::string after;;) {
    const size_t room = options.limit - all["flows"].size();
    auto part = fetch(fmt::format("{}?limit={}{}{}{}{}", kPath, std::min(room, kPage),
                                  after.empty() ? "" : "&after=", after, query.empty() ? "" : "&", query));
    if (!part) return part;
    for (json& flow : part->at("flows")) all["flows"].push_back(std::move(flow));
    matched += part->at("matched").get<uint64_t>();
    mistaken += part->at("mistaken").get<double>();
    all["memory"] = part->at("memory");
    if (part->at("next").is_null()) break;
    after = part->at("next").get<std::string>();
  }
  all["matched"] = matched;
  all["left_off"] = matched - all["flows"].size();
  all["mistaken"] = mistaken;
  return all;
}

tl::expected<json, std::string> foresee_clearing(const FlowOptions& options, const FetchPath& fetch) {
  FlowOptions counted = options;
  counted.all = false;  // a list has all unless it is narrowed
  counted.limit = 0;
  const auto found = list_flows(counted, fetch);
  if (!found) return found;
  return json{{"would_clear", found->at("matched")}, {"mistaken", found->at("mistaken")}};
}

tl::expected<json, std::string> clear_flows(const FlowOptions& options, const FetchPath& post) {
  uint64_t cleared = 0;
  double mistaken = 0;
  for (std::string after;;) {
    auto part =
        post(fmt::format("{}/clear?{}{}{}", kPath, options.query(), after.empty() ? "" : "&after=", after));
    if (!part && cleared != 0)
      return tl::unexpected(fmt::format("{} flows were cleared, then: {}", cleared, part.error()));
    if (!part) return part;
    cleared += part->at("cleared").get<uint64_t>();
    mistaken += part->at("mistaken").get<double>();
    if (part->at("next").is_null()) return json{{"cleared", cleared}, {"mistaken", mistaken}};
    after = part->at("next").get<std::string>();
  }
}

std::string render_flows(const json& answer) {
  const json& flows = answer.at("flows");
  if (flows.empty())
    return "no such flow is tracked (a service with adaptive tracking keeps only those of slots that changed "
           "lately)\n";
  const bool named = !flows.front().at("from").is_null();
  std::string memory = answer.at("memory").get<std::string>();
  std::ranges::transform(memory, memory.begin(), [](unsigned char c) { return std::toupper(c); });
  std::vector<std::string> headings = {"SERVICE", "BACKEND", "STATE", ">IDLE", ">LEFT", ">" + memory};
  if (named) headings.insert(headings.end(), {"CLIENT", "VIP"});
  TextTable table(headings);
  for (const json& flow : flows) {
    std::vector<std::string> cells = {text_of(flow.at("service")),
                                      text_of(flow.at("backend")),
                                      text_of(flow.at("state")),
                                      fmt::format("{} s", flow.at("idle_s").get<uint64_t>()),
                                      fmt::format("{} s", flow.at("left_s").get<uint64_t>()),
                                      std::to_string(flow.at("row").get<uint64_t>())};
    if (named) cells.insert(cells.end(), {text_of(flow.at("from")), text_of(flow.at("to"))});
    table.add(std::move(cells));
  }
  std::string text = table.render();
  if (const auto left_off = answer.at("left_off").get<uint64_t>(); left_off != 0)
    text += fmt::format("{} more are not shown (--limit N)\n", grouped(left_off));
  return text + doubt(answer);
}

std::string render_flow(const json& answer) {
  if (answer.at("flows").empty()) return "not tracked: its next packet is treated as `linimo trace` says\n";
  std::string text;
  for (const json& flow : answer.at("flows"))
    text += fmt::format("{} {}: service {}, backend {}, {}\n", text_of(answer.at("memory")),
                        flow.at("row").get<uint64_t>(), text_of(flow.at("service")),
                        text_of(flow.at("backend")), life_of(flow));
  return text;
}

std::string render_clearing(const json& answer) {
  const auto flows = answer.at("would_clear").get<uint64_t>();
  return fmt::format(
             "{} flow{} would be cleared; those whose backend is no longer that of their slot, or which the "
             "scheduler placed, may then break\n",
             grouped(flows), flows == 1 ? "" : "s") +
         doubt(answer);
}

std::string render_cleared(const json& answer) {
  const auto cleared = answer.at("cleared").get<uint64_t>();
  return fmt::format("{} flow{} cleared\n", grouped(cleared), cleared == 1 ? "" : "s") + doubt(answer);
}

}  // namespace linimo
