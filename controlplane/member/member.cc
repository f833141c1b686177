#include "controlplane/member/member.h"

#include <algorithm>
#include <ctime>
#include <utility>
#include <variant>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/fleet/activation.h"
#include "controlplane/log.h"
#include "controlplane/member/credentials.h"

namespace linimo {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// For people, and for other versions.
std::string about(const NodeConfig& node, const std::string& engine, size_t sessions, size_t sessions_up) {
  const Address& address = node.encap_source4.is_zero() ? node.encap_source6 : node.encap_source4;
  nlohmann::json about = {{"address", address.to_string()}, {"version", LINIMO_VERSION}};
  if (!engine.empty()) about["engine"] = engine;
  if (sessions != 0) about["sessions"] = fmt::format("{} of {}", sessions_up, sessions);
  return about.dump();
}

/// Greater than that of any earlier process of this node: counted on, and of a node that knows nothing any
/// more above what it may have counted to.
uint64_t next_instance(const std::optional<fleet::Remembered>& remembered) {
  return remembered ? remembered->instance + 1 : static_cast<uint64_t>(std::time(nullptr));
}

std::string tunnel_text(const Address& end) {
  return end != Address{} ? end.to_string() : std::string();
}

fleet::Settings settings_of(const Config& config, uint64_t instance) {
  fleet::Settings settings;
  settings.node = config.node.name;
  settings.instance = instance;
  settings.about = about(config.node, {}, 0, 0);
  settings.tunnel = tunnel_text(tunnel_end(config.node));
  settings.lease = config.fleet->lease;
  settings.checkers = config.fleet->checkers;
  return settings;
}

}  // namespace

tl::expected<std::unique_ptr<FleetMember>, std::string> FleetMember::make(boost::asio::io_context& io,
                                                                          const Config& config,
                                                                          const std::string& text) {
  auto store = make_store(io, *config.fleet, config.node);
  if (!store) return tl::unexpected(store.error());
  std::unique_ptr<Beacon> beacon;
  std::string secret;
  if (!config.fleet->peers.empty()) {
    auto read = read_secret(config.fleet->secret_file, "[fleet] secret_file");
    if (!read) return tl::unexpected(read.error());
    secret = std::move(*read);
  }
  auto member = std::make_unique<FleetMember>(io, config, text, std::move(*store), nullptr);
  if (!secret.empty()) {
    member->beacon_ = std::make_unique<Beacon>(
        io, secret, [member = member.get()](const FromPeer& said, const Beacon::Endpoint& sender) {
          if (const auto* news = std::get_if<fleet::FlowNews>(&said)) return member->take(*news);
          const auto& heartbeat = std::get<fleet::Heartbeat>(said);
          if (member->state_.view.nodes.contains(heartbeat.node))
            member->heard_[heartbeat.node] = {heartbeat, Clock::now()};
          member->feed(heartbeat);
          member->tell_newcomer(heartbeat, sender);
        });
    member->beacon_->open(config.fleet->peers);
  }
  return member;
}

FleetMember::FleetMember(boost::asio::io_context& io, const Config& config, std::string text,
                         std::unique_ptr<ConfigStore> store, std::unique_ptr<Beacon> beacon)
    : io_(io),
      fleet_(*config.fleet),
      file_(config.file),
      text_(std::move(text)),
      store_(std::move(store)),
      keys_(fleet_.name),
      files_(config.node.state_dir),
      beacon_(std::move(beacon)),
      tick_(io),
      telling_(io) {
  const auto before = files_.load();
  if (before) remembered_ = *before;
  remembered_.instance = next_instance(before);
  fleet::Table& table = remembered_.memory.table;
  if (auto documents = files_.load_documents(table.revision, table.documents)) {
    saved_documents_ = table.documents;
    const Revision& revision =
        revisions_.keep(Revisions::read(table.revision, table.documents, std::move(*documents), text_, file_),
                        table.revision, table.documents);
    table.summary = revision.summary;
    if (!revision.refusal.empty())
      log_error("the fleet's revision is not valid here any more",
                {{"revision", revision.number}, {"why", revision.refusal}});
  }
  if (table.complete()) {
    // How long this node was away is not known, so what was before has no place in time.
    auto state = std::make_shared<fleet::StateRecord>(*table.state);
    state->history.clear();
    table.state = std::move(state);
    wanted_ = table.id();
    standings_ = table.state;
  }
  state_ = fleet::start(settings_of(config, remembered_.instance), remembered_.memory, Clock::now());
}

