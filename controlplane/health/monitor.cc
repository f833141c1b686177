#include "controlplane/health/monitor.h"

#include <algorithm>
#include <random>

#include <fmt/format.h>

namespace linimo {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kLeastLateness{200};  // less is a busy machine's daily life, however short an interval

double random_between(double low, double high) {
  static std::minstd_rand generator(std::random_device{}());
  return std::uniform_real_distribution(low, high)(generator);
}

// First checks are spread over a time that grows with their number and with what each costs, so that a small
// installation is known at once and a large one does not start with a burst.
std::chrono::microseconds first_checks_take(const PoolConfig& pool) {
  const HealthCheckConfig& check = *pool.health;
  const bool dear = check.type == CheckType::kTls || check.type == CheckType::kHttps || check.tls ||
                    check.type == CheckType::kExec;
  return std::chrono::microseconds(dear ? 1000 : 200) * pool.backends.size();
}

Clock::duration random_offset(std::chrono::microseconds all_take, milliseconds interval) {
  const auto window = std::min<std::chrono::microseconds>(interval, milliseconds(20) + all_take);
  return std::chrono::microseconds(
      static_cast<int64_t>(random_between(0, static_cast<double>(window.count()))));
}

}  // namespace

struct HealthMonitor::Check {
  Check(boost::asio::io_context& io, BackendKey backend, BackendHealth initial)
      : key(std::move(backend)), health(std::move(initial)), timer(io), step(io) {}

  BackendKey key;
  BackendHealth health;
  boost::asio::steady_timer timer;  // to the next check
  boost::asio::steady_timer step;   // to the next change that only takes time
  std::unique_ptr<Probe> probe;
  CheckCounts counts;
  Clock::time_point begun{};
  // Of the time that this process lost (own_time.h): all that `health` knows of, and what there had been of
  // it when the check began, and when the one before it ended.
  Clock::duration lost{0};
  Clock::duration lost_at_start{0};
  Clock::duration lost_before{0};
};

HealthMonitor::HealthMonitor(boost::asio::io_context& io, Prober& prober, OnChange on_change,
                             OnAllKnown on_all_known)
    : io_(io),
      prober_(prober),
      on_change_(std::move(on_change)),
      on_all_known_(std::move(on_all_known)),
      pulse_(io),
      known_deadline_(io) {
  pulse();
}

HealthMonitor::~HealthMonitor() = default;

void HealthMonitor::configure(const Config& config) {
  descriptors_ = raise_descriptor_limit(descriptors_needed(config));
  std::chrono::microseconds all_take{0};
  for (const PoolConfig& pool : config.pools)
    if (pool.health) all_take += first_checks_take(pool);
  const auto now = Clock::now();

  std::map<BackendKey, std::shared_ptr<Check>> kept;
  std::chrono::milliseconds longest{0};
  for (const PoolConfig& pool : config.pools) {
    if (!pool.health) continue;
    longest = std::max(longest, 2 * (pool.health->interval + pool.health->timeout));
    for (const BackendConfig& backend : pool.backends) {
      BackendKey key{pool.name, backend.address};
      std::shared_ptr<Check>& check = kept[key];
      Standing inherited = HealthState::kUnknown;
      CheckCounts counts;
      if (const auto found = checks_.find(key); found != checks_.end()) {
        inherited = found->second->health.standing();
        counts = found->second->counts;
        if (found->second->health.config() == *pool.health) check = std::move(found->second);
      }
      if (check != nullptr) continue;
      const auto first = now + random_offset(all_take, pool.health->interval);
      check = std::make_shared<Check>(io_, std::move(key), BackendHealth(*pool.health, inherited, first));
      check->counts = counts;
      check->lost = check->lost_before = own_time_.lost(now);
      schedule(check);
      await_step(check);
    }
  }
  checks_ = std::move(kept);
  unheard_ = static_cast<size_t>(std::count_if(
      checks_.begin(), checks_.end(), [](const auto& entry) { return !entry.second->health.checked(); }));

  if (!configured_) {
    configured_ = true;
    const auto deadline = config.announce.value_or(AnnounceConfig{}).startup_deadline;
    known_deadline_.expires_after(std::min(longest, deadline));
    known_deadline_.async_wait([this](const boost::system::error_code& error) {
      if (!error) become_known();
    });
  }
}

void HealthMonitor::inherit(const std::map<BackendKey, Standing>& live) {
  for (const auto& [key, standing] : live) {
    const auto found = checks_.find(key);
    if (found == checks_.end() || !found->second->health.inherit(standing, Clock::now())) continue;
    await_step(found->second);
  }
}

Standing HealthMonitor::standing(const BackendKey& backend) const {
  const auto found = checks_.find(backend);
  return found != checks_.end() ? found->second->health.standing() : Standing(HealthState::kUp);
}

