#include "controlplane/controller.h"

#include <algorithm>
#include <new>
#include <utility>

#include <fmt/format.h>

#include "controlplane/change_text.h"
#include "controlplane/state_folder.h"
#include "controlplane/time_text.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Changes that come together are published together: a rack that fails is one generation, not forty.
constexpr milliseconds kCoalesce{5};
constexpr milliseconds kRetryAfterRefusal{5000};
constexpr milliseconds kDrainLook{1000};
// A configuration by which the process has lived for so long is good, though no data plane forwards by it.
constexpr milliseconds kTrial{10'000};

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

std::filesystem::path drain_file(const NodeConfig& node) {
  return drains_file(node.state_dir);
}

}  // namespace

Controller::Controller(boost::asio::io_context& io, Config config, Prober& prober, ConfigTrial trial,
                       FleetMember* member)
    : member_(member),
      config_(std::move(config)),
      running_node_(config_.node),
      monitor_(
          io, prober, [this](const HealthMonitor::Change& change) { on_health_change(change); },
          [this] {
            log_info("health known", {{"checks", monitor_.checks()}});
            evaluate_after(milliseconds(0), "start");
          }),
      change_log_(io, events_),
      publisher_(io, config_.node.dataplane_socket(), *this, events_),
      evaluation_(io),
      drain_look_(io),
      trial_(std::move(trial)),
      trial_end_(io),
      announcer_(
          io, config_.node.state_dir, [this] { return announce_facts(); }, events_),
      watch_(
          io, [this] { return sights(); },
          [this](std::string_view by) {
            announcer_.update(by);
            note_serving();
          },
          events_),
      loaded_at_(now_text()) {}

void Controller::start() {
  const auto file = ids_file(config_.node.state_dir);
  if (const auto loaded = ids_.load(file, Clock::now()); !loaded) {
    log_warning("ids not read, taking those that are live",
                {{"file", file.string()}, {"why", loaded.error()}});
  }
  if (const auto file = drain_file(config_.node); auto loaded = drains_.load(file)) {
    drains_.keep_those_of(config_);
  } else {
    log_error("drains not read: who was drained gets new flows again",
              {{"file", file.string()}, {"why", loaded.error()}});
  }
  publisher_.start();
  watch_drains();
  announcer_.configure(config_.announce);
  watch_.start();
  await_end_of_trial();
  if (member_ == nullptr) return;
  member_->start(*this);
  note_serving();
}

void Controller::await_end_of_trial() {
  trial_end_.expires_after(kTrial);
  trial_end_.async_wait([this](const boost::system::error_code& error) {
    if (!error) trial_.pass();
  });
}

void Controller::begin_checks() {
  // Not before the first answer of the data plane, or the lack of one: what was live is the state that a
  // backend has until it is checked.
  if (!start_.is(StartPhase::kAsking)) return;
  configure_checks();
  inherit_live_states();
}

void Controller::inherit_live_states() {
  planner_.all_changed();
  if (fleet_leads()) return;  // what this node tells the fleet it must have seen itself
  monitor_.inherit(standings_in(publisher_.live(), config_));
}

void Controller::hold_ids(const Config& config) {
  if (!ids_.hold(config, other_nodes(planner_.handlers()), publisher_.live(), Clock::now())) {
    log_warning("ids taken over early: open flows of what went may be taken for those of what came",
                {{"free_backend_ids", ids_.free_backends()}, {"free_service_ids", ids_.free_services()}});
  }
  planner_.all_changed();
  // Written down before anybody relies on them.
  if (auto saved = ids_.save(ids_file(config_.node.state_dir)); !saved) {
    log_error("ids not saved, a restart may give other ones", {{"why", saved.error()}});
  }
}

tl::expected<void, std::string> Controller::reload(std::string_view by) {
  const auto refuse = [&](const std::string& why) {
    trial_.drop();
    last_error_ = why;
    events_.note(EventKind::kConfiguration, log_error, "configuration refused, the running one stays",
                 {{"by", by}, {"revision", config_.revision}, {"why", why}});
    return tl::unexpected(why);
  };
  try {
    const auto text = read_config_text(config_.file);
    if (!text) return refuse(text.error());
    trial_.drop();  // of an earlier one, which was not to be
    trial_.begin(*text);
    auto loaded = member_ != nullptr ? member_->load(*text) : load_config_text(*text, config_.file);
    if (!loaded) return refuse(loaded.error());
    if (member_ == nullptr && loaded->fleet)
      return refuse("[fleet] counts from a start of linimo-controlplane on: restart it");
    hold_ids(*loaded);
    Config before = config_;
    try {
      take_over(std::move(*loaded), by);
    } catch (const std::bad_alloc&) {
      config_ = std::move(before);
      ids_phase_.on(IdsEvent::kUndone);  // they are those of the other configuration
      if (!start_.is(StartPhase::kAsking)) configure_checks();
      evaluate_after(kRetryAfterRefusal, by);
      throw;
    }
    if (member_ != nullptr) member_->on_loaded(*text);
  } catch (const std::bad_alloc&) {
    return refuse(fmt::format("{}: out of memory", config_.file.string()));
  }
  return {};
}

