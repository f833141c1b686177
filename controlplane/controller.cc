#include "controlplane/controller.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <utility>

#include <fmt/format.h>

#include "controlplane/log.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Changes that come together are published together: a rack that fails is one generation, not forty.
constexpr milliseconds kCoalesce{5};
constexpr milliseconds kRetryAfterRefusal{5000};
constexpr milliseconds kDrainLook{1000};

std::string time_text() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

std::filesystem::path id_file(const NodeConfig& node) {
  return node.runtime_dir / "ids.json";
}

std::filesystem::path drain_file(const NodeConfig& node) {
  return node.runtime_dir / "drains.json";
}

}  // namespace

std::vector<std::string> restart_differences(const NodeConfig& running, const NodeConfig& wanted) {
  std::vector<std::string> keys;
  const auto compare = [&](const char* key, const auto& a, const auto& b) {
    if (!(a == b)) keys.emplace_back(key);
  };
  compare("interfaces", running.interfaces, wanted.interfaces);
  compare("engine", running.engine, wanted.engine);
  compare("workers", running.workers, wanted.workers);
  compare("cores", running.cores, wanted.cores);
  compare("idle", running.idle, wanted.idle);
  compare("flows_per_worker", running.flows_per_worker, wanted.flows_per_worker);
  compare("xdp_mode", running.xdp_mode, wanted.xdp_mode);
  compare("runtime_dir", running.runtime_dir, wanted.runtime_dir);
  return keys;
}

Controller::Controller(boost::asio::io_context& io, Config config, Prober& prober)
    : config_(std::move(config)),
      running_node_(config_.node),
      monitor_(
          io, prober, [this](const HealthMonitor::Change& change) { on_health_change(change); },
          [this] {
            log_info("health known", {{"checks", monitor_.checks()}});
            evaluate_after(milliseconds(0));
          }),
      link_(io, config_.node.dataplane_socket(), *this),
      evaluation_(io),
      drain_look_(io),
      announcer_(io, config_.node.runtime_dir, [this] { return announce_facts(); }),
      loaded_at_(time_text()) {}

void Controller::start() {
  const auto file = id_file(config_.node);
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
  link_.start();
  watch_drains();
  announcer_.configure(config_.announce);
}

void Controller::begin_checks() {
  // Not before the first answer of the data plane, or the lack of one: what was live is the state that a
  // backend has until it is checked.
  if (checking_) return;
  checking_ = true;
  monitor_.configure(config_);
  inherit_live_states();
}

/// Taken apart only when somebody asks: after most generations nobody does.
const LiveTables& Controller::live() {
  if (!live_is_read_) {
    if (auto read = read_live_tables(std::move(live_.bytes))) live_ = std::move(*read);
    live_is_read_ = true;
  }
  return live_;
}

void Controller::inherit_live_states() {
  planner_.all_changed();
  std::map<BackendKey, HealthState> states;
  for (const auto& [key, backend] : live().backends) {
    states[key] = backend.state == LINIMO_BACKEND_DOWN ? HealthState::kDown : HealthState::kUp;
  }
  monitor_.inherit(states);
}

tl::expected<void, std::string> Controller::hold_ids(const Config& config) {
  if (auto held = ids_.hold(config, live(), Clock::now()); !held) return held;
  planner_.all_changed();
  // Written down before anybody relies on them.
  if (auto saved = ids_.save(id_file(config_.node)); !saved) {
    log_error("ids not saved, a restart may give other ones", {{"why", saved.error()}});
  }
  return {};
}

tl::expected<void, std::string> Controller::reload(std::string_view why) {
  auto loaded = load_config(config_.file);
  if (loaded) {
    if (auto held = hold_ids(*loaded); !held) {
      loaded = tl::unexpected(fmt::format("{}: {}", config_.file.string(), held.error()));
    }
  }
  if (!loaded) {
    last_error_ = loaded.error();
    log_error("configuration refused, the running one stays", {{"trigger", why}, {"why", loaded.error()}});
    return tl::unexpected(loaded.error());
  }
  if (loaded->hash_seed != config_.hash_seed) {
    log_warning("hash seed changed: flows that are open are chosen for anew", {{"trigger", why}});
  }
  // The sockets and files of this process stay where they are until it starts again.
  const NodeConfig wanted = loaded->node;
  loaded->node.runtime_dir = config_.node.runtime_dir;
  config_ = std::move(*loaded);
  ids_to_release_ = true;
  if (drains_.keep_those_of(config_)) save_drains();
  restart_needed_ = restart_differences(running_node_, wanted);
  loaded_at_ = time_text();
  last_error_.reset();
  log_info("configuration loaded", {{"trigger", why},
                                    {"file", config_.file.string()},
                                    {"pools", config_.pools.size()},
                                    {"services", config_.services.size()}});
  if (!restart_needed_.empty()) {
    log_warning("changes in [node] wait for a restart of the data plane",
                {{"keys", joined(restart_needed_)}});
  }
  if (checking_) {
    monitor_.configure(config_);
    inherit_live_states();
  }
  announcer_.configure(config_.announce);
  evaluate_after(kCoalesce);
  follow_(config_);
  return {};
}

