// What the control plane tells its service manager: ready with the first generation in the data plane, alive
// as long as the event loop turns, and how it is.
//
//   ServiceReports reports(io, controller);
//   reports.start();
//
// Lives on the event loop's thread.
#pragma once

#include <chrono>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "controlplane/controller.h"
#include "maglev/service_manager.h"

namespace linimo {

class ServiceReports {
 public:
  /// A start that has no data plane is one all the same: whoever waits for it is let go by then.
  static constexpr std::chrono::seconds kReadyBy{30};

  ServiceReports(boost::asio::io_context& io, const Controller& controller)
      : controller_(controller), timer_(io) {}
  void start() { look(); }
  void stopping() { manager_.stopping(); }

 private:
  void look();

  using Clock = std::chrono::steady_clock;
  const Controller& controller_;
  const Clock::time_point start_ = Clock::now();
  boost::asio::steady_timer timer_;
  ServiceManager manager_;
};

/// One line. `generation`: in the data plane, 0: none; `why_not`: the node does not serve, empty: it does.
std::string service_status(uint64_t generation, bool connected, const std::string& why_not);

}  // namespace linimo
