#include "controlplane/cli/doctor.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <set>
#include <thread>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "maglev/address.h"
#include "maglev/config/announce.h"
#include "maglev/unique_fd.h"

namespace linimo {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kWatched{2};  // for counters that grow
constexpr std::chrono::milliseconds kConnectLimit{1500};
constexpr size_t kMostConnections = 500;

/// What a program writes, whatever it ends with. `command` has no word that came from elsewhere but
/// addresses.
std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen((command + " 2>/dev/null").c_str(), "r"), pclose);
  std::string output;
  std::array<char, 4096> buffer;
  for (size_t read = 0; pipe && (read = fread(buffer.data(), 1, buffer.size(), pipe.get())) > 0;)
    output.append(buffer.data(), read);
  return output;
}

struct Connecting {
  std::string name;
  UniqueFd fd;
};

UniqueFd begin_connection(const Address& address, uint16_t port) {
  sockaddr_storage storage{};
  socklen_t size = 0;
  if (address.is_v4()) {
    auto& to = reinterpret_cast<sockaddr_in&>(storage);
    to = {.sin_family = AF_INET,
          .sin_port = htons(port),
          .sin_addr = {address.v4_network_order()},
          .sin_zero = {}};
    size = sizeof to;
  } else {
    auto& to = reinterpret_cast<sockaddr_in6&>(storage);
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(port);
    std::memcpy(&to.sin6_addr, address.bytes.data(), sizeof to.sin6_addr);
    size = sizeof to;
  }
  UniqueFd fd(socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd && connect(fd.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0 && errno != EINPROGRESS)
    return {};
  return fd;
}

Direct result_of(const UniqueFd& fd) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? Direct::kOpen : error == ECONNREFUSED ? Direct::kRefused : Direct::kSilent;
}

/// All at once.
std::map<std::string, Direct> connect_all(std::vector<Connecting> all) {
  std::map<std::string, Direct> results;
  std::vector<pollfd> waited;
  for (const Connecting& one : all) {
    results[one.name] = Direct::kSilent;
    waited.push_back({one.fd ? one.fd.get() : -1, POLLOUT, 0});
  }
  const auto until = Clock::now() + kConnectLimit;
  for (auto left = kConnectLimit; left.count() > 0;
       left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now())) {
    if (poll(waited.data(), waited.size(), static_cast<int>(left.count())) <= 0) break;
    for (size_t i = 0; i < all.size(); ++i) {
      if (waited[i].fd < 0 || waited[i].revents == 0) continue;
      results[all[i].name] = result_of(all[i].fd);
      waited[i].fd = -1;
    }
    if (std::ranges::all_of(waited, [](const pollfd& one) { return one.fd < 0; })) break;
  }
  return results;
}

/// The port of a pool that is TCP's: its checks', or its services'.
uint16_t tcp_port(const Facts& facts, const std::string& pool) {
  for (const json& one : facts.pools) {
    if (one.at("name") == pool && one.at("health").is_object() && one.at("health").contains("port"))
      return one.at("health").at("port").get<uint16_t>();
  }
  for (const json& service : facts.services) {
    if (service.at("pool") == pool && service.at("protocol") == "tcp" && !service.at("ports").empty())
      return service.at("ports").at(0).at(0).get<uint16_t>();
  }
  return 0;
}

std::map<std::string, Direct> ask_backends(const Facts& facts) {
  std::vector<Connecting> all;
  for (const json& backend : facts.backends) {
    if (backend.at("state") != "down" || all.size() >= kMostConnections) continue;
    const auto pool = backend.at("pool").get<std::string>(), text = backend.at("address").get<std::string>();
    const auto address = Address::parse(text);
    const uint16_t port = tcp_port(facts, pool);
    if (address && port != 0) all.push_back({pool + '/' + text, begin_connection(*address, port)});
  }
  return connect_all(std::move(all));
}

