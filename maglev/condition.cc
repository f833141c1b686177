#include "maglev/condition.h"

#include <algorithm>
#include <iterator>

namespace linimo {
namespace {

using std::chrono::milliseconds;
using Scope = ConditionScope;

constexpr milliseconds kAtOnce{0};
constexpr milliseconds kMoment{1000};

// What comes back must hold for a moment before anything relies on it; what goes, goes at once where packets
// are lost meanwhile, and after a moment where it may mend itself.
constexpr ConditionKind kKinds[] = {
    {"interface-present", Scope::kInterface, kAtOnce, kMoment, "the kernel or the driver has the interface"},
    {"carrier", Scope::kInterface, kAtOnce, kMoment, "the interface is up and its link has a carrier"},
    {"program-attached", Scope::kInterface, kAtOnce, kMoment, "the XDP program is on the interface"},
    {"transmit-works", Scope::kInterface, kMoment, kMoment, "frames that are sent leave by the interface"},
    {"receive-works", Scope::kAdvice, kAtOnce, kMoment, "the interface loses no frame before it is seen"},
    {"queues-served", Scope::kAdvice, kAtOnce, kMoment, "every receive queue of the interface is served"},
    {"vlan-tags", Scope::kAdvice, kAtOnce, kMoment, "the driver leaves VLAN tags in frames"},
    {"peer-offloads", Scope::kAdvice, kAtOnce, kMoment,
     "the other end of a veth, TAP or virtio NIC finishes its frames; nobody can see that from here"},
    {"stands-alone", Scope::kAdvice, kAtOnce, kMoment,
     "no VLAN, bridge or bond of the kernel's needs an interface that DPDK has"},
    {"addresses-moved", Scope::kAdvice, kAtOnce, kMoment, "the TAP has the addresses of the interface"},
    {"guardian-alive", Scope::kAdvice, kAtOnce, kAtOnce,
     "should the data plane end, its guardian gives the interface its addresses back"},
    {"flows-kept", Scope::kAdvice, kAtOnce, kAtOnce, "connection tables outlive the process"},
    {"mtu-followed", Scope::kAdvice, kAtOnce, kMoment, "the port has the MTU of its TAP"},
    {"bpffs-shared", Scope::kAdvice, kAtOnce, kAtOnce, "what is pinned outlives the process"},
    {"dataplane-alive", Scope::kNode, kAtOnce, kAtOnce,
     "the data plane sends heartbeats and its workers go round"},
    {"tables-current", Scope::kAdvice, kMoment, kAtOnce,
     "the data plane forwards by all that is configured and known"},
    {"next-hop", Scope::kAdvice, kAtOnce, kAtOnce, "every backend has a way"},
    {"tunnel-accepted", Scope::kAdvice, kAtOnce, kAtOnce,
     "no ICMP error comes back that quotes our tunnel to a backend"},
    {"neighbour-table", Scope::kAdvice, kAtOnce, kMoment,
     "the kernel has room for every neighbour (`gc_thresh3`)"},
    {"tunnel-check-path", Scope::kAdvice, kAtOnce, kAtOnce,
     "device, route and rule of checks through the tunnel are there"},
    {"announcements", Scope::kAdvice, kMoment, kAtOnce, "the kernel has the routes that announce the VIPs"},
    {"bird-session", Scope::kAdvice, kMoment, kAtOnce, "a router hears of the announced VIPs"},
    {"bfd-session", Scope::kAdvice, kAtOnce, kAtOnce,
     "BFD hears the routers that BGP has sessions with, so that they notice at once when this node dies"},
    {"descriptors", Scope::kAdvice, kAtOnce, kAtOnce, "health checks have what they need of this machine"},
    {"ids-left", Scope::kAdvice, kAtOnce, kAtOnce, "there are ids for more services and backends"},
    {"checks-on-time", Scope::kAdvice, kAtOnce, kAtOnce, "health checks run when they are due"},
    {"served-over-tcp", Scope::kAdvice, kAtOnce, kAtOnce,
     "the page for Prometheus and the API are served where the configuration says"},
    {"fleet", Scope::kAdvice, kAtOnce, kAtOnce, "the fleet's store is in reach, and its nodes agree"},
};

constexpr ConditionKind kOther{"", Scope::kAdvice, kAtOnce, kAtOnce, ""};

}  // namespace

std::span<const ConditionKind> condition_kinds() {
  return kKinds;
}

const ConditionKind& condition_kind(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kKinds), std::end(kKinds), [&](const auto& kind) { return kind.name == name; });
  return found == std::end(kKinds) ? kOther : *found;
}

const char* condition_state_name(ConditionState state) {
  constexpr const char* kNames[] = {"unknown", "holds", "fails"};
  return static_cast<size_t>(state) < std::size(kNames) ? kNames[static_cast<size_t>(state)] : kNames[0];
}

}  // namespace linimo
