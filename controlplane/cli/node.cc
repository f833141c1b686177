#include "controlplane/cli/node.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/cli/client.h"
#include "maglev/program.h"

namespace linimo {
namespace {

using nlohmann::json;

// By when the others tell that they announce again, if they do: one may just have been undrained.
constexpr std::chrono::seconds kOthersAreBack{10};
// A data plane whose successor did not forward may have to start its NIC anew.
constexpr std::chrono::seconds kStartsAnew{30};

/// A VIP of these that no other node of the fleet announces now; none: each is, or this is no node of a
/// fleet.
std::string announced_here_alone(const std::string& socket, const json& vips) {
  const auto fleet = ask_json(socket, "GET", "/v1/fleet");
  if (!fleet) return {};
  for (const json& vip : vips) {
    const auto has_it = [&](const json& node) {
      return !node.at("self").get<bool>() && std::ranges::count(node.at("announces"), vip.at("vip")) != 0;
    };
    if (vip.at("announced").get<bool>() && std::ranges::none_of(fleet->at("nodes"), has_it))
      return vip.at("vip").get<std::string>();
  }
  return {};
}

/// The same, should it last.
std::string stays_announced_here_alone(const std::string& socket, const json& vips) {
  const auto limit = std::chrono::steady_clock::now() + kOthersAreBack;
  std::string alone = announced_here_alone(socket, vips);
  while (!alone.empty() && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    alone = announced_here_alone(socket, vips);
  }
  return alone;
}

/// Why what was accepted is not what the data plane forwards by, as far as the status tells.
std::string pending_reason(const json& status) {
  for (const char* name : {"dataplane-alive", "tables-current"}) {
    for (const json& condition : status.at("conditions")) {
      if (condition.at("name") == name && condition.at("state") == "fails" &&
          !condition.at("evidence").is_null())
        return condition.at("evidence").get<std::string>();
    }
  }
  if (!status.at("health_known").get<bool>()) return "the first health checks are not done";
  return "tables are on their way";
}

}  // namespace

int await_in_force(const std::string& socket, std::chrono::seconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;; std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
    const auto status = ask_json(socket, "GET", "/v1/status");
    if (!status) return fail(status.error());
    if (status->at("up_to_date").get<bool>()) return 0;
    if (std::chrono::steady_clock::now() > until)
      return fail(fmt::format("accepted, not yet in force: {}", pending_reason(*status)));
  }
}

int drain_node(const std::string& socket, bool wish, bool wait, bool as_json) {
  auto content = ask_json(socket, "POST", wish ? "/v1/node/drain" : "/v1/node/undrain");
  if (!content) return fail(content.error());
  std::string state = content->at("state").get<std::string>();
  while (wish && wait && state == "draining") {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    content = ask_json(socket, "GET", "/v1/status");
    if (!content) return fail(content.error());
    const json& announce = content->at("announce");
    if (announce.is_null()) return fail("[announce] was removed while the node drained");
    state = announce.at("state").get<std::string>();
  }
  if (wait && wish && state != "drained") return fail("the drain was cancelled");
  std::cout << (as_json ? json{{"state", state}}.dump(2) : "the node is " + state) << '\n';
  return 0;
}

int foresee_node_drain(const std::string& socket, bool as_json) {
  const auto status = ask_json(socket, "GET", "/v1/status");
  if (!status) return fail(status.error());
  const json& announce = status->at("announce");
  if (announce.is_null()) return fail("nothing is announced: there is no [announce] section");
  json withdrawn = json::array();
  std::string named;
  for (const json& vip : announce.at("vips")) {
    if (!vip.at("announced").get<bool>()) continue;
    withdrawn.push_back(vip.at("vip"));
    named += (named.empty() ? ": " : ", ") + vip.at("vip").get<std::string>();
  }
  const auto flows = status->at("flows").at("tracked").get<uint64_t>();
  if (as_json) {
    std::cout << json{{"withdrawn", withdrawn}, {"flows", flows}}.dump(2) << '\n';
    return 0;
  }
  std::cout << fmt::format(
      "{} VIPs would be withdrawn{}\n"
      "{} flows that this node tracks would go by others that announce them, or end\n",
      withdrawn.size(), named, flows);
  return 0;
}

int run_dataplane(const std::string& config, const char* order) {
  std::error_code error;
  const auto beside =
      std::filesystem::read_symlink("/proc/self/exe", error).replace_filename("linimo-dataplane");
  for (const std::string& program : {beside.string(), std::string("linimo-dataplane")}) {
    execlp(program.c_str(), program.c_str(), "--config", config.c_str(), order, nullptr);
  }
  return fail(fmt::format("linimo-dataplane: {}", std::strerror(errno)));
}

int upgrade_node(const std::string& socket, const std::string& config, bool as_json) {
  const auto status = ask_json(socket, "GET", "/v1/status");
  if (!status) return fail(status.error());
  const json& announce = status->at("announce");
  const bool serves = announce.is_object() && announce.at("state") == "serving";
  if (serves) {
    if (const auto alone = stays_announced_here_alone(socket, announce.at("vips")); !alone.empty()) {
      return fail(
          fmt::format("no other node of the fleet announces {}, so this one is not drained: see "
                      "`linimo node list`; `linimo dataplane upgrade` hands over without a drain",
                      alone));
    }
    if (const int failed = drain_node(socket, true, true, as_json); failed != 0) return failed;
  }
  const pid_t pid = fork();
  if (pid == 0) _exit(run_dataplane(config, "--upgrade"));
  int ended = 0;
  const bool ran = pid > 0 && waitpid(pid, &ended, 0) == pid;
  if (!ran) fail(std::strerror(errno));  // and the node is undrained all the same
  const int code = ran && WIFEXITED(ended) ? WEXITSTATUS(ended) : kFailed;
  if (await_in_force(socket, kStartsAnew) != 0) {
    if (serves) fail("the node stays drained; when it forwards again: linimo node undrain");
    return kFailed;
  }
  const int undrained = serves ? drain_node(socket, false, false, as_json) : 0;
  return code != 0 ? code : undrained;
}

}  // namespace linimo