/// Interfaces of the node whose program runs in generic mode.
std::vector<std::string> generic_devices(const json& status) {
  std::vector<std::string> found;
  if (status.at("engine") != "xdp") return found;
  std::set<std::string> ours;
  for (const json& condition : status.at("conditions")) {
    if (condition.at("name") == "program-attached" && condition.at("subject").is_string())
      ours.insert(condition.at("subject").get<std::string>());
  }
  const json links = json::parse(output_of("ip -j -d link show"), nullptr, false);
  constexpr int kGeneric = 2;  // XDP_ATTACHED_SKB
  for (const json& link : links.is_array() ? links : json::array()) {
    const std::string name = link.value("ifname", "");
    if (ours.contains(name) && link.contains("xdp") && link["xdp"].value("mode", 0) == kGeneric)
      found.push_back(name);
  }
  return found;
}

std::vector<std::string> vips_not_in_bird(const json& status) {
  std::vector<std::string> missing;
  const json& announce = status.at("announce");
  if (!announce.is_object() || !announce.at("bird").at("error").is_null()) return missing;
  const auto config = load_announce_config(status.at("config").at("file").get<std::string>());
  if (!config || !*config) return missing;
  const std::string socket = (*config)->bird_socket.string();
  if (socket.empty() || socket.find('\'') != std::string::npos) return missing;
  const std::string told = output_of(fmt::format("birdc -r -s '{}' show route table all", socket));
  if (told.find("ready") == std::string::npos) return missing;
  for (const json& vip : announce.at("vips")) {
    std::string prefix = vip.at("vip").get<std::string>();
    if (!vip.at("announced").get<bool>()) continue;
    if (prefix.find('/') == std::string::npos)
      prefix += prefix.find(':') == std::string::npos ? "/32" : "/128";
    if (told.find('\n' + prefix + ' ') == std::string::npos) missing.push_back(vip.at("vip"));
  }
  return missing;
}

}  // namespace

tl::expected<Facts, std::string> gather_facts(const FetchPath& fetch, const json& backends) {
  Facts facts;
  facts.backends = backends;
  const auto begun = Clock::now();
  const std::pair<const char*, json*> first[] = {
      {"/v1/status", &facts.status}, {"/v1/pools", &facts.pools}, {"/v1/services", &facts.services}};
  for (const auto& [path, place] : first) {
    auto answer = fetch(path);
    if (!answer) return tl::unexpected(answer.error());
    *place = std::move(*answer);
  }
  for (const json& service : facts.services) {
    if (facts.vip.empty() && !service.at("vips").empty())
      facts.vip = service.at("vips").at(0).get<std::string>();
  }
  facts.vip = facts.vip.substr(0, facts.vip.find('/'));
  facts.direct = ask_backends(facts);
  facts.generic_xdp = generic_devices(facts.status);
  facts.not_in_bird = vips_not_in_bird(facts.status);
  std::this_thread::sleep_until(begun + kWatched);
  auto later = fetch("/v1/status");
  if (!later) return tl::unexpected(later.error());
  facts.later = std::move(*later);
  return facts;
}

std::string render_findings(const std::vector<Finding>& findings) {
  if (findings.empty()) return "nothing is wrong\n";
  std::string text;
  for (const Finding& finding : findings) {
    text += fmt::format("{}{}{} ({})\n  seen: {}\n  mend: {}\n", finding.cause,
                        finding.subject.empty() ? "" : ": ", finding.subject,
                        finding.certain ? "certain" : "likely", finding.evidence, finding.mend);
  }
  return text;
}

json findings_json(const std::vector<Finding>& findings) {
  json all = json::array();
  for (const Finding& finding : findings) {
    all.push_back({{"cause", finding.cause},
                   {"subject", finding.subject.empty() ? json() : json(finding.subject)},
                   {"evidence", finding.evidence},
                   {"mend", finding.mend},
                   {"certainty", finding.certain ? "certain" : "likely"}});
  }
  return all;
}

}  // namespace linimo