void FleetMember::start(Node& node) {
  node_ = &node;
  log_info("member of a fleet", {{"fleet", fleet_.name},
                                 {"store", store_->endpoint()},
                                 {"instance", remembered_.instance},
                                 {"revision", wanted_.revision},
                                 {"state", wanted_.state}});
  unsaved_ = true;
  feed(fleet::Tick{});
}

void FleetMember::on_loaded(const std::string& text) {
  text_ = text;
  revisions_.read_again(text_, file_);
  if (!state_.view.active) return;
  const Revision* in_force = revisions_.find(state_.view.active->number, state_.view.active->digest);
  if (in_force != nullptr) validated(*in_force);
}

void FleetMember::on_tunnel(const Address& end) {
  if (const std::string text = tunnel_text(end); text != state_.settings.tunnel)
    feed(fleet::TunnelMoved{text});
}

void FleetMember::on_dataplane(uint64_t generation, uint64_t digest, fleet::HandleFragments handlers) {
  const bool known = remembered_.live.revision != 0 && generation == remembered_.live_generation &&
                     digest == remembered_.live_digest;
  feed(fleet::HandlersLive{std::move(handlers)});
  feed(fleet::TableLive{known ? remembered_.live : fleet::TableId{}, digest});
}

void FleetMember::on_forwarding(uint64_t generation, uint64_t digest) {
  if (!leads_tables()) return;
  remembered_.live = wanted_;
  remembered_.live_generation = generation;
  remembered_.live_digest = digest;
  unsaved_live_ = true;
  feed(fleet::TableLive{wanted_, digest});
}

void FleetMember::on_refused(const std::string& why) {
  if (leads_tables()) feed(fleet::TableRefused{wanted_, why});
}

void FleetMember::on_serving(bool serves) {
  if (serves != state_.own.serves) feed(fleet::Serving{serves});
}

void FleetMember::on_described(const std::string& engine, size_t sessions, size_t sessions_up) {
  if (node_ == nullptr) return;
  if (std::string text = about(node_->config().node, engine, sessions, sessions_up);
      text != state_.settings.about)
    feed(fleet::Described{std::move(text)});
}

void FleetMember::on_health(const BackendKey& backend) {
  feed(fleet::Observed{backend_name(backend), node_->observed(backend)});
}

void FleetMember::on_checks() {
  const Config checked = to_check(node_->config());
  for (const PoolConfig& pool : checked.pools) {
    for (const BackendConfig& backend : pool.backends) {
      const BackendKey key{pool.name, backend.address};
      const fleet::Opinion opinion = pool.health ? node_->observed(key) : HealthState::kUp;
      if (opinion.health != HealthState::kUnknown) feed(fleet::Observed{backend_name(key), opinion});
    }
  }
}

void FleetMember::feed(fleet::Event event) {
  events_.push_back(std::move(event));
  if (feeding_ || node_ == nullptr) return;
  struct Feeding {
    bool& flag;
    explicit Feeding(bool& of) : flag(of) { flag = true; }
    ~Feeding() { flag = false; }
  };
  {
    const Feeding feeding(feeding_);
    while (!events_.empty()) {
      const fleet::Event next = std::move(events_.front());
      events_.pop_front();
      for (const fleet::Action& action : step(state_, next, Clock::now())) attempt(action);
    }
  }
  await_tick();  // whatever becomes of the rest
  save();
  if (fleet::in_reach(state_) && state_.trusts && state_.view.state) look_back();
  note_departures();
  if (look_) look_();
}

