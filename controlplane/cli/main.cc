// linimo: looks at and steers a running node.
//
//   linimo config check /etc/linimo/linimo.toml
//   linimo backend list
//   linimo status -o json
//
// Exit codes: 0 it is so, 1 it failed or was refused, 2 it was asked wrongly.
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "controlplane/cli/client.h"
#include "controlplane/cli/render.h"
#include "controlplane/config/config.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr int kFailed = 1;
constexpr int kUsage = 2;

struct Options {
  std::string socket = "/run/linimo/control.sock";
  std::string output = "table";
  std::string file;
};

int fail(std::string_view message) {
  std::cerr << "linimo: " << message << '\n';
  return kFailed;
}

int check_config(const Options& options) {
  const auto config = load_config(options.file);
  if (options.output == "json") {
    std::cout << json{{"file", options.file}, {"error", config ? json(nullptr) : json(config.error())}}.dump(
                     2, ' ', false, json::error_handler_t::replace)
              << '\n';
  }
  if (!config) return options.output == "json" ? kFailed : fail(config.error());
  if (options.output == "table") {
    size_t backends = 0;
    for (const PoolConfig& pool : config->pools) backends += pool.backends.size();
    std::cout << fmt::format("{} is right: {} services, {} pools, {} backends\n", options.file,
                             config->services.size(), config->pools.size(), backends);
  }
  return 0;
}

tl::expected<json, std::string> fetch(const Options& options, const char* method, const char* path) {
  const auto reply = ask(options.socket, method, path);
  if (!reply) return tl::unexpected(reply.error());
  json content = json::parse(reply->body, nullptr, false);
  if (content.is_discarded())
    return tl::unexpected(fmt::format("{} answers, but not as a control plane", options.socket));
  if (reply->status != 200) {
    return tl::unexpected(content.is_object() && content.contains("error") && content["error"].is_string()
                              ? content["error"].get<std::string>()
                              : fmt::format("the control plane answers with status {}", reply->status));
  }
  return content;
}

int show(const Options& options, const char* path, std::string (*render)(const json&)) {
  const auto content = fetch(options, "GET", path);
  if (!content) return fail(content.error());
  std::cout << (options.output == "json" ? content->dump(2) + "\n" : render(*content));
  return 0;
}

int reload(const Options& options) {
  const auto content = fetch(options, "POST", "/v1/reload");
  if (!content) return fail("the running configuration stays: " + content.error());
  if (options.output == "json") {
    std::cout << content->dump(2) << '\n';
    return 0;
  }
  std::cout << "reloaded\n";
  for (const json& key : content->at("restart_needed")) {
    std::cout << fmt::format("[node] {} changed: restart linimo-dataplane for it\n", key.get<std::string>());
  }
  return 0;
}

/// The data plane's own program knows what it left: the one beside this, else the one in PATH.
int detach(const Options& options) {
  const std::string config = options.file.empty() ? "/etc/linimo/linimo.toml" : options.file;
  std::error_code error;
  const auto beside = std::filesystem::read_symlink("/proc/self/exe", error).replace_filename("linimo-dataplane");
  for (const std::string& program : {beside.string(), std::string("linimo-dataplane")}) {
    execlp(program.c_str(), program.c_str(), "--config", config.c_str(), "--detach", nullptr);
  }
  return fail(fmt::format("linimo-dataplane: {}", std::strerror(errno)));
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("linimo: looks at and steers a node of the Linimo load balancer");
  app.set_version_flag("--version", LINIMO_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // options may stand behind the command too
  app.add_option("-o,--output", options.output, "table or json")->check(CLI::IsMember({"table", "json"}));
  app.add_option("--socket", options.socket, "the control plane's socket")
      ->envname("LINIMO_SOCKET")
      ->capture_default_str();

  auto* config = app.add_subcommand("config", "look at a configuration file")->require_subcommand(1);
  auto* check = config->add_subcommand("check", "say whether a file is right, touching nothing");
  check->add_option("FILE", options.file, "the configuration file")->required();
  auto* service = app.add_subcommand("service", "services")->require_subcommand(1);
  auto* service_list = service->add_subcommand("list", "all services and what they carried");
  auto* backend = app.add_subcommand("backend", "backends")->require_subcommand(1);
  auto* backend_list = backend->add_subcommand("list", "all backends, their health, share and traffic");
  auto* status = app.add_subcommand("status", "the node: data plane, generation, counters, last error");
  auto* reload_command = app.add_subcommand("reload", "read the configuration file again");
  auto* dataplane = app.add_subcommand("dataplane", "the data plane's process")->require_subcommand(1);
  auto* detach_command = dataplane->add_subcommand(
      "detach", "end it, and end the forwarding that engine xdp leaves to the kernel");
  detach_command->add_option("--config", options.file, "the node's configuration file")->capture_default_str();
  for (auto* group : {config, service, backend, dataplane}) group->fallthrough();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (*check) return check_config(options);
  if (*service_list) return show(options, "/v1/services", render_services);
  if (*backend_list) return show(options, "/v1/backends", render_backends);
  if (*status) return show(options, "/v1/status", render_status);
  if (*reload_command) return reload(options);
  if (*detach_command) return detach(options);
  return kUsage;
}

}  // namespace
}  // namespace linimo

int main(int argc, char** argv) {
  try {
    return linimo::run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "linimo: " << error.what() << '\n';
    return 1;
  }
}
