// Says which backends changed their state: a line each while they are few, one for all of a pool when they
// are many, as when a route is lost or a rack.
//
// Lives on the event loop's thread.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "controlplane/event_log.h"
#include "controlplane/health/monitor.h"

namespace linimo {

class ChangeLog {
 public:
  ChangeLog(boost::asio::io_context& io, EventLog& events) : events_(events), timer_(io) {}

  void note(const HealthMonitor::Change& change);

 private:
  void begin_period();
  void end_period();

  static constexpr size_t kLines = 20;  // in a period
  static constexpr std::chrono::seconds kPeriod{1};

  using Kind = std::tuple<std::string, std::string, std::string>;  // pool, from, to

  EventLog& events_;
  boost::asio::steady_timer timer_;
  bool running_ = false;  // a period is
  size_t lines_ = 0;
  struct Many {
    size_t count = 0;
    std::string backends;  // the first of them
    std::string why;       // of the first
  };
  std::map<Kind, Many> others_;
};

}  // namespace linimo