/// One that fails does not take the others with it.
void FleetMember::attempt(const fleet::Action& action) {
  try {
    carry_out(action);
  } catch (const std::bad_alloc&) {
    log_error("out of memory in what the fleet wants of this node");
    if (std::holds_alternative<fleet::Announce>(action)) state_.own.announced.reset();  // to be wanted again
  }
}

void FleetMember::await_tick() {
  tick_.expires_at(fleet::next_wake(state_));
  tick_.async_wait([this](const boost::system::error_code& error) {
    if (!error) feed(fleet::Tick{});
  });
}

void FleetMember::carry_out(const fleet::Action& action) {
  struct Visitor {
    FleetMember& m;
    void operator()(const fleet::Read& wanted) const { m.read(wanted); }
    void operator()(const fleet::Watch& wanted) const { m.watch(wanted); }
    void operator()(const fleet::ChangeEndpoint&) const {
      m.store_->change_endpoint();
      log_debug("another member of the store", {{"store", m.store_->endpoint()}});
    }
    void operator()(const fleet::GrantLease& wanted) const {
      m.store_->grant(std::chrono::duration_cast<std::chrono::seconds>(m.fleet_.lease),
                      [&m = m, wanted](const auto& answer) { m.lease(wanted.request, answer, true); });
    }
    void operator()(const fleet::KeepLease& wanted) const {
      m.store_->keep(wanted.lease,
                     [&m = m, wanted](const auto& answer) { m.lease(wanted.request, answer, false); });
    }
    void operator()(const fleet::Transact& wanted) const { m.transact(wanted); }
    void operator()(const fleet::Validate& wanted) const { m.validate(wanted.number, wanted.digest); }
    void operator()(const fleet::Publish& wanted) const { m.publish(wanted); }
    void operator()(const fleet::Check& wanted) const {
      m.to_check_ = wanted.backends;
      m.node_->checks_changed();
    }
    void operator()(const fleet::Announce& wanted) const {
      m.announced_.emplace(wanted.vips.begin(), wanted.vips.end());
      if (std::exchange(m.drained_, wanted.draining) != wanted.draining) m.node_->drain_node(wanted.draining);
      m.node_->announcements_changed();
    }
    void operator()(const fleet::HandleFragments&) const { m.node_->handlers_changed(); }
    void operator()(const fleet::Remember&) const { m.remember(); }
    void operator()(const fleet::SendHeartbeat& wanted) const {
      if (m.beacon_ != nullptr) m.beacon_->send(wanted.heartbeat);
      const auto is_member = [&](const std::string& node) { return m.state_.view.nodes.contains(node); };
      std::erase_if(m.heard_, [&](const auto& one) { return !is_member(one.first); });
      m.gate_.forget(is_member);
    }
    void operator()(const fleet::Alarm& alarm) const { m.raise(alarm); }
    void operator()(const fleet::Say& said) const { log_info("fleet", {{"says", said.text}}); }
  };
  std::visit(Visitor{*this}, action);
}

void FleetMember::note_error(const std::string& why) {
  if (why != last_error_) log_warning("the store does not answer as it should", {{"why", why}});
  last_error_ = why;
}

std::vector<fleet::Entry> FleetMember::entries(const StoreRead& read) {
  last_error_.clear();
  return keys_.entries(read, [](const std::string& key, const std::string& why) {
    log_warning("a key of the store makes no sense", {{"key", key}, {"why", why}});
  });
}

void FleetMember::read(const fleet::Read& wanted) {
  store_->read(keys_.records(),
               [this, request = wanted.request](const tl::expected<StoreRead, std::string>& read) {
                 if (!read) {
                   note_error(read.error());
                   return feed(fleet::ReadDone{request, true, 0, {}});
                 }
                 feed(fleet::ReadDone{request, false, read->revision, entries(*read)});
                 look_at_history(read->revision);
               });
}

void FleetMember::watch(const fleet::Watch& wanted) {
  store_->watch(
      keys_.records(), wanted.from,
      [this, id = wanted.watch](const StoreRead& changes) {
        feed(fleet::Changed{id, changes.revision, entries(changes)});
      },
      [this, id = wanted.watch](const std::string& why) {
        log_info("watching the store ended, reading it anew", {{"why", why}});
        feed(fleet::WatchEnded{id});
      });
}

