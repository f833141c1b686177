#include "controlplane/cli/diagnosis.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "controlplane/cli/backend_script.h"

namespace linimo {
namespace {

using nlohmann::json;

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool is_v4(const std::string& address) {
  return address.find(':') == std::string::npos;
}

constexpr const char* kSmallerSegments =
    "there: ip route change default via GATEWAY advmss N, N being what the way takes less the tunnel's and "
    "40 bytes "
    "(ipip over IPv4: less 60)";

class Diagnosis {
 public:
  explicit Diagnosis(const Facts& facts) : facts_(facts) {
    for (const json& pool : facts.pools) pools_[text_of(pool, "name")] = &pool;
    for (const json& condition : facts.later.at("conditions")) {
      if (condition.at("name") == "tunnel-accepted" && condition.at("state") == "fails")
        refuses_tunnels_.insert(text_of(condition, "subject"));
    }
  }

  std::vector<Finding> findings() {
    node();
    conditions();
    losses();
    backends();
    checksums();
    openings();
    queues();
    for (const VipHolder& holder : facts_.vip_holders) held(holder);
    for (const Peer& peer : facts_.peers) compare(peer);
    if (!facts_.fleet.is_null()) store(facts_.fleet.at("store"));
    for (const std::string& device : facts_.generic_xdp) {
      add({"xdp-generic", device,
           fmt::format("the kernel runs the XDP program of {} in generic mode", device),
           "[node] xdp_mode = \"native\" says at the next start what stands in the way"});
    }
    for (const std::string& vip : facts_.not_in_bird) {
      add({"bird-without-route", vip,
           fmt::format("{} is announced in the kernel's table, and BIRD has no route of it", vip),
           fmt::format(
               "in bird.conf: protocol kernel {{ learn; kernel table {}; ... }}; then birdc configure",
               facts_.later.at("announce").value("table", 77))});
    }
    return std::move(findings_);
  }

 private:
  void add(Finding finding) { findings_.push_back(std::move(finding)); }

  void node() {
    const json& config = facts_.later.at("config");
    if (const std::string error = text_of(config, "last_error"); !error.empty()) {
      add({"configuration-refused", "", error, "linimo config check " + text_of(config, "file")});
    }
    for (const json& key : config.at("restart_needed")) {
      add({"restart-needed", "",
           fmt::format("[node] {} has changed since the data plane started", key.get<std::string>()),
           "systemctl restart linimo-dataplane"});
    }
    for (const json& pool : facts_.later.at("pools_in_panic")) {
      add({"pool-in-panic", pool.get<std::string>(),
           "so few of its backends are up that all are used, or none is", "linimo backend list"});
    }
  }

  void conditions() {
    for (const json& condition : facts_.later.at("conditions")) {
      const std::string name = text_of(condition, "name");
      if (condition.at("state") != "fails" || name == "next-hop") continue;  // each backend says it by itself
      const std::string mend = text_of(condition, "mend");
      add({name, text_of(condition, "subject"), text_of(condition, "evidence"),
           mend.empty() ? "see docs/operations.md, Watched conditions" : mend});
    }
  }

  uint64_t grown(const char* outcome) const {
    const uint64_t before = facts_.status.at("outcomes").value(outcome, uint64_t{0});
    const uint64_t now = facts_.later.at("outcomes").value(outcome, uint64_t{0});
    return now > before ? now - before : 0;
  }

  void losses() {
    if (const TooBig& seen = facts_.too_big; seen.again >= kEnough) {
      add({"too-big-unheard", "",
           fmt::format(
               "{} of {} segments whose senders were told that they do not fit into the tunnel came again as "
               "long as they were, such as {}: the ICMP messages do not reach these clients",
               seen.again, seen.told, seen.packet),
           fmt::format(
               "let ICMP \"fragmentation needed\" and \"packet too big\" from the VIP pass on its way to "
               "clients, or {}",
               kSmallerSegments),
           false});
    } else if (const auto told = grown("too_big_reply"), lost = grown("too_big"); told + lost != 0) {
      const auto lowered = facts_.later.value("path_mtus_lowered", uint64_t{0});
      add({"tunnel-does-not-fit", "",
           fmt::format("within the last seconds {} senders were told that their packets do not fit into the "
                       "tunnel, and {} "
                       "packets were dropped for it{}",
                       told, lost,
                       lowered != 0 ? "; a router has said that a way to a backend takes less" : ""),
           fmt::format("raise the MTU on the way to the backends, or {}", kSmallerSegments),
           lost != 0 || lowered != 0});
    }
    constexpr std::pair<const char*, const char*> kDrops[] = {
        {"tx_full", "frames found no room in the transmit queue: the link is slower than the traffic"},
        {"kernel_full", "frames for the host were more than its kernel takes"},
        {"fragmented_frame", "frames were longer than a buffer: lower the MTU of the interface"}};
    for (const auto& [outcome, meaning] : kDrops) {
      if (const auto lost = grown(outcome); lost != 0)
        add({outcome, "", fmt::format("{} {}", lost, meaning), "see docs/operations.md", false});
    }
  }

