// Which VIPs are announced, and with which metric: facts and time in, routes out. No kernel and no clock of
// its own, so that tests run it in virtual time.
//
//   AnnounceDecision decision(now);
//   decision.configure(config);
//   if (const auto wanted = decision.wanted(facts, announced, now)) make_it_so(*wanted);
//   ask_again_at(decision.next_change(now));
//
// - A VIP is announced while the data plane has acknowledged tables that hold it and any of its services (or
//   all) has `min_backends` alive, both in those tables and by the health checks: tables of a pool in panic
//   hold the dead as well. Draining backends count as alive: their connections want the way to them.
// - Until the health of every backend is known (in a fleet: until it is forwarded by what the store says), or
//   `startup_deadline` is over, nothing is said: what an earlier process announced stays as it is. So it does
//   until a data plane has told what it forwards by.
// - A node whose conditions do not let it serve announces nothing, whatever else is known.
// - A node that drains raises the metric of what it announces, adds nothing, and after `drain_wait` announces
//   nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "maglev/address.h"
#include "maglev/config/announce.h"

namespace linimo {

/// A VIP of one service in the tables that the data plane has acknowledged; one that has several services
/// stands there several times.
struct ServedVip {
  Prefix vip;
  uint32_t alive = 0;  // of the service's backends
};

struct AnnounceFacts {
  bool tables_known = false;  // what the data plane has acknowledged, if it is nothing
  bool health_known = false;  // of every backend; in a fleet the store's, and forwarded by
  bool serves = true;         // the conditions that the node's forwarding rests on hold
  std::vector<ServedVip> vips;
};

enum class DrainPhase { kServing, kDraining, kDrained };
const char* drain_phase_name(DrainPhase phase);

class AnnounceDecision {
 public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;

  explicit AnnounceDecision(Time start) : start_(start) {}

  void configure(const AnnounceConfig& config) { config_ = config; }

  /// The VIPs to announce, with their metrics; nothing: leave all as it is. `announced`: what is now.
  std::optional<std::map<Prefix, uint32_t>> wanted(const AnnounceFacts& facts,
                                                   const std::set<Prefix>& announced, Time now) const;

  /// When time alone will next change the answer, if it will.
  std::optional<Time> next_change(Time now) const;

  /// A node that drains already goes on with that.
  void drain(Time now);
  void undrain() { draining_since_.reset(); }
  DrainPhase phase(Time now) const;

 private:
  std::set<Prefix> served(const std::vector<ServedVip>& vips) const;

  AnnounceConfig config_;
  Time start_;
  std::optional<Time> draining_since_;
};

}  // namespace linimo
