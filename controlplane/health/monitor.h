// Runs the health checks of all pools and keeps what they say.
//
//   HealthMonitor monitor(io, prober, [&](const HealthMonitor::Change& change) { ... });
//   monitor.configure(config);                       // again after each reload
//   monitor.state("web", address);
//
// Lives on the event loop's thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "controlplane/config/config.h"
#include "controlplane/health/backend_health.h"
#include "controlplane/health/descriptor_limit.h"
#include "controlplane/health/own_time.h"
#include "controlplane/health/prober.h"

namespace linimo {

class HealthMonitor {
 public:
  struct Change {
    const BackendKey& backend;
    Standing before;
    Standing after;
    const std::string& why;
  };
  using OnChange = std::function<void(const Change&)>;
  using OnAllKnown = std::function<void()>;

  /// `on_change` is called after each change of a standing that a verdict or time made; `on_all_known` once,
  /// when every backend that the first configuration has was heard of, or has had time enough to be: two
  /// checks, and no more than the startup deadline.
  HealthMonitor(boost::asio::io_context& io, Prober& prober, OnChange on_change, OnAllKnown on_all_known);
  ~HealthMonitor();

  /// Takes over the pools of a configuration. A backend that stays keeps its state; while its checks stay the
  /// same too, they just go on. Checks of what is gone are cancelled.
  void configure(const Config& config);

  /// What the live tables say of backends that no check has spoken of yet.
  void inherit(const std::map<BackendKey, Standing>& live);

  /// Up for a backend whose pool has no checks.
  Standing standing(const BackendKey& backend) const;
  HealthState state(const BackendKey& backend) const { return standing(backend).health; }
  static constexpr const char* kNotChecked = "not checked";
  std::string detail(const BackendKey& backend) const;
  CheckCounts counts(const BackendKey& backend) const;
  bool all_known() const { return all_known_; }
  size_t checks() const { return checks_.size(); }

  using Clock = std::chrono::steady_clock;
  /// Late is a check for which this process lost more than a fifth of its interval, and more than 200 ms,
  /// since the one before it.
  struct Lateness {
    bool on_time = true;        // for ten seconds
    Clock::time_point since{};  // it is not
    std::chrono::milliseconds worst{0};
  };
  Lateness lateness() const;
  /// What this machine lacked for a check in the last ten seconds, in words; empty: nothing.
  std::string lack() const { return lacking_.lasts(Clock::now()) ? lacked_ : std::string(); }
  const DescriptorLimit& descriptors() const { return descriptors_; }

 private:
  struct Check;

  void pulse();
  void catch_up(Check& check, Clock::time_point now);
  Verdict judged(const Check& check, const Verdict& verdict, Clock::time_point now);
  void schedule(const std::shared_ptr<Check>& check);
  void run(const std::shared_ptr<Check>& check);
  void on_verdict(const std::shared_ptr<Check>& check, const Verdict& verdict);
  void await_step(const std::shared_ptr<Check>& check);
  void become_known();

  boost::asio::io_context& io_;
  Prober& prober_;
  OnChange on_change_;
  OnAllKnown on_all_known_;
  std::map<BackendKey, std::shared_ptr<Check>> checks_;  // shared with nobody; timers hold weak references
  OwnTime own_time_{Clock::now()};
  boost::asio::steady_timer pulse_;
  Trouble late_;
  Clock::duration worst_lateness_{0};
  Trouble lacking_;
  std::string lacked_;
  DescriptorLimit descriptors_;
  size_t unheard_ = 0;  // checks without any verdict yet
  boost::asio::steady_timer known_deadline_;
  bool all_known_ = false;
  bool configured_ = false;
};

}  // namespace linimo