void FleetMember::lease(uint64_t request, const tl::expected<StoreLease, std::string>& answer, bool granted) {
  if (answer) return feed(fleet::LeaseAnswer{request, answer->id, answer->time_to_live});
  note_error(answer.error());
  // A lease that could not be kept may last: only silence, or the store, ends it.
  if (granted) feed(fleet::LeaseAnswer{request, 0, milliseconds(0)});
}

void FleetMember::transact(const fleet::Transact& wanted) {
  store_->transact(keys_.transaction(wanted), [this, request = wanted.request](
                                                  const tl::expected<StoreOutcome, std::string>& outcome) {
    if (!outcome) {
      note_error(outcome.error());
      return feed(fleet::TransactDone{request, fleet::Outcome::kUnknown, 0});
    }
    feed(fleet::TransactDone{request, outcome->done ? fleet::Outcome::kDone : fleet::Outcome::kRefused,
                             outcome->revision});
  });
}

void FleetMember::validate(uint64_t number, uint64_t digest) {
  if (const Revision* revision = revisions_.find(number, digest)) return validated(*revision);
  const std::string prefix = keys_.prefix() + documents_prefix(number, digest);
  store_->read(prefix, [this, prefix, number, digest](const tl::expected<StoreRead, std::string>& read) {
    if (!read) {
      note_error(read.error());
      return;  // who asks will ask again
    }
    if (const Revision* revision = revisions_.find(number, digest)) return validated(*revision);
    Documents documents;
    for (const StoreEntry& entry : read->entries)
      if (entry.value) documents[entry.key.substr(prefix.size())] = *entry.value;
    // Who asks will ask again: what was refused once stays refused, and this may be the store's mistake.
    if (digest_of(documents) != digest)
      return log_error("a revision's documents are not what they were written as", {{"revision", number}});
    const fleet::Table& table = state_.memory.table;
    validated(revisions_.keep(Revisions::read(number, digest, std::move(documents), text_, file_),
                              table.revision, table.documents));
  });
}

void FleetMember::validated(const Revision& revision) {
  constexpr size_t kLongest = 2000;  // a record holds more
  fleet::Validated answer{revision.number, revision.digest, revision.refusal.substr(0, kLongest),
                          revision.summary};
  feed(std::move(answer));
}

void FleetMember::publish(const fleet::Publish& wanted) {
  if (look_back_ == LookBack::kNotYet && state_.view.state) look_back();
  if (look_back_ == LookBack::kReading) {
    after_reading_ = wanted;
    return;
  }
  const Revision* revision = revisions_.find(wanted.id.revision, wanted.id.documents);
  if (revision == nullptr || revision->config == nullptr)
    return feed(fleet::TableRefused{
        wanted.id, revision != nullptr ? revision->refusal : "its documents are not at hand"});
  wanted_ = wanted.id;
  standings_ = wanted.state;
  node_->adopt(*revision->config);
}

void FleetMember::raise(const fleet::Alarm& alarm) {
  const char* name = alarm_name(alarm.kind);
  if (alarm.text.empty()) {
    alarms_.erase(alarm.kind);
    log_info("fleet alarm is over", {{"alarm", name}});
  } else {
    alarms_[alarm.kind] = alarm.text;
    log_error("fleet alarm", {{"alarm", name}, {"why", alarm.text}});
  }
}

void FleetMember::remember() {
  remembered_.memory = state_.memory;
  unsaved_ = true;
}

void FleetMember::save() {
  if (!unsaved_ && !unsaved_live_) return;
  const fleet::Table& table = remembered_.memory.table;
  const Revision* revision = revisions_.find(table.revision, table.documents);
  if (revision != nullptr && table.documents != saved_documents_) {
    files_.save_documents(revision->documents);
    saved_documents_ = table.documents;
  }
  files_.save(remembered_, unsaved_);
  unsaved_ = unsaved_live_ = false;
}

}  // namespace linimo
