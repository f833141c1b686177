#include "controlplane/announce/announcer.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include <fmt/format.h>
#include <net/if.h>

#include "controlplane/state_folder.h"
#include "maglev/os/device_socket.h"
#include "maglev/state_file.h"

namespace linimo {
namespace {

using Clock = AnnounceDecision::Clock;

constexpr std::chrono::milliseconds kPeriod{1000};
constexpr std::chrono::seconds kBfdHandshake{10};  // at most

}  // namespace

Announcer::Announcer(boost::asio::io_context& io, const std::filesystem::path& state_dir, FactsNow facts_now,
                     EventLog& events)
    : drain_file_(node_drained_file(state_dir)),
      facts_now_(std::move(facts_now)),
      events_(events),
      decision_(Clock::now()),
      bird_(io, [this] { note_sessions(); }),
      tick_(io) {}

void Announcer::configure(const std::optional<AnnounceConfig>& config) {
  if (config == config_) return;
  if (!config_) {
    // The waiting begins anew: how much of it was over is not known.
    std::error_code unknown;
    if (std::filesystem::exists(drain_file_, unknown)) decision_.drain(Clock::now());
  } else if (!config || config->table != config_->table) {
    note(reconcile(kernel_, config_->table, {}, false), "configuration");
  }
  config_ = config;
  bird_.follow(config ? config->bird_socket : std::filesystem::path());
  if (!config) {
    tick_.cancel();
    routes_.clear();
    failure_.clear();
    return;
  }
  decision_.configure(*config);
  tick("configuration");
}

void Announcer::tick(std::string_view by) {
  update(by);
  const auto now = Clock::now();
  const auto change = decision_.next_change(now);
  tick_.expires_at(std::min(now + kPeriod, change.value_or(Clock::time_point::max())));
  tick_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick("time");
  });
}

void Announcer::update(std::string_view by) {
  if (!config_) return;
  auto found = kernel_.read(config_->table);
  if (!found) return note_failure(fmt::format("table {}: {}", config_->table, std::strerror(found.error())));
  routes_ = std::move(*found);
  std::set<Prefix> announced;
  for (const VipRoute& route : routes_) announced.insert(route.vip);
  const Facts facts = facts_now_();
  if (const auto wanted = decision_.wanted(facts.decision, announced, Clock::now()))
    apply(*wanted, facts, by);
}

void Announcer::apply(const std::map<Prefix, uint32_t>& wanted, const Facts& facts, std::string_view by) {
  std::set<VipRoute> routes;
  const uint32_t device = device_index(facts.device);
  if (device != 0) {
    for (const auto& [vip, metric] : wanted) routes.insert({vip, metric, device});
  }
  const bool blind = device == 0 && facts.connected && !wanted.empty();
  Reconciled done = reconcile(kernel_, config_->table, routes, facts.connected);
  if (blind) {
    done.failure = facts.device.empty()
                       ? "the data plane has named no device for routes to point at"
                       : fmt::format("there is no device {} for routes to point at", facts.device);
  }
  note(done, by);
}

std::set<VipRoute> Announcer::routes() const {
  std::set<VipRoute> alive;
  std::copy_if(routes_.begin(), routes_.end(), std::inserter(alive, alive.end()),
               [](const VipRoute& route) { return !route.dead; });
  return alive;
}

void Announcer::note(const Reconciled& done, std::string_view by) {
  // A change of metric is one event: the route that came and the one that went are of one VIP.
  for (const VipRoute& route : done.added) {
    events_.note(EventKind::kAnnouncement, log_info, "VIP announced",
                 {{"by", by}, {"vip", route.vip.to_string()}, {"metric", route.metric}});
  }
  for (const VipRoute& route : done.removed) {
    const bool replaced = std::any_of(done.added.begin(), done.added.end(),
                                      [&](const VipRoute& added) { return added.vip == route.vip; });
    if (!replaced)
      events_.note(EventKind::kAnnouncement, log_info, "VIP withdrawn",
                   {{"by", by}, {"vip", route.vip.to_string()}});
  }
  routes_ = done.present;
  note_failure(done.failure);
}

void Announcer::note_failure(std::string failure) {
  if (failure == failure_) return;
  failure_ = std::move(failure);
  if (failure_.empty())
    events_.note(EventKind::kAnnouncement, log_info, "VIPs are announced as they should be again");
  else
    events_.note(EventKind::kAnnouncement, log_error,
                 "VIPs are not announced as they should be, trying again", {{"why", failure_}});
}

void Announcer::note_sessions() {
  const BirdState& now = bird_.state();
  if (now.error != noted_.error) {
    if (now.error.empty())
      events_.note(EventKind::kAnnouncement, log_info, "BIRD answers");
    else
      events_.note(EventKind::kAnnouncement, log_warning, "BIRD's sessions are not known",
                   {{"why", now.error}});
  }
  for (const BgpSession& session : now.sessions) {
    const auto before = std::find_if(noted_.sessions.begin(), noted_.sessions.end(),
                                     [&](const BgpSession& of) { return of.protocol == session.protocol; });
    if (before != noted_.sessions.end() && before->up == session.up) continue;
    events_.note(
        EventKind::kAnnouncement, log_info, "BGP session",
        {{"protocol", session.protocol}, {"up", session.up ? "yes" : "no"}, {"state", session.info}});
  }
  for (const BfdSession& session : now.bfd) {
    const auto before = std::find_if(noted_.bfd.begin(), noted_.bfd.end(), [&](const BfdSession& of) {
      return of.neighbor == session.neighbor && of.interface == session.interface;
    });
    if (before != noted_.bfd.end() && before->up == session.up) continue;
    events_.note(
        EventKind::kAnnouncement, log_info, "BFD session",
        {{"neighbor", session.neighbor}, {"interface", session.interface}, {"state", session.state}});
  }
  if (unheard_by_bfd(now).empty())
    unheard_since_.reset();
  else if (!unheard_since_)
    unheard_since_ = Clock::now();
  noted_ = now;
}

std::string Announcer::bfd_problem() const {
  if (!unheard_since_ || Clock::now() - *unheard_since_ < kBfdHandshake) return {};
  return fmt::format("BGP is up, BFD is not ({})", unheard_by_bfd(bird()));
}

tl::expected<void, std::string> Announcer::drain(std::string_view by) {
  if (!config_) return tl::unexpected(std::string("nothing is announced: there is no [announce] section"));
  if (auto saved = write_state_file(drain_file_, "", Outlives::kPowerCut); !saved)
    return tl::unexpected(
        fmt::format("not drained, since a restart would not know of it: {}", saved.error()));
  decision_.drain(Clock::now());
  events_.note(EventKind::kDrain, log_info, "the node drains",
               {{"by", by}, {"wait_ms", config_->drain_wait.count()}});
  tick(by);
  return {};
}

tl::expected<void, std::string> Announcer::undrain(std::string_view by) {
  if (!config_) return tl::unexpected(std::string("nothing is announced: there is no [announce] section"));
  if (auto removed = remove_state_file(drain_file_); !removed) return removed;
  decision_.undrain();
  events_.note(EventKind::kDrain, log_info, "the node drains no more", {{"by", by}});
  tick(by);
  return {};
}

}  // namespace linimo