void Controller::take_over(Config loaded, std::string_view by) {
  if (loaded.hash_seed != config_.hash_seed) {
    events_.note(EventKind::kConfiguration, log_warning,
                 "hash seed changed: flows that are open are chosen for anew", {{"by", by}});
  }
  // The sockets and files of this process stay where they are until it starts again.
  const NodeConfig wanted = loaded.node;
  loaded.node.runtime_dir = config_.node.runtime_dir;
  loaded.node.state_dir = config_.node.state_dir;
  const std::string changes = config_changes(config_, loaded);
  config_ = std::move(loaded);
  ids_phase_.on(IdsEvent::kReloaded);
  restart_needed_ = restart_differences(running_node_, wanted);
  loaded_at_ = now_text();
  last_error_.reset();
  if (member_ != nullptr) {
    member_->on_tunnel(tunnel_end(config_.node));
    handlers_changed();
  }
  events_.note(EventKind::kConfiguration, log_info, "configuration loaded",
               {{"by", by},
                {"file", config_.file.string()},
                {"revision", config_.revision},
                {"changes", changes.empty() ? "none" : changes}});
  if (!restart_needed_.empty()) {
    events_.note(EventKind::kConfiguration, log_warning,
                 "changes in [node] wait for a restart of the data plane",
                 {{"keys", joined(restart_needed_)}});
  }
  if (!start_.is(StartPhase::kAsking)) {
    configure_checks();
    inherit_live_states();
  }
  announcer_.configure(config_.announce);
  if (drains_.keep_those_of(config_)) save_drains();
  evaluate_after(kCoalesce, by);
  await_end_of_trial();
  follow_(config_);
}

Standing Controller::standing(const BackendKey& backend) const {
  if (fleet_leads()) return member_->standing(backend);
  Standing standing = monitor_.standing(backend);
  standing.drains |= drains_.contains(backend);
  return standing;
}

tl::expected<void, std::string> Controller::may_drain(const BackendKey& backend, bool wanted) const {
  const BackendConfig* configured = nullptr;
  for (const PoolConfig& pool : config_.pools) {
    for (const BackendConfig& candidate : pool.backends) {
      if (pool.name == backend.pool && candidate.address == backend.address) configured = &candidate;
    }
  }
  if (configured == nullptr) {
    return tl::unexpected(
        fmt::format("no backend {} in a pool named {}", backend.address.to_string(), backend.pool));
  }
  if (!wanted && (configured->drain || configured->weight == 0))
    return tl::unexpected(std::string("the configuration drains it: change that"));
  return {};
}

tl::expected<void, std::string> Controller::drain(const BackendKey& backend, bool wanted,
                                                  std::string_view by) {
  if (auto may = may_drain(backend, wanted); !may) return may;
  if (!drains_.set(backend, wanted)) return {};
  if (auto saved = drains_.save(drain_file(config_.node)); !saved) {
    drains_.set(backend, !wanted);
    return tl::unexpected(
        fmt::format("nothing was changed, since a restart would not know of it: {}", saved.error()));
  }
  events_.note(EventKind::kDrain, log_info, wanted ? "backend is to drain" : "backend is to take flows again",
               {{"by", by}, {"pool", backend.pool}, {"backend", backend.address.to_string()}});
  planner_.pool_changed(backend.pool);
  evaluate_after(milliseconds(0), by);
  return {};
}

void Controller::save_drains() {
  if (auto saved = drains_.save(drain_file(config_.node)); !saved)
    log_error("drains not saved, a restart will not know them", {{"why", saved.error()}});
}

/// Those that get no new flows because somebody wishes so.
std::map<BackendKey, FlowEnds> Controller::draining() const {
  std::map<BackendKey, FlowEnds> draining;
  for (uint32_t p = 0; p < config_.pools.size(); ++p) {
    const PoolConfig& pool = config_.pools[p];
    for (const BackendConfig& backend : pool.backends) {
      BackendKey key{pool.name, backend.address};
      const Standing standing = this->standing(key);
      const bool wished = standing.drains || backend.drain || backend.weight == 0;
      if (wished && standing.health == HealthState::kUp)
        draining.emplace(std::move(key), flow_ends(config_, p));
    }
  }
  return draining;
}

void Controller::watch_drains() {
  drain_look_.expires_after(kDrainLook);
  drain_look_.async_wait([this](const boost::system::error_code& error) {
    if (!error) watch_drains();
  });
  note_serving();
  const auto& counters = publisher_.counters();
  if (!connected() || !counters) return;
  note_drops(drop_watch_, *counters, events_, Clock::now());
  // Not while the data plane may still forward by other tables than those that were planned last.
  if (!tables_.is(TablesPhase::kCurrent)) return;
  const auto look = [&](const BackendKey& key) {
    const auto id = ids_.find_backend(key);
    return id ? DrainWatch::Seen{counters->flows_of_backend(*id), counters->backend(*id).packets}
              : DrainWatch::Seen{};
  };
  const auto ended = drain_watch_.update(draining(), counters->census_rounds(), look, Clock::now());
  for (const BackendKey& key : ended)
    events_.note(EventKind::kDrain, log_info, "backend is drained",
                 {{"pool", key.pool}, {"backend", key.address.to_string()}});
}

