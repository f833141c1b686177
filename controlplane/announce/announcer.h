// Announces VIPs: keeps the kernel's routes of protocol 77 what the decision wants them to be, and knows of
// BIRD whether anybody hears of them.
//
//   Announcer announcer(io, state_dir, [&] { return facts; }, events);
//   announcer.configure(config.announce);       // again after each reload
//   announcer.update("health");                 // whenever facts may have changed, and what changed them
//
// The kernel is asked what is there each time, and once a second: a route that vanished (with its device, or
// by somebody's hand) comes back, and what an earlier process left is taken over as it is. The end of this
// process changes no route. Without an [announce] section nothing is read and nothing is touched, except that
// routes which this process announced go when the section does.
//
// Lives on the event loop's thread.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <tl/expected.hpp>

#include "controlplane/announce/bird_sessions.h"
#include "controlplane/announce/decision.h"
#include "controlplane/announce/reconcile.h"
#include "controlplane/event_log.h"

namespace linimo {

class Announcer {
 public:
  struct Facts {
    AnnounceFacts decision;
    bool connected = false;  // to the data plane; while it is not there, no VIP is announced newly
    std::string device;      // that routes point at
  };
  using FactsNow = std::function<Facts()>;

  Announcer(boost::asio::io_context& io, const std::filesystem::path& state_dir, FactsNow facts_now,
            EventLog& events);

  void configure(const std::optional<AnnounceConfig>& config);
  /// `by`: what may have changed the facts, for the log.
  void update(std::string_view by);

  /// `by`: who wants it, for the log. Both are remembered in the state folder, over restarts and reboots; the
  /// error says why not, and nothing has changed then.
  tl::expected<void, std::string> drain(std::string_view by);
  tl::expected<void, std::string> undrain(std::string_view by);

  const std::optional<AnnounceConfig>& config() const { return config_; }
  DrainPhase phase() const { return decision_.phase(AnnounceDecision::Clock::now()); }
  /// The routes that were in the kernel when it was last asked, but dead ones: BIRD announces none of those.
  std::set<VipRoute> routes() const;
  /// Why the kernel's routes are not what they should be; empty: they are.
  const std::string& failure() const { return failure_; }
  const BirdState& bird() const { return bird_.state(); }
  /// Whom BFD has not heard for longer than a handshake takes, in words; empty: nobody.
  std::string bfd_problem() const;

 private:
  void apply(const std::map<Prefix, uint32_t>& wanted, const Facts& facts, std::string_view by);
  void note(const Reconciled& done, std::string_view by);
  void note_failure(std::string failure);
  void note_sessions();
  void tick(std::string_view by);

  std::filesystem::path drain_file_;
  FactsNow facts_now_;
  EventLog& events_;
  std::optional<AnnounceConfig> config_;
  AnnounceDecision decision_;
  KernelRoutes kernel_;
  BirdSessions bird_;
  boost::asio::steady_timer tick_;
  std::set<VipRoute> routes_;
  std::string failure_;
  BirdState noted_;
  std::optional<AnnounceDecision::Clock::time_point> unheard_since_;  // by BFD
};

}  // namespace linimo
