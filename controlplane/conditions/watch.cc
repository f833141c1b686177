#include "controlplane/conditions/watch.h"

#include <fmt/format.h>

#include "maglev/protocol.h"

namespace linimo {
namespace {

// A data plane that is well sends a heartbeat for each look; it is noticed within 2 s that it does not.
constexpr uint32_t kSilentLooks = 6;
// While it reads tables or writes them down it sends none: large ones are given more time, ten times what
// they take.
constexpr size_t kBytesALook = size_t{64} << 20;
constexpr std::chrono::seconds kLongestHandOver{10};

ConditionState holds(bool it_does) {
  return it_does ? ConditionState::kHolds : ConditionState::kFails;
}

/// The XDP program forwards without its process; a DPDK process that stands still forwards nothing.
OwnCondition dataplane_alive(const Sights& sights, uint32_t silent_looks) {
  ConditionReport report{.name = "dataplane-alive", .state = ConditionState::kHolds};
  const bool silent = silent_looks >= kSilentLooks + sights.tables_bytes / kBytesALook;
  if (!sights.connected && sights.handing_over) {
    report.state = ConditionState::kUnknown;
    report.evidence = "it hands over to a new process";
  } else if (!sights.connected) {
    report.state = sights.loss.empty() ? ConditionState::kUnknown : ConditionState::kFails;
    report.evidence = sights.loss;
    report.mend = "start linimo-dataplane, and see its log";
  } else if (silent) {
    report.state = ConditionState::kFails;
    report.evidence =
        fmt::format("no heartbeat for {} ms", silent_looks * protocol::kHeartbeatPeriod.count());
    report.mend = "see whether linimo-dataplane is stopped or hangs, and restart it";
  }
  return {report, sights.engine == "dpdk" ? ConditionScope::kNode : ConditionScope::kAdvice};
}

void note_change(EventLog& events, const Conditions::Change& change, const Serving& serving) {
  const auto& [name, subject] = change.key;
  const Condition& condition = change.condition;
  if (!condition.failed)
    return events.note(EventKind::kCondition, log_info, "condition holds again",
                       {{"condition", name}, {"subject", subject}});
  const bool lost = condition.scope != ConditionScope::kAdvice && !serving.serves;
  const auto log = lost ? log_error : log_warning;
  events.note(
      EventKind::kCondition, log, lost ? "condition fails, no VIP is announced" : "condition fails",
      {{"condition", name}, {"subject", subject}, {"why", condition.evidence}, {"mend", condition.mend}});
}

}  // namespace

std::vector<OwnCondition> own_conditions(const Sights& sights, uint32_t silent_looks) {
  std::vector<OwnCondition> own;
  own.push_back(dataplane_alive(sights, silent_looks));
  own.push_back({{.name = "tables-current",
                  .state = holds(sights.tables_current),
                  .evidence = sights.tables_why,
                  .mend = {}},
                 {}});
  own.push_back({{.name = "next-hop",
                  .state = holds(sights.backends_without_way.empty()),
                  .evidence = sights.backends_without_way,
                  .mend = sights.backends_without_way.empty() ? "" : "see `ip route get` and `ip neigh`"},
                 {}});
  own.push_back(
      {{.name = "checks-on-time",
        .state = holds(sights.checks_late.empty()),
        .evidence = sights.checks_late,
        .mend = sights.checks_late.empty() ? "" : "longer intervals, or more CPU for linimo-controlplane"},
       {}});
  own.push_back({{.name = "descriptors",
                  .state = holds(sights.checks_lack.empty()),
                  .evidence = sights.checks_lack,
                  .mend = sights.checks_lack.empty() ? ""
                                                     : "give linimo-controlplane what it lacks: "
                                                       "LimitNOFILE=, or for programs linimo-checks.socket"},
                 {}});
  own.push_back({{.name = "served-over-tcp",
                  .state = holds(sights.unserved.empty()),
                  .evidence = sights.unserved,
                  .mend = sights.unserved.empty()
                              ? ""
                              : "[metrics] and [api] of the configuration, or the files that they name"},
                 {}});
  if (!sights.announces) return own;
  own.push_back({{.name = "announcements",
                  .state = holds(sights.announce_failure.empty()),
                  .evidence = sights.announce_failure,
                  .mend = {}},
                 {}});
  // Without an announced VIP nobody needs to hear of any.
  own.push_back({{.name = "bird-session",
                  .state = !sights.announced ? ConditionState::kUnknown : holds(sights.bird_problem.empty()),
                  .evidence = sights.bird_problem,
                  .mend = sights.bird_problem.empty() ? "" : "see `birdc show protocols`"},
                 {}});
  own.push_back(
      {{.name = "bfd-session",
        .state = !sights.announced ? ConditionState::kUnknown : holds(sights.bfd_problem.empty()),
        .evidence = sights.bfd_problem,
        .mend = sights.bfd_problem.empty()
                    ? ""
                    : "see BIRD's log; `birdc restart NAME` of its protocol bfd opens sockets anew"},
       {}});
  if (sights.fleet_alarms) {
    own.push_back({{.name = "fleet",
                    .state = holds(sights.fleet_alarms->empty()),
                    .evidence = *sights.fleet_alarms,
                    .mend = sights.fleet_alarms->empty() ? "" : "see `linimo fleet status`"},
                   {}});
  }
  return own;
}

ConditionWatch::ConditionWatch(boost::asio::io_context& io, Look look, OnServing on_serving, EventLog& events)
    : look_(std::move(look)), on_serving_(std::move(on_serving)), events_(events), timer_(io) {}

void ConditionWatch::on_connected(bool reports) {
  reports_ = reports;
  known_ = !reports;
  silent_looks_ = 0;
  ways_.forget();
  conditions_.begin_reports();
  if (!reports) conditions_.end_reports();
  decide();
}

void ConditionWatch::on_lost() {
  reports_ = false;
  conditions_.lose_reports(Clock::now());
  decide();
}

void ConditionWatch::on_condition(const ConditionReport& report) {
  conditions_.report(report, Clock::now());
  if (known_) decide();
}

void ConditionWatch::on_next_hops(uint32_t first_id, std::span<const uint8_t> states) {
  // A process that has just started must not announce what had failed before it came.
  ways_.learn(first_id, states, Clock::now() - (ever_known_ ? Clock::duration(0) : BackendWays::kFailsAfter));
}

void ConditionWatch::on_hand_over(std::chrono::milliseconds limit) {
  hand_over_ends_ = Clock::now() + std::min<std::chrono::milliseconds>(limit, kLongestHandOver);
}

void ConditionWatch::on_heartbeat() {
  silent_looks_ = 0;
  if (known_) return;
  hand_over_ends_ = {};
  known_ = ever_known_ = true;
  conditions_.end_reports();
  decide();
  on_serving_("data plane");
}

void ConditionWatch::tick() {
  timer_.expires_after(protocol::kHeartbeatPeriod);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
  Sights sights = look_();
  sights.handing_over = Clock::now() < hand_over_ends_;
  silent_looks_ = sights.connected && reports_ ? silent_looks_ + 1 : 0;
  for (const OwnCondition& own : own_conditions(sights, silent_looks_))
    conditions_.set(own.report, Clock::now(), own.scope);
  decide();
  if (ways_.without() == 0 && without_way_ == 0) return;
  // A backend without a way counts as down only after a moment, so this is looked at again each time.
  without_way_ = ways_.without();
  on_serving_("next hops");
}

void ConditionWatch::decide() {
  const auto changes = conditions_.step(Clock::now());
  const Serving before = std::exchange(serving_, conditions_.serving());
  std::string by;
  for (const Conditions::Change& change : changes) {
    note_change(events_, change, serving_);
    by += fmt::format("{}condition {}", by.empty() ? "" : ", ", change.key.first);
  }
  if (serving_ != before) on_serving_(by.empty() ? "conditions" : by);
}

}  // namespace linimo