  struct Lost {
    std::string name, pool, address, detail;
  };

  void backends() {
    std::vector<Lost> lost;
    size_t through_tunnel = 0;
    for (const json& backend : facts_.backends) {
      const Lost one{text_of(backend, "pool") + '/' + text_of(backend, "address"), text_of(backend, "pool"),
                     text_of(backend, "address"), text_of(backend, "detail")};
      if (const std::string problem = text_of(backend, "way_problem"); !problem.empty()) way(one, problem);
      const bool tunnelled = is_checked_through_tunnel(one.pool);
      through_tunnel += tunnelled ? 1 : 0;
      if (backend.at("state") != "down") continue;
      if (refuses_tunnels_.contains(one.address) && tunnelled) continue;  // the condition says why
      const auto direct = facts_.direct.find(one.name);
      const bool serves = direct != facts_.direct.end() && direct->second == Direct::kOpen;
      if (!tunnelled || !serves) {
        add({"backend-down", one.name, fmt::format("{}{}", one.detail, serves ? "; its port is open" : ""),
             "start the service there"});
      } else if (one.detail.find("refused") != std::string::npos) {
        add({"service-not-on-vip", one.name,
             fmt::format("through the tunnel: {}; to its own address: open", one.detail),
             "there: let the service listen on every address, not on its own alone"});
      } else {
        lost.push_back(one);
      }
    }
    if (lost.size() > 1 && lost.size() == through_tunnel) return all_lost(lost);
    for (const Lost& one : lost) lost_at(one);
  }

  void way(const Lost& backend, const std::string& problem) {
    const bool wrong = problem.find("interface") != std::string::npos,
               unresolved = problem.find("resolved") != std::string::npos;
    const int bits = is_v4(backend.address) ? 32 : 128;
    add({wrong        ? "wrong-egress"
         : unresolved ? "next-hop-unresolved"
                      : "no-route",
         backend.name, fmt::format("{} (ip route get {})", problem, backend.address),
         wrong ? fmt::format(
                     "ip route replace {}/{} via GATEWAY dev DEV, of [node] interfaces, or add the one that "
                     "`ip route get {}` shows to them",
                     backend.address, bits, backend.address)
         : unresolved
             ? fmt::format(
                   "ip route replace {}/{} via GATEWAY, one that answers, or see why this does not: ip neigh "
                   "show",
                   backend.address, bits)
             : fmt::format("ip route replace {}/{} via GATEWAY", backend.address, bits)});
  }

  bool is_checked_through_tunnel(const std::string& pool) const {
    const auto found = pools_.find(pool);
    if (found == pools_.end() || !found->second->at("health").is_object()) return false;
    return found->second->at("health").value("through_tunnel", false);
  }

  /// From here a network that drops tunnels looks as backends do that all lack the VIP: both are said.
  void all_lost(const std::vector<Lost>& lost) {
    std::set<std::string> tunnels;
    for (const Lost& one : lost) tunnels.insert(on_the_wire(one));
    const std::string seen_by = fmt::format("{}", fmt::join(tunnels, " or "));
    const std::string vip = facts_.vip.empty() ? "VIP" : facts_.vip;
    add({"tunnels-lost", "",
         fmt::format("all {} backends that are checked through the tunnel are down and answer at their own "
                     "addresses; nothing comes back ({}). Either the network between drops tunnels ({}) or "
                     "their source, or all of these backends lack the VIP, or filter what comes for it",
                     lost.size(), lost.front().detail, seen_by),
         fmt::format(
             "there: ip addr replace {}/{} dev lo, if linimo doctor --backend-script says on one of them "
             "that it lacks the VIP; if it finds nothing: let the network pass {} from encap_source, or "
             "take the node's own address as [node] encap_source",
             vip, is_v4(vip) ? 32 : 128, seen_by),
         false});
  }