Standing Controller::standing(const BackendKey& backend) const {
  Standing standing = monitor_.standing(backend);
  standing.drains |= drains_.contains(backend);
  return standing;
}

tl::expected<void, std::string> Controller::drain(const BackendKey& backend, bool wanted) {
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
  if (!drains_.set(backend, wanted)) return {};
  save_drains();
  log_info(wanted ? "backend is to drain" : "backend is to take flows again",
           {{"pool", backend.pool}, {"backend", backend.address.to_string()}});
  planner_.pool_changed(backend.pool);
  evaluate_after(milliseconds(0));
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
  // Not while the data plane may still forward by other tables than those that were planned last.
  if (!connected_ || !counters_ || !follows_plan_) return;
  const auto look = [this](const BackendKey& key) {
    const auto id = ids_.find_backend(key);
    return id ? DrainWatch::Seen{counters_->flows_of_backend(*id), counters_->backend(*id).packets}
              : DrainWatch::Seen{};
  };
  const auto ended = drain_watch_.update(draining(), counters_->census_rounds(), look, Clock::now());
  for (const BackendKey& key : ended)
    log_info("backend is drained", {{"pool", key.pool}, {"backend", key.address.to_string()}});
}

Announcer::Facts Controller::announce_facts() const {
  const auto healthy_in = [this](const std::string& name) -> std::optional<uint32_t> {
    for (const PoolConfig& pool : config_.pools) {
      if (pool.name != name) continue;
      return static_cast<uint32_t>(
          std::count_if(pool.backends.begin(), pool.backends.end(), [&](const BackendConfig& backend) {
            return monitor_.state({name, backend.address}) == HealthState::kUp;
          }));
    }
    return std::nullopt;
  };
  Announcer::Facts facts;
  facts.decision.tables_known = peer_ && (live_.generation != 0 || peer_->snapshot_error.empty());
  facts.decision.health_known = monitor_.settled();
  facts.decision.vips = served_vips(live_services_, healthy_in);
  facts.connected = connected_;
  // The TAP goes with a dpdk process, and routes that point at it; an XDP program outlives its process.
  if (peer_) facts.device = peer_->engine == "dpdk" ? "linimo0" : config_.node.interfaces.front();
  return facts;
}

void Controller::note_panics() {
  std::set<std::string> now;
  for (const PoolConfig& pool : config_.pools) {
    if (!planner_.panics(pool.name)) continue;
    now.insert(pool.name);
    if (!panicking_.contains(pool.name))
      log_warning("few backends are up, so all are used", {{"pool", pool.name}});
  }
  for (const std::string& pool : panicking_) {
    if (!now.contains(pool)) log_info("enough backends are up again", {{"pool", pool}});
  }
  panicking_ = std::move(now);
}

void Controller::on_health_change(const HealthMonitor::Change& change) {
  const bool state_changed = change.before.health != change.after.health;
  log_info(state_changed ? "backend state changed" : "backend standing changed",
           {{"pool", change.backend.pool},
            {"backend", change.backend.address.to_string()},
            {"from", standing_text(change.before)},
            {"to", standing_text(change.after)},
            {"why", change.why}});
  planner_.pool_changed(change.backend.pool);
  evaluate_after(kCoalesce);
}

