#include "controlplane/cli/doctor.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>
#include <set>
#include <thread>
#include <utility>

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controlplane/cli/capture.h"
#include "controlplane/cli/client.h"
#include "controlplane/cli/program_output.h"
#include "controlplane/cli/vip_answers.h"
#include "maglev/address.h"
#include "maglev/config/announce.h"
#include "maglev/unique_fd.h"

namespace linimo {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kConnectLimit{1500}, kClientPatience{1000}, kLongestToBegin{4000};
constexpr std::chrono::milliseconds kProgramLimit{2000};  // of all programs that are run together
constexpr size_t kMostConnections = 500;

json parsed_output_of(const std::string& command, Clock::time_point deadline) {
  return json::parse(output_of(command, deadline), nullptr, false);
}

/// The same of a program that prints a list; an empty one, if it did not.
json list_from(const std::string& command, Clock::time_point deadline) {
  json list = parsed_output_of(command, deadline);
  return list.is_array() ? std::move(list) : json::array();
}

/// All at once, for each may take all the time there is.
void ask_peers(std::vector<Peer>& peers, json Peer::*place) {
  const auto deadline = Clock::now() + kProgramLimit;
  std::vector<std::future<void>> asked;
  for (Peer& peer : peers)
    asked.push_back(std::async(std::launch::async, [&peer, place, deadline] {
      peer.*place = parsed_output_of(peer.command, deadline);
    }));
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
    if (service.at("pool") != pool || service.at("protocol") != "tcp" || service.at("ports").empty())
      continue;
    const json& first = service.at("ports").at(0);  // 80, or "8000-8100"
    return first.is_number() ? first.get<uint16_t>()
                             : static_cast<uint16_t>(std::atoi(first.get<std::string>().c_str()));
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
    if (address && port != 0)
      all.push_back({fmt::format("{}/{}", pool, text), begin_connection(*address, port)});
  }
  return connect_all(std::move(all));
}

/// Interfaces of the node whose program runs in generic mode.
std::vector<std::string> generic_devices(const json& status, Clock::time_point deadline) {
  std::vector<std::string> found;
  if (status.at("engine") != "xdp") return found;
  std::set<std::string> ours;
  for (const json& condition : status.at("conditions")) {
    if (condition.at("name") == "program-attached" && condition.at("subject").is_string())
      ours.insert(condition.at("subject").get<std::string>());
  }
  constexpr int kGeneric = 2;  // XDP_ATTACHED_SKB
  for (const json& link : list_from("ip -j -d link show", deadline)) {
    const std::string name = link.value("ifname", "");
    if (ours.contains(name) && link.contains("xdp") && link["xdp"].value("mode", 0) == kGeneric)
      found.push_back(name);
  }
  return found;
}

std::vector<std::string> vips_not_in_bird(const json& status, Clock::time_point deadline) {
  std::vector<std::string> missing;
  const json& announce = status.at("announce");
  if (!announce.is_object() || !announce.at("bird").at("error").is_null()) return missing;
  const auto config = load_announce_config(status.at("config").at("file").get<std::string>());
  if (!config || !*config) return missing;
  const std::string socket = (*config)->bird_socket.string();
  if (socket.empty() || socket.find('\'') != std::string::npos) return missing;
  const std::string told = output_of(fmt::format("birdc -r -s '{}' show route table all", socket), deadline);
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

/// What clients do meanwhile. Nothing where somebody captures already, or the right to is missing.
template <typename Watch>
auto watch_clients(const std::string& socket, std::chrono::milliseconds time, Clock::time_point deadline) {
  constexpr uint32_t kWholeSyn = 512;
  Watch watch;
  using Seen = std::remove_cvref_t<decltype(watch.seen())>;
  const auto path = capture_path(Watch::kFilter, kWholeSyn, Watch::kRate);
  if (!path) return Seen();
  EventStreamReader reader;
  // From when it has begun, for which a data plane may have to load a program.
  auto until = deadline;
  const auto take = [&, begun = false](std::string_view bytes) mutable {
    if (!bytes.empty() && !std::exchange(begun, true)) until = std::min(deadline, Clock::now() + time);
    reader.take(bytes, [&](const StreamedEvent& event) {
      if (!event.type.empty()) return;
      const json packet = json::parse(event.data, nullptr, false);
      if (packet.is_object()) watch.take(packet);
    });
    return Clock::now() < until;
  };
  static_cast<void>(follow(socket, "POST", *path, "", take));
  return Seen(watch.seen());
}

std::vector<std::string> interfaces_of(const json& status) {
  std::vector<std::string> interfaces;
  for (const json& condition : status.at("conditions")) {
    if (condition.at("name") == "interface-present" && condition.at("subject").is_string())
      interfaces.push_back(condition.at("subject").get<std::string>());
  }
  return interfaces;
}

/// Receive queues, of which engine dpdk has one a worker on each interface; engine xdp takes those that a NIC
/// has, and of several interfaces one alone may be in use.
size_t receive_queues(const json& status) {
  if (status.at("engine") == "dpdk") return status.at("dataplane").value("workers", size_t{0});
  const auto interfaces = interfaces_of(status);
  if (interfaces.size() != 1) return 0;
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq question{};
  interfaces.front().copy(question.ifr_name, IFNAMSIZ - 1);
  question.ifr_data = reinterpret_cast<char*>(&channels);
  const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd || ioctl(fd.get(), SIOCETHTOOL, &question) != 0) return 0;
  return channels.rx_count + channels.combined_count;
}