  /// As filters of tcpdump have it.
  std::string on_the_wire(const Lost& backend) const {
    const std::string encapsulation = text_of(*pools_.at(backend.pool), "encapsulation");
    if (encapsulation == "gue") return "udp port 6080";
    const bool v4 = is_v4(backend.address);
    if (encapsulation == "gre") return v4 ? "ip proto 47" : "ip6 proto 47";
    return v4 ? "ip proto 4 or ip proto 41" : "ip6 proto 4 or ip6 proto 41";
  }

  void lost_at(const Lost& backend) {
    const std::string encapsulation = text_of(*pools_.at(backend.pool), "encapsulation");
    const char* device = tunnel_device(encapsulation, backend.address);
    const std::string vip = facts_.vip.empty() ? "VIP" : facts_.vip;
    add({"tunnel-lost-at-backend", backend.name,
         fmt::format("through the tunnel: {}; to its own address: open; no ICMP error comes back. Its "
                     "reverse-path filter, a "
                     "VIP that it does not have, or its firewall",
                     backend.detail),
         fmt::format("there: sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{}.rp_filter=0; ip addr "
                     "replace {}/{} dev "
                     "lo; which of them it is says: linimo doctor --backend-script",
                     device, vip, is_v4(vip) ? 32 : 128),
         false});
  }

  /// A client, or a machine between, left its checksums to a NIC that there is not.
  void checksums() {
    const Openings& seen = facts_.openings;
    if (seen.unfinished < kEnough) return;
    add({"checksums-unfinished", seen.unfinished_interface,
         fmt::format(
             "{} of {} connections that began meanwhile came with the checksum of their pseudo header "
             "alone, such as {}; their backends drop them",
             seen.unfinished, seen.begun, seen.unfinished_packet),
         fmt::format("at the other end of {}: ethtool -K DEV tx off", seen.unfinished_interface)});
  }

  /// Clients that ask the same backend again, although its check is up, do not get its answers.
  void openings() {
    if (facts_.openings.unfinished >= kEnough) return;  // which is why
    for (const json& backend : facts_.backends) {
      const std::string name = text_of(backend, "pool") + '/' + text_of(backend, "address");
      const auto found = facts_.openings.backends.find(name);
      if (found == facts_.openings.backends.end() || backend.at("state") == "down") continue;
      const auto& [begun, repeated] = found->second;
      if (repeated < kEnough || repeated * kPartThatRepeats < begun) continue;
      add({"answers-lost", name,
           fmt::format(
               "its check says {}, and of {} connections to it that began meanwhile {} sent their SYN "
               "again: its answers do not reach these clients",
               text_of(backend, "state"), begun, repeated),
           fmt::format(
               "let the network pass {} as a source behind {} (anti-spoofing, reverse-path filters, port "
               "security), and there: a way back to clients, no firewall between; linimo doctor "
               "--backend-script",
               facts_.vip.empty() ? "the VIP" : facts_.vip, text_of(backend, "address")),
           false});
    }
  }

  static uint64_t flows_made(const json& before, const json& now) {
    const uint64_t was = before.at("flows").value("made", uint64_t{0}),
                   is = now.at("flows").value("made", uint64_t{0});
    return is > was ? is - was : 0;
  }

  /// Of `kManyFlows` flows or more none would take the other queue by chance once in 2^15.
  void queues() {
    const json &before = facts_.status.at("workers"), &now = facts_.later.at("workers");
    const uint64_t flows = std::max(flows_made(facts_.status, facts_.later), facts_.openings.begun);
    if (facts_.queues < 2 || now.size() != before.size() || flows < kManyFlows) return;
    uint64_t all = 0, most = 0;
    size_t busiest = 0;
    for (size_t i = 0; i < now.size(); ++i) {
      const uint64_t packets =
          now[i].value("forwarded", uint64_t{0}) - before[i].value("forwarded", uint64_t{0});
      all += packets;
      if (packets > most) busiest = i;
      most = std::max(most, packets);
    }
    if (most != all) return;
    add({"one-queue", "",
         fmt::format("{} flows began meanwhile, and all {} packets that were forwarded came by receive queue "
                     "{} of {}",
                     flows, most, busiest, facts_.queues),
         fmt::format(
             "let the NIC spread flows over its queues: linimo-setup-nic check says how (RSS: ethtool -X DEV "
             "equal {0}; ethtool -N DEV rx-flow-hash tcp4 sdfn); of a veth or TAP at the other end: ethtool "
             "-L DEV tx {0}",
             facts_.queues),
         false});
  }