void Controller::note_panics() {
  std::set<std::string> few;
  std::set<std::string> none;
  for (const PoolConfig& pool : config_.pools) {
    if (planner_.panics(pool.name)) few.insert(pool.name);
    if (planner_.none_up(pool.name)) none.insert(pool.name);
  }
  for (const std::string& pool : none) {
    if (!without_backend_.contains(pool))
      events_.note(EventKind::kHealth, log_error, "no backend is up: new connections fail", {{"pool", pool}});
  }
  for (const std::string& pool : without_backend_) {
    if (!none.contains(pool))
      events_.note(EventKind::kHealth, log_info, "a backend is up again", {{"pool", pool}});
  }
  for (const std::string& pool : few) {
    if (!panicking_.contains(pool) && !none.contains(pool))
      events_.note(EventKind::kHealth, log_warning, "few backends are up, so all are used", {{"pool", pool}});
  }
  for (const std::string& pool : panicking_) {
    if (!few.contains(pool))
      events_.note(EventKind::kHealth, log_info, "enough backends are up again", {{"pool", pool}});
  }
  panicking_ = std::move(few);
  without_backend_ = std::move(none);
}

void Controller::on_health_change(const HealthMonitor::Change& change) {
  change_log_.note(change);
  if (member_ != nullptr) member_->on_health(change.backend);
  if (fleet_leads()) return;
  planner_.pool_changed(change.backend.pool);
  evaluate_after(kCoalesce, "health");
}

void Controller::on_dataplane(bool another) {
  if (another) {  // it read the configuration file when it started
    drain_watch_.begin_anew();
    running_node_ = config_.node;
    restart_needed_.clear();
  }
  if (!start_.is(StartPhase::kLearned)) {
    ids_.learn(publisher_.live(), Clock::now());
    ids_phase_.on(IdsEvent::kLearned);
  }
  watch_.on_connected(peer()->reports);
  begin_checks();
  start_.on(StartEvent::kDataplane);
  inherit_live_states();
  if (member_ != nullptr) member_->on_dataplane(live_generation(), live_digest(), live_handlers());
  evaluate_after(milliseconds(0), "data plane");
}

void Controller::on_no_dataplane() {
  watch_.on_lost();
  tables_.on(TablesEvent::kLost);
  begin_checks();
  start_.on(StartEvent::kNoDataplane);
}

void Controller::on_live(const std::string& by) {
  const bool changed_meanwhile = tables_.is(TablesPhase::kWaiting);
  tables_.on(TablesEvent::kAccepted);
  if (tables_.is(TablesPhase::kCurrent)) trial_.pass();
  note_forwarding();
  announcer_.update(by);
  if (ids_phase_.is(IdsPhase::kKeeping)) hold_ids(config_);  // those of what went begin to rest only now
  ids_phase_.on(IdsEvent::kLive);
  if (changed_meanwhile) evaluate_after(milliseconds(0), "");
}

void Controller::on_refused() {
  trial_.drop();
  tables_.on(TablesEvent::kRefused);
  if (member_ != nullptr) member_->on_refused(last_refusal());
  evaluate_after(kRetryAfterRefusal, "another attempt");
}

void Controller::evaluate_after(milliseconds delay, std::string_view by) {
  tables_.on(TablesEvent::kChange);
  if (!by.empty()) wanted_by_.emplace(by);
  // Earlier wishes are kept: this only ever brings the evaluation forward, unless none is due.
  const auto due = Clock::now() + delay;
  if (evaluation_.expiry() > Clock::now() && evaluation_.expiry() <= due) return;
  evaluation_.expires_at(due);
  evaluation_.async_wait([this](const boost::system::error_code& error) {
    if (!error) evaluate();
  });
}

void Controller::evaluate() {
  try {
    plan_and_publish();
  } catch (const std::bad_alloc&) {
    log_error("out of memory, the tables stay as they are");
    planner_.all_changed();
    evaluate_after(kRetryAfterRefusal, "another attempt");
  }
}

void Controller::plan_and_publish() {
  const std::string by = fmt::format("{}", fmt::join(wanted_by_, ", "));
  announcer_.update(by);
  if (!may_plan()) return tables_.on(TablesEvent::kBlind);
  if (ids_phase_.is(IdsPhase::kUnheld)) {
    hold_ids(config_);
    ids_phase_.on(IdsEvent::kHold);
  }
  SnapshotSpec spec = planner_.plan(
      config_, [this](const BackendKey& key) { return standing(key); }, ids_, publisher_.next_generation());
  drain_watch_.forget_others(draining());
  note_panics();
  // The answer, or the next connection, brings us here again.
  if (!publisher_.ready()) return tables_.on(TablesEvent::kBusy);
  wanted_by_.clear();
  recall_tables();
  const bool offered = publisher_.offer(std::move(spec), by);
  tables_.on(offered ? TablesEvent::kOffered : TablesEvent::kSame);
  if (!offered) trial_.pass();
  note_forwarding();
}

}  // namespace linimo
