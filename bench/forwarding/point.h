// The points that are measured: each a traffic and a configuration, apart from the base in one thing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bench/forwarding/traffic.h"
#include "maglev/snapshot.h"

namespace linimo::bench {

inline constexpr uint32_t kBackends = 100;  // of each pool
inline constexpr uint32_t kTableSize = 65537;
inline constexpr const char* kFloor = "floor";
inline constexpr const char* kBase = "base";
inline constexpr const char* kAdaptive = "1 M flows uniform, adaptive";  // the base, if that tracked so

/// What the worker has before its measured packets.
enum class Table : uint8_t {
  kOfTheFlows,  // an entry for each flow
  kFull,        // of other flows' entries, as old as the rounds are apart
  kFullOfYoung  // the same, made just before: none that may be displaced
};

/// What receives from the port.
enum class Loop : uint8_t {
  kWorker,
  kMacSwap,  // the floor: the least that a forwarder does
  kReturn,   // the supply alone: what was received is sent, nobody looks at it
  kDrop      // the floor of what drops
};

/// What is to be reached on one core.
struct Target {
  enum Of : uint8_t {
    kNs,
    kNsOverFloor,
    kTimesFloor,
    kTimesPoint,
    kTimesFaster  // than that point; the only one that is to be high
  };

  Of of;
  double limit;
  std::string point = {};  // of kTimesPoint, kTimesFaster
};

struct Point {
  std::string name;
  std::string axis;  // what it varies; "ends early": no packet is sent
  TrafficSpec traffic;
  Loop loop = Loop::kWorker;
  linimo_tracking tracking = LINIMO_TRACKING_FULL;
  linimo_encapsulation encapsulation = LINIMO_ENCAP_IPIP;
  Table table = Table::kOfTheFlows;
  double unsettled = 0;    // share of the slots, as if the table had just changed there
  bool shares = false;     // nodes tell each other of flows
  bool bystander = false;  // another service has entries in the table, and must keep them
  uint32_t workers = 1;    // each with a port of its own and its part of the flows
  uint32_t pools = 1;
  bool next_hop_known = true;
  std::string above = kFloor;  // the point whose time is subtracted
  std::vector<Target> targets = {};
};

std::span<const Point> all_points();

/// The floors, the base, and what has a target.
bool is_essential(const Point& point);

}  // namespace linimo::bench
