// The node's conditions over time: takes what the data plane reports and what this process sees by itself,
// logs what changes, and says whether the node serves.
//
//   ConditionWatch watch(io, [&] { return sights; }, [&](std::string_view by) { announcer.update(by); },
//                        events);
//   watch.start();
//   watch.serving().serves
//
// Looks once every heartbeat's period. It counts its own looks, not time: a process that was stopped itself
// does not take the data plane for silent. Lives on the event loop's thread.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "controlplane/conditions/backend_ways.h"
#include "controlplane/conditions/conditions.h"
#include "controlplane/event_log.h"

namespace linimo {

/// What this process sees by itself.
struct Sights {
  bool connected = false;  // to a data plane
  bool handing_over =
      false;                // it said that another process takes over, and the time that it gave is not over
  size_t tables_bytes = 0;  // that it has, or is taking over
  std::string engine{};     // of the present data plane, or the last; empty: there was none yet
  std::string loss{};       // why there is no connection
  bool tables_current = false;
  std::string tables_why{};  // not
  bool announces = false;    // there is an [announce] section
  std::string announce_failure{};
  bool announced = false;  // a VIP is
  std::string bird_problem{};
  std::string bfd_problem{};
  std::string backends_without_way{};         // in words; empty: none
  std::string checks_late{};                  // the same: health checks that were late
  std::string checks_lack{};                  // and what they lack on this machine
  std::string unserved{};                     // over TCP, in words
  std::optional<std::string> fleet_alarms{};  // in words; none: this node is in no fleet
};

struct OwnCondition {
  ConditionReport report;
  std::optional<ConditionScope> scope;
};

/// `silent_looks`: how often in a row nothing had been heard of a connected data plane.
std::vector<OwnCondition> own_conditions(const Sights& sights, uint32_t silent_looks);

class ConditionWatch {
 public:
  using Clock = std::chrono::steady_clock;
  using Look = std::function<Sights()>;
  /// What the node may announce may have changed; by which condition.
  using OnServing = std::function<void(std::string_view by)>;

  ConditionWatch(boost::asio::io_context& io, Look look, OnServing on_serving, EventLog& events);
  void start() { tick(); }

  /// A data plane is there; `reports`: it will tell of its conditions.
  void on_connected(bool reports);
  void on_lost();
  void on_condition(const ConditionReport& report);
  void on_next_hops(uint32_t first_id, std::span<const uint8_t> states);
  void on_heartbeat();
  /// Another process takes over. A data plane that asks for longer than a moment is not believed.
  void on_hand_over(std::chrono::milliseconds limit);

  /// The data plane has told all that it knows, or will never tell.
  bool known() const { return known_; }
  const Serving& serving() const { return serving_; }
  const Conditions& conditions() const { return conditions_; }
  const BackendWays& ways() const { return ways_; }

 private:
  void tick();
  void decide();

  Look look_;
  OnServing on_serving_;
  EventLog& events_;
  boost::asio::steady_timer timer_;
  Conditions conditions_;
  BackendWays ways_;
  Serving serving_;
  size_t without_way_ = 0;  // backends, when announcement was last told
  bool reports_ = false;
  bool known_ = false;
  bool ever_known_ = false;
  uint32_t silent_looks_ = 0;
  Clock::time_point hand_over_ends_{};
};

}  // namespace linimo