std::string HealthMonitor::detail(const BackendKey& backend) const {
  const auto found = checks_.find(backend);
  return found != checks_.end() ? found->second->health.detail() : kNotChecked;
}

CheckCounts HealthMonitor::counts(const BackendKey& backend) const {
  const auto found = checks_.find(backend);
  return found != checks_.end() ? found->second->counts : CheckCounts{};
}

void HealthMonitor::schedule(const std::shared_ptr<Check>& check) {
  check->timer.expires_at(check->health.next_check());
  // A timer that has fired can no longer be cancelled, and its handler may run after the check is gone.
  check->timer.async_wait([this, weak = std::weak_ptr(check)](const boost::system::error_code& error) {
    const auto alive = weak.lock();
    if (!error && alive != nullptr) run(alive);
  });
}

void HealthMonitor::pulse() {
  pulse_.expires_at(own_time_.due());
  pulse_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    own_time_.on_pulse(Clock::now());
    pulse();
  });
}

HealthMonitor::Lateness HealthMonitor::lateness() const {
  if (!late_.lasts(Clock::now())) return {};
  return {false, late_.since(), std::chrono::duration_cast<milliseconds>(worst_lateness_)};
}

void HealthMonitor::catch_up(Check& check, Clock::time_point now) {
  const auto lost = own_time_.lost(now);
  check.health.pause(lost - check.lost);
  check.lost = lost;
}

/// What may be concluded from a verdict, as punctual as this process was: a failure may be our own.
Verdict HealthMonitor::judged(const Check& check, const Verdict& verdict, Clock::time_point now) {
  const HealthCheckConfig& config = check.health.config();
  const auto noteworthy = std::max(config.interval / 5, kLeastLateness);
  if (const auto late = check.lost - check.lost_before; late > noteworthy) {
    if (late_.happened(now)) worst_lateness_ = {};
    worst_lateness_ = std::max(worst_lateness_, late);
  }
  if (verdict.checker_lacks) {
    lacking_.happened(now);
    lacked_ = verdict.detail;
  }
  const auto late = check.lost - check.lost_at_start;
  if (verdict.healthy || verdict.says_nothing || late <= config.timeout / 5) return verdict;
  return {.healthy = false,
          .detail = fmt::format("the checker was not there for {} ms of the check",
                                std::chrono::duration_cast<milliseconds>(late).count()),
          .says_nothing = true,
          .checker_lacks = true};
}

void HealthMonitor::run(const std::shared_ptr<Check>& check) {
  const auto now = Clock::now();
  catch_up(*check, now);
  if (check->health.next_check() > now) return schedule(check);  // as if time had stood still with us
  check->lost_at_start = check->lost;
  check->begun = now;
  check->health.begin_check(now, random_between(-1, 1));
  check->probe = prober_.start(check->key.address, check->health.config(),
                               [this, weak = std::weak_ptr(check)](const Verdict& verdict) {
                                 if (const auto alive = weak.lock()) on_verdict(alive, verdict);
                               });
}

void HealthMonitor::on_verdict(const std::shared_ptr<Check>& check, const Verdict& reached) {
  const auto now = Clock::now();
  catch_up(*check, now);
  const Verdict verdict = judged(*check, reached, now);
  check->probe.reset();
  check->lost_before = check->lost;
  if (verdict.says_nothing) {
    check->health.on_verdict(verdict, now);
    return schedule(check);
  }
  ++(verdict.healthy ? check->counts.successes : check->counts.failures);
  check->counts.took += now - check->begun;
  const Standing before = check->health.standing();
  if (!check->health.checked()) --unheard_;
  const bool changed = check->health.on_verdict(verdict, now);
  schedule(check);
  if (changed) {
    await_step(check);
    on_change_(
        {check->key, before, check->health.standing(), verdict.healthy ? "check succeeded" : verdict.detail});
  }
  if (unheard_ == 0) become_known();
}

void HealthMonitor::await_step(const std::shared_ptr<Check>& check) {
  const auto due = check->health.next_step();
  if (!due) {
    check->step.cancel();
    return;
  }
  check->step.expires_at(*due);
  check->step.async_wait([this, weak = std::weak_ptr(check)](const boost::system::error_code& error) {
    const auto alive = weak.lock();
    if (error || alive == nullptr) return;
    const Standing before = alive->health.standing();
    const bool changed = alive->health.advance(Clock::now());
    await_step(alive);
    if (changed) on_change_({alive->key, before, alive->health.standing(), "time passed"});
  });
}

void HealthMonitor::become_known() {
  if (all_known_) return;
  all_known_ = true;
  known_deadline_.cancel();
  on_all_known_();
}

}  // namespace linimo
