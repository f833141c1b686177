// Why packets vanish, as far as a node can tell: findings out of facts. Pure: who gathers the facts is
// doctor.h.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "controlplane/cli/openings.h"

namespace linimo {

/// How a backend answered a connection to its own address, past the balancer.
enum class Direct { kOpen, kRefused, kSilent };

/// Another machine that answers ARP or neighbour discovery for a VIP.
struct VipHolder {
  std::string vip, device, mac;
  std::string address;  // of its own, as far as the kernel's neighbours say; empty: not known
};

/// Another node, by what `linimo status -o json` says there.
struct Peer {
  std::string command;           // that asks it
  nlohmann::json status, later;  // null: it did not answer
};

struct Facts {
  nlohmann::json status, later;    // GET /v1/status, twice, some seconds apart
  nlohmann::json pools, services;  // the API's
  nlohmann::json backends;
  std::map<std::string, Direct> direct;  // of backends that are down, by POOL/ADDRESS
  std::vector<std::string> generic_xdp;  // devices whose program the kernel runs late, and slowly
  std::vector<std::string> not_in_bird;  // VIPs that are announced, and that BIRD has no route of
  size_t queues = 0;                     // that packets may come by; 0: not known
  std::vector<VipHolder> vip_holders;
  size_t vips_not_asked = 0;  // on the node's LANs, for they are many
  Openings openings;          // of connections meanwhile
  TooBig too_big;             // of segments after it, where some were
  std::vector<Peer> peers;    // that the operator named
  nlohmann::json fleet;       // GET /v1/fleet; null: it is in none
  std::string vip;            // one of the node's; empty: it has none
};

struct Finding {
  std::string cause;    // a name that stays the same
  std::string subject;  // a backend, interface or VIP; empty: the node
  std::string evidence;
  std::string mend;  // a command, or what to do; "there:" on the backend
  bool certain = true;

  bool operator==(const Finding&) const = default;
};

std::vector<Finding> diagnose(const Facts& facts);

}  // namespace linimo