  void held(const VipHolder& holder) {
    std::string who;
    for (const json& backend : facts_.backends) {
      if (!holder.address.empty() && text_of(backend, "address") == holder.address)
        who = text_of(backend, "pool") + '/' + holder.address;
    }
    add({"vip-held-by-another", holder.vip,
         fmt::format("{}{} answers {} for it on {}", holder.mac,
                     who.empty() ? holder.address.empty() ? "" : " (" + holder.address + ")"
                                 : " (backend " + who + ")",
                     is_v4(holder.vip) ? "ARP" : "neighbour discovery", holder.device),
         is_v4(holder.vip)
             ? "there: sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"
             : fmt::format("there: ip -6 addr del {0}/128 dev DEV; ip -6 addr add {0}/128 dev lo",
                           holder.vip)});
  }

  void compare(const Peer& peer) {
    if (!peer.status.is_object() || !peer.later.is_object()) {
      add({"peer-silent", peer.command, "it does not print what linimo status -o json does",
           "try it by hand: " + peer.command});
      return;
    }
    const std::string name = text_of(peer.later, "node");
    const std::string seeds[] = {text_of(peer.later, "seed_check"), text_of(facts_.later, "seed_check")};
    if (!seeds[0].empty() && !seeds[1].empty() && seeds[0] != seeds[1]) {
      add({"nodes-disagree", name, "its hash seed is another: the same flow goes to another slot there",
           "copy hash_seed_file from one node to all, then linimo reload"});
    } else if (differ(peer.status, facts_.status) && differ(peer.later, facts_.later)) {
      add({"nodes-disagree", name,
           fmt::format("its tables differ: digest {} there, {} here; configuration {} there, {} here",
                       text_of(peer.later, "digest"), text_of(facts_.later, "digest"),
                       text_of(peer.later.value("config", json::object()), "revision"),
                       text_of(facts_.later.value("config", json::object()), "revision")),
           "the same [[pool]] sections on every node; where they are, linimo backend list on both says which "
           "backend "
           "is up for one alone"});
    }
    const uint64_t here = flows_made(facts_.status, facts_.later),
                   there = flows_made(peer.status, peer.later);
    if (here + there < kManyFlows || (here != 0 && there != 0)) return;
    if (!facts_.later.value("serves", false) || !peer.later.value("serves", false)) return;
    add({"one-node-has-all", here != 0 ? text_of(facts_.later, "node") : name,
         fmt::format("of {} flows that began meanwhile all came to it, and none to {}", here + there,
                     here != 0 ? name : text_of(facts_.later, "node")),
         "on the router: use every path (BIRD: merge paths on), and choose among them by ports too (Linux: "
         "sysctl -w "
         "net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1)",
         false});
  }

  void store(const json& store) {
    if (!store.value("keeps_all", false)) return;
    add({"store-keeps-all", "",
         fmt::format("etcd has kept all of its {} revisions, and takes nothing more when it is full",
                     store.at("revision").get<int64_t>()),
         "on each member ETCD_AUTO_COMPACTION_MODE=periodic and ETCD_AUTO_COMPACTION_RETENTION=1h, and start "
         "it again"});
  }

  static bool differ(const json& one, const json& other) {
    return text_of(one, "digest") != text_of(other, "digest");
  }

  static constexpr uint64_t kEnough = 2;  // connections, to speak of a pattern
  /// One in so many: who begins within the last second is not seen again, and that may be most of the time.
  static constexpr uint64_t kPartThatRepeats = 8;
  static constexpr uint64_t kManyFlows = 16;

  const Facts& facts_;
  std::map<std::string, const json*> pools_;
  std::set<std::string> refuses_tunnels_;
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> diagnose(const Facts& facts) {
  return Diagnosis(facts).findings();
}

}  // namespace linimo