/// Who holds VIPs on the node's LANs, beside gateways, which may answer for everything.
std::vector<VipHolder> vip_holders(Facts& facts, Clock::time_point deadline) {
  const json& status = facts.status;
  std::vector<std::string> vips, devices = interfaces_of(status);
  for (const json& service : facts.services) {
    for (const json& vip : service.at("vips")) vips.push_back(vip.get<std::string>());
  }
  // Of engine dpdk the kernel has a TAP in each interface's place.
  for (size_t i = 0; status.at("engine") == "dpdk" && i < devices.size(); ++i)
    devices[i] = fmt::format("linimo{}", i);
  facts.vips_not_asked = vips_left_out(vips);
  const auto answers = ask_for_vips(vips, devices);
  if (answers.empty()) return {};
  std::map<std::string, std::string> addresses;  // by MAC address
  std::set<std::string> gateways;
  for (const char* family : {"-6", "-4"}) {
    for (const json& neighbour : list_from(fmt::format("ip -j {} neigh", family), deadline))
      addresses[neighbour.value("lladdr", "")] = neighbour.value("dst", "");
    for (const json& route : list_from(fmt::format("ip -j {} route", family), deadline))
      gateways.insert(route.value("gateway", ""));
  }
  std::vector<VipHolder> holders;
  for (const VipAnswer& answer : answers) {
    const auto known = addresses.find(answer.mac);
    const std::string address = known == addresses.end() ? "" : known->second;
    if (address.empty() || !gateways.contains(address))
      holders.push_back({answer.vip, answer.device, answer.mac, address});
  }
  return holders;
}

}  // namespace

CLI::App* DoctorOptions::add_to(CLI::App& app) {
  auto* command = app.add_subcommand(
      "doctor", "what is wrong with the node and its backends, by what evidence, and what mends it");
  command->add_flag("--backend-script", script,
                    "print what to run on a backend instead: it names what cannot be seen from here");
  command->add_option("--watch-seconds", seconds, "how long to watch counters and packets")
      ->check(CLI::Range(0.1, 60.0))
      ->capture_default_str();
  command->add_option("--peer", peers,
                      "compare with another node: what prints its status. May stand more than once");
  command->footer("Example: linimo doctor --peer \"ssh lb2 linimo status -o json\"");
  return command;
}

tl::expected<Facts, std::string> gather_facts(const std::string& socket, const DoctorOptions& options,
                                              const FetchPath& fetch, const json& backends) {
  Facts facts;
  facts.backends = backends;
  const std::pair<const char*, json*> first[] = {{"/v1/pools", &facts.pools},
                                                 {"/v1/services", &facts.services}};
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
  for (const std::string& command : options.peers)
    facts.peers.push_back({.command = command, .status = {}, .later = {}});
  ask_peers(facts.peers, &Peer::status);
  auto status = fetch("/v1/status");
  if (!status) return tl::unexpected(status.error());
  facts.status = std::move(*status);
  if (auto fleet = fetch("/v1/fleet")) facts.fleet = std::move(*fleet);  // refused where there is none
  const std::chrono::milliseconds watched(static_cast<int64_t>(options.seconds * 1000));
  const auto until = Clock::now() + watched, deadline = until + watched + kLongestToBegin;
  // Within less no client asks again, nor is what it asks first much to go by.
  auto openings = std::async(watched < kClientPatience ? std::launch::deferred : std::launch::async, [&] {
    return watched < kClientPatience ? Openings() : watch_clients<OpeningWatch>(socket, watched, deadline);
  });
  facts.direct = ask_backends(facts);
  const auto programs_end = Clock::now() + kProgramLimit;
  facts.generic_xdp = generic_devices(facts.status, programs_end);
  facts.not_in_bird = vips_not_in_bird(facts.status, programs_end);
  facts.queues = receive_queues(facts.status);
  facts.vip_holders = vip_holders(facts, programs_end);
  facts.openings = openings.get();
  std::this_thread::sleep_until(until);
  auto later = fetch("/v1/status");
  if (!later) return tl::unexpected(later.error());
  facts.later = std::move(*later);
  ask_peers(facts.peers, &Peer::later);
  const auto told = [](const json& status) {
    return status.at("outcomes").value("too_big_reply", uint64_t{0});
  };
  if (watched >= kClientPatience && told(facts.later) > told(facts.status))
    facts.too_big = watch_clients<TooBigWatch>(socket, watched, deadline);
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