void Controller::on_connected(const DataplanePeer& peer, LiveTables live,
                              std::optional<CountersView> counters) {
  log_info("data plane connected", {{"pid", peer.pid},
                                    {"engine", peer.engine},
                                    {"workers", peer.workers},
                                    {"generation", peer.generation},
                                    {"restored", peer.restored ? "yes" : "no"}});
  if (!peer.snapshot_error.empty()) {
    log_warning("what is live cannot be read back", {{"why", peer.snapshot_error}});
  }
  if (!counters) log_warning("the data plane's counters cannot be read");
  if (peer_ && peer_->pid != peer.pid) {  // it read the configuration file when it started
    drain_watch_.begin_anew();
    running_node_ = config_.node;
    restart_needed_.clear();
  }
  connected_ = true;
  last_loss_.clear();
  peer_ = peer;
  counters_ = std::move(counters);
  const bool ours = live_.generation != 0 && live.bytes == live_.bytes;
  live_ = std::move(live);
  live_is_read_ = true;
  if (!ours) learn_live();
  last_generation_ = std::max(last_generation_, live_.generation);
  if (!live_.bytes.empty()) link_.prepare(live_.bytes);
  if (!learned_) {
    learned_ = true;
    ids_.learn(live_, Clock::now());
    ids_held_ = false;
    ids_to_release_ = true;
  }
  begin_checks();
  inherit_live_states();
  evaluate_after(milliseconds(0));
}

/// What is live was not published by this process, or not last.
void Controller::learn_live() {
  live_services_.clear();
  const auto view = SnapshotView::validate(live_.bytes);
  if (!view) return;
  learning_.resume(*view, Clock::now());
  live_services_ = live_services(*view);
}

void Controller::on_lost(const std::string& reason) {
  connected_ = false;
  publishing_.clear();
  if (reason != last_loss_) {  // every attempt to connect again ends here
    last_loss_ = reason;
    log_warning("no data plane, trying again", {{"why", reason}});
  }
  begin_checks();
}

void Controller::on_accepted(uint64_t generation) {
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - publish_start_);
  linimo_header header;
  std::memcpy(&header, publishing_.data(), sizeof header);
  live_.generation = generation;
  live_.digest = header.digest;
  spare_ = std::exchange(live_.bytes, std::move(publishing_));
  live_is_read_ = false;
  publishing_.clear();
  learning_.accepted();
  live_services_ = live_services(SnapshotView::of_valid(live_.bytes));
  last_generation_ = generation;
  last_refusal_.clear();
  follows_plan_ = true;
  log_info("generation accepted", {{"generation", generation},
                                   {"digest", fmt::format("{:016x}", live_.digest)},
                                   {"bytes", live_.bytes.size()},
                                   {"took_us", took.count()}});
  announcer_.update();
  link_.prepare(live_.bytes);
  if (ids_to_release_) {  // they begin to rest only now
    ids_to_release_ = false;
    if (auto held = hold_ids(config_); !held) log_error("ids not released", {{"why", held.error()}});
  }
  if (changed_meanwhile_) evaluate_after(milliseconds(0));
}

void Controller::on_refused(uint64_t generation, const std::string& reason) {
  spare_ = std::move(publishing_);
  last_refusal_ = reason;
  log_error("generation refused by the data plane, the live one stays",
            {{"generation", generation}, {"live", live_.generation}, {"why", reason}});
  evaluate_after(kRetryAfterRefusal);
}

void Controller::evaluate_after(milliseconds delay) {
  follows_plan_ = false;
  // Earlier wishes are kept: this only ever brings the evaluation forward, unless none is due.
  const auto due = Clock::now() + delay;
  if (evaluation_.expiry() > Clock::now() && evaluation_.expiry() <= due) return;
  evaluation_.expires_at(due);
  evaluation_.async_wait([this](const boost::system::error_code& error) {
    if (!error) evaluate();
  });
}

void Controller::evaluate() {
  announcer_.update();
  if (!monitor_.settled()) return;
  if (!ids_held_) {
    if (auto held = hold_ids(config_); !held) {
      log_error("nothing published", {{"why", held.error()}});
      return evaluate_after(kRetryAfterRefusal);
    }
    ids_held_ = true;
  }
  const auto start = Clock::now();
  const uint64_t generation = last_generation_ + 1;
  SnapshotSpec spec = planner_.plan(
      config_, [this](const BackendKey& key) { return standing(key); }, ids_, generation);
  note_panics();
  changed_meanwhile_ = !link_.ready();
  if (changed_meanwhile_) return;  // the answer, or the next connection, brings us here again
  learning_.plan(spec, start);
  build_snapshot(spec, spare_);
  if (same_tables(spare_, live_.bytes)) {
    follows_plan_ = true;
    log_debug("tables are live already", {{"generation", live_.generation}});
    return;
  }
  publish_start_ = start;
  publishing_ = std::move(spare_);
  log_debug("publishing", {{"generation", generation}, {"bytes", publishing_.size()}});
  link_.publish(generation, publishing_);
}

}  // namespace linimo
