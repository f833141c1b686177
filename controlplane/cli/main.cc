// linimo: shows and controls a running node.
//
//   linimo config check /etc/linimo/linimo.toml
//   linimo backend list
//   linimo backend drain web/10.0.1.1 --wait
//   linimo status -o json
//
// Exit codes: 0 done, 1 it failed or was refused, 2 wrong usage.
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "controlplane/cli/arguments.h"
#include "controlplane/cli/backend_script.h"
#include "controlplane/cli/capture.h"
#include "controlplane/cli/client.h"
#include "controlplane/cli/doctor.h"
#include "controlplane/cli/dry_run.h"
#include "controlplane/cli/fleet.h"
#include "controlplane/cli/flows.h"
#include "controlplane/cli/node.h"
#include "controlplane/cli/probe.h"
#include "controlplane/cli/render.h"
#include "controlplane/cli/top_screen.h"
#include "controlplane/cli/trace.h"
#include "controlplane/cli/watch.h"
#include "controlplane/config/config.h"
#include "maglev/program.h"

namespace linimo {
namespace {

using nlohmann::json;

struct Options {
  std::string socket = "/run/linimo/control.sock";
  std::string output = "table";
  std::string file = kConfigFile;
  std::string backend;
  bool wait = false;
  bool here = false;
  bool dry_run = false;
  bool watch = false;
};

int check_file(const Options& options) {
  const ConfigReport report = check_config(options.file, options.here);
  if (options.output == "json") {
    const json first = report.mistakes.empty() ? json(nullptr) : json(report.mistakes.front());
    std::cout << json{{"file", options.file},
                      {"error", first},
                      {"mistakes", report.mistakes},
                      {"warnings", report.warnings}}
                     .dump(2, ' ', false, json::error_handler_t::replace)
              << '\n';
    return report.config ? 0 : kFailed;
  }
  for (const std::string& mistake : report.mistakes) fail(mistake);
  for (const std::string& warning : report.warnings) std::cerr << "linimo: warning: " << warning << '\n';
  if (!report.config) return kFailed;
  size_t backends = 0;
  for (const PoolConfig& pool : report.config->pools) backends += pool.backends.size();
  std::cout << fmt::format("{} is valid: {} services, {} pools, {} backends\n", options.file,
                           report.config->services.size(), report.config->pools.size(), backends);
  return 0;
}

tl::expected<json, std::string> fetch(const Options& options, const char* method, const char* path,
                                      const std::string& body = {}) {
  return ask_json(options.socket, method, path, body);
}

/// All backends, page by page.
tl::expected<json, std::string> fetch_backends(const Options& options) {
  constexpr size_t kPage = 1000;
  json all = json::array();
  for (std::string after;;) {
    auto page = fetch(options, "GET", fmt::format("/v1/backends?limit={}{}", kPage, after).c_str());
    if (!page) return page;
    const bool last = page->size() < kPage;
    for (json& backend : *page) all.push_back(std::move(backend));
    if (last) return all;
    after = fmt::format("&after={}/{}", all.back().at("pool").get<std::string>(),
                        all.back().at("address").get<std::string>());
  }
}

int show(const Options& options, const tl::expected<json, std::string>& content,
         std::string (*render)(const json&)) {
  if (!content) return fail(content.error());
  std::cout << (options.output == "json" ? content->dump(2) + "\n" : render(*content));
  return 0;
}

/// With --watch over and over: in the same place of a terminal, or a document a line. What fails later is
/// shown, and tried again: a control plane that starts anew is what somebody may be watching.
int show_or_watch(const Options& options, const std::function<tl::expected<json, std::string>()>& ask,
                  const std::function<std::string(const json&)>& render) {
  constexpr const char* kHomeAndClear = "\x1b[H\x1b[2J";
  constexpr std::chrono::seconds kPeriod{1};
  const bool as_json = options.output == "json";
  for (bool first = true;; first = false) {
    const auto content = ask();
    if (!content && first) return fail(content.error());
    const std::string text = !content  ? "linimo: " + content.error() + '\n'
                             : as_json ? content->dump(options.watch ? -1 : 2) + '\n'
                                       : render(*content);
    if (content || !as_json)
      std::cout << (options.watch && !as_json && isatty(STDOUT_FILENO) != 0 ? kHomeAndClear : "") << text;
    else
      std::cerr << text;
    if (!options.watch) return 0;
    if (!std::cout.flush()) return kFailed;
    std::this_thread::sleep_for(kPeriod);
  }
}

int reload(const Options& options) {
  const auto content = fetch(options, "POST", "/v1/reload");
  if (!content) return fail("the running configuration stays: " + content.error());
  if (options.output == "json") {
    std::cout << content->dump(2) << '\n';
    return await_in_force(options.socket);
  }
  std::cout << "reloaded\n";
  for (const json& key : content->at("restart_needed")) {
    std::cout << fmt::format("[node] {} changed: restart linimo-dataplane for it\n", key.get<std::string>());
  }
  return await_in_force(options.socket);
}

/// Says each second how far it is, until it is; the backend may be switched off then.
int wait_until_drained(const Options& options, const std::string& pool, const std::string& address) {
  for (std::string shown;; std::this_thread::sleep_for(std::chrono::seconds(1))) {
    const auto found =
        fetch(options, "GET", fmt::format("/v1/backends?backend={}/{}", pool, address).c_str());
    if (!found) return fail(found.error());
    const json& backend = found->at(0);
    if (backend.at("drain").is_null())
      return fail(fmt::format("the drain of {}/{} was cancelled", pool, address));
    const std::string progress = drain_text(backend);
    if (progress != shown) std::cout << progress << std::endl;
    shown = progress;
    if (backend.at("state") == "drained") return 0;
    if (backend.at("state") == "down") return fail(fmt::format("{}/{} is down", pool, address));
  }
}

int drain(const Options& options, bool wanted) {
  const size_t slash = options.backend.find('/');
  const json backend = {{"pool", options.backend.substr(0, slash)},
                        {"backend", options.backend.substr(slash + 1)},
                        {"drain", wanted}};
  if (options.dry_run) return show_dry_run(options.socket, backend, options.output == "json");
  const auto content = fetch(options, "POST", wanted ? "/v1/drain" : "/v1/undrain", backend.dump());
  if (!content) return fail(content.error());
  if (options.output == "json") {
    std::cout << content->dump(2) << '\n';
  } else {
    std::cout << fmt::format(
        "{} {}\n", options.backend,
        wanted ? "drains: it keeps tracked flows and gets no new ones" : "gets new flows again");
  }
  const int in_force = await_in_force(options.socket);
  if (in_force != 0 || !wanted || !options.wait) return in_force;
  return wait_until_drained(options, content->at("pool"), content->at("backend"));
}

int show_trace(const Options& options, const TraceOptions& asked) {
  if (asked.live && asked.pcap.empty() && asked.protocol.empty())
    return trace_live(options.socket, *asked.live, asked.count, options.output == "json");
  if (asked.count != 0) {
    fail("--count is of real packets: linimo trace --live \"tcp port 443\" --count 10");
    return kUsage;
  }
  if (asked.live || asked.pcap.empty() == asked.to.empty()) {
    fail(asked.live           ? "--live stands by itself: linimo trace --live \"tcp port 443\""
         : asked.pcap.empty() ? "trace what? As in: linimo trace tcp 198.51.100.7:4242 203.0.113.10:443"
                              : "either a packet or --pcap FILE");
    return kUsage;
  }
  const auto answers =
      trace(asked, [&](const std::string& path) { return fetch(options, "GET", path.c_str()); });
  if (!answers) return fail(answers.error());
  if (options.output == "json") {
    std::cout << (asked.pcap.empty() ? answers->front() : json(*answers)).dump(2) << '\n';
    return 0;
  }
  for (size_t i = 0; i < answers->size(); ++i)
    std::cout << (i == 0 ? "" : "\n") << render_trace((*answers)[i]);
  return 0;
}

int flow(const Options& options, const FlowOptions& asked) {
  const auto by = [&](const char* method) {
    return [&options, method](const std::string& path) { return fetch(options, method, path.c_str()); };
  };
  if (*asked.clear && asked.dry_run)
    return show(options, foresee_clearing(asked, by("GET")), render_clearing);
  if (*asked.clear) return show(options, clear_flows(asked, by("POST")), render_cleared);
  const auto found = list_flows(asked, by("GET"));
  if (*asked.list) return show(options, found, render_flows);
  const int shown = show(options, found, render_flow);
  return shown == 0 && found->at("flows").empty() ? kFailed : shown;
}

int top(const Options& options, const TopOptions& asked) {
  if (options.output == "json") {
    fail("top is for the eye; -o json have status, service list and backend list");
    return kUsage;
  }
  const auto shown = run_top(asked, [&]() -> tl::expected<TopSample, std::string> {
    TopSample sample{std::chrono::steady_clock::now(), {}, {}, {}};
    auto status = fetch(options, "GET", "/v1/status"), services = fetch(options, "GET", "/v1/services");
    auto backends = fetch_backends(options);
    for (const auto* part : {&status, &services, &backends}) {
      if (!*part) return tl::unexpected(part->error());
    }
    sample.status = std::move(*status);
    sample.services = std::move(*services);
    sample.backends = std::move(*backends);
    return sample;
  });
  return shown ? 0 : fail(shown.error());
}

int doctor(const Options& options, const DoctorOptions& asked) {
  const FetchPath get = [&](const std::string& path) { return fetch(options, "GET", path.c_str()); };
  const auto backends = fetch_backends(options);
  if (!backends) return fail(backends.error());
  if (asked.script) {
    const auto services = get("/v1/services"), pools = get("/v1/pools");
    if (!services || !pools) return fail(services ? pools.error() : services.error());
    const std::string script = script_for_backends(*services, *pools, *backends);
    std::cout << script;
    return script.empty() ? fail("no service with a backend is configured") : 0;
  }
  const auto facts = gather_facts(options.socket, asked, get, *backends);
  if (!facts) return fail(facts.error());
  const auto findings = diagnose(*facts);
  std::cout << (options.output == "json"
                    ? findings_json(findings).dump(2, ' ', false, json::error_handler_t::replace) + "\n"
                    : render_findings(findings));
  if (facts->vips_not_asked != 0) {
    std::cerr << fmt::format("linimo: who else holds a VIP on the node's LANs was not asked of {} VIPs\n",
                             facts->vips_not_asked);
  }
  return findings.empty() ? 0 : kFailed;
}

constexpr std::chrono::milliseconds kCountersAge{1000};  // that they may have, of engine xdp

int show_probe(const Options& options, const ProbeOptions& asked) {
  // Where a client is there may be no node: then nobody is asked whose counters grow.
  const bool here = std::filesystem::exists(options.socket);
  const auto before = here ? fetch_backends(options) : tl::unexpected(std::string());
  auto report = probe(asked);
  if (!report) return fail(report.error());
  if (before && report->names_nobody()) {
    std::this_thread::sleep_for(kCountersAge);
    if (const auto after = fetch_backends(options))
      report->estimated_shares = shares_between(*before, *after);
  }
  std::cout << (options.output == "json" ? probe_json(*report).dump(2) + "\n" : render_probe(*report));
  return report->failures.empty() ? 0 : kFailed;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Shows and controls a node of the Linimo load balancer.", "linimo");
  app.set_version_flag("--version", LINIMO_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // options may stand behind the command too
  app.add_option("-o,--output", options.output, "table, wide (lists with more columns) or json")
      ->check(CLI::IsMember({"table", "wide", "json"}));
  app.add_option("--socket", options.socket, "the control plane's socket")
      ->envname("LINIMO_SOCKET")
      ->capture_default_str();

  FleetCommands fleet_commands;
  auto* config =
      app.add_subcommand("config", "configuration: of a file, and of the fleet")->require_subcommand(1);
  auto* check = config->add_subcommand("check", "list every mistake in a file; changes nothing");
  check->add_option("FILE", options.file, kConfigFileText)->capture_default_str();
  check->add_flag("--here", options.here,
                  "also check what depends on this machine: seed, addresses, programs");
  auto* service = app.add_subcommand("service", "what is served, and its traffic")->require_subcommand(1);
  auto* service_list = service->add_subcommand("list", "all services and their traffic");
  auto* backend = app.add_subcommand("backend", "who serves: list and drain")->require_subcommand(1);
  auto* backend_list = backend->add_subcommand("list", "all backends: health, share, traffic");
  auto* backend_drain =
      backend->add_subcommand("drain", "a backend keeps tracked flows and gets no new ones");
  auto* backend_undrain = backend->add_subcommand("undrain", "cancel a drain");
  for (auto* command : {backend_drain, backend_undrain}) {
    command->add_option("POOL/ADDRESS", options.backend, "the backend, such as web/10.0.1.1")
        ->required()
        ->check(backend_mistake);
    command->add_flag("--dry-run", options.dry_run, kDryRunHelp);
  }
  backend_drain->add_flag("--wait", options.wait, "show how many flows are left; return when there are none");
  auto* status = app.add_subcommand("status", "the node: data plane, tables, counters, last error");
  for (auto* command : {service_list, backend_list, status})
    command->add_flag("--watch", options.watch, "over and over, until Ctrl-C");
  auto* reload_command = app.add_subcommand("reload", "read the configuration file again");
  std::string trial = kConfigFile;
  auto* trial_option =
      reload_command->add_option("FILE", trial, "the configuration to try")->capture_default_str();
  auto* dry_run = reload_command->add_flag("--dry-run", kDryRunHelp);
  trial_option->needs(dry_run);
  auto* dataplane = app.add_subcommand("dataplane", "the data plane's process")->require_subcommand(1);
  auto* detach_command = dataplane->add_subcommand(
      "detach", "stop it, and stop the forwarding that engine xdp leaves to the kernel");
  auto* upgrade_command = dataplane->add_subcommand(
      "upgrade",
      "hand over to a new process of its program, as it lies on disk now, while packets are forwarded");
  auto* node = app.add_subcommand("node", "nodes: of the fleet, and whether this one announces its VIPs")
                   ->require_subcommand(1);
  auto* upgrade_node_command = node->add_subcommand(
      "upgrade", "drain this node, have its data plane hand over to a new process, and undrain it");
  for (auto* command : {detach_command, upgrade_command, upgrade_node_command})
    command->add_option("--config", options.file, kConfigFileText)->capture_default_str();
  auto* drain_node_command =
      node->add_subcommand("drain", "make routers send traffic elsewhere, then announce nothing");
  drain_node_command->add_flag("--wait", options.wait, "return when nothing is announced");
  drain_node_command->add_flag("--dry-run", options.dry_run, kDryRunHelp);
  auto* undrain_node_command = node->add_subcommand("undrain", "announce again");
  fleet_commands.add(app, *config, *node);
  DoctorOptions examined;
  auto* doctor_command = examined.add_to(app);
  TraceOptions traced;
  auto* trace_command = traced.add_to(app);
  CaptureOptions captured;
  auto* capture_command = captured.add_to(app);
  TopOptions topped;
  auto* top_command = topped.add_to(app);
  FlowOptions flows;
  auto* flow_command = flows.add_to(app);
  WatchOptions watched;
  auto* watch_command = watched.add_to(app);
  ProbeOptions probed;
  auto* probe_command = probed.add_to(app);
  for (auto* group : {config, service, backend, flow_command, dataplane, node}) group->fallthrough();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (*check) return check_file(options);
  if (const auto done = fleet_commands.run(options.socket, options.output == "json")) return *done;
  const auto asking = [&](const char* path) { return [&, path] { return fetch(options, "GET", path); }; };
  const bool wide = options.output == "wide";
  if (*service_list)
    return show_or_watch(options, asking("/v1/services"),
                         [&](const json& list) { return render_services(list, wide); });
  if (*backend_list)
    return show_or_watch(
        options, [&] { return fetch_backends(options); },
        [&](const json& list) { return render_backends(list, wide); });
  if (*backend_drain) return drain(options, true);
  if (*backend_undrain) return drain(options, false);
  if (*status) return show_or_watch(options, asking("/v1/status"), render_status);
  if (*reload_command && *dry_run)
    return show_dry_run_of_file(options.socket, trial, options.output == "json");
  if (*reload_command) return reload(options);
  if (*doctor_command) return doctor(options, examined);
  if (*watch_command) return watch(options.socket, watched, options.output == "json");
  if (*probe_command) return show_probe(options, probed);
  if (*top_command) return top(options, topped);
  if (*flow_command) return flow(options, flows);
  if (*capture_command) return capture(options.socket, captured);
  if (*trace_command) return show_trace(options, traced);
  if (*drain_node_command && options.dry_run)
    return foresee_node_drain(options.socket, options.output == "json");
  if (*drain_node_command) return drain_node(options.socket, true, options.wait, options.output == "json");
  if (*undrain_node_command) return drain_node(options.socket, false, false, options.output == "json");
  if (*upgrade_node_command) return upgrade_node(options.socket, options.file, options.output == "json");
  if (*detach_command) return run_dataplane(options.file, "--detach");
  if (*upgrade_command) return run_dataplane(options.file, "--upgrade");
  return kUsage;
}

}  // namespace
}  // namespace linimo

int main(int argc, char** argv) {
  try {
    return linimo::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "linimo: " << error.what() << '\n';
    return linimo::kFailed;
  }
}
