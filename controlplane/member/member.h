// A node as a member of its fleet: feeds the decisions (controlplane/fleet/step.h) with what happens, and
// carries out what they want. It decides nothing itself.
//
//   auto member = FleetMember::make(io, config, text);      // config has a [fleet] section; text is its
//   file's Controller controller(..., member->get()); (*member)->start(controller);
//
// Until the fleet has a revision in force, the node goes by its own file, as one without a fleet does. From
// then on pools and services are those of the revision, and a backend is up if the fleet's state says so.
//
// What comes from the store, from other nodes and from this node's data plane and checks may come at any
// time; it is taken one after the other. Lives on the event loop's thread.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <tl/expected.hpp>

#include "controlplane/config/config.h"
#include "controlplane/fleet/recent_news.h"
#include "controlplane/fleet/step.h"
#include "controlplane/health/backend_health.h"
#include "controlplane/member/beacon.h"
#include "controlplane/member/memory.h"
#include "controlplane/member/records_in_store.h"
#include "controlplane/member/revisions.h"
#include "controlplane/store/store.h"

namespace linimo {

class FleetMember {
 public:
  /// The node, as its fleet needs it.
  class Node {
   public:
    virtual ~Node() = default;
    /// Forward by these pools and services, and by what standing() says; then call on_forwarding or
    /// on_refused.
    virtual void adopt(Config config) = 0;
    /// What to_check() says has changed; then call on_checks for what is known.
    virtual void checks_changed() = 0;
    /// What may_announce() or has_caught_up() says has changed.
    virtual void announcements_changed() = 0;
    /// What former() says is known now.
    virtual void former_known() = 0;
    virtual void drain_node(bool wanted) = 0;
    /// What handlers() says has changed.
    virtual void handlers_changed() = 0;
    /// Another node has told of flows.
    virtual void hear(std::span<const fleet::SharedFlow> flows) = 0;
    /// Standings in the tables have changed.
    virtual const Config& config() const = 0;
    /// What this node's own checks say; unknown before the first one.
    virtual fleet::Opinion observed(const BackendKey& backend) const = 0;
  };

  struct Heard {
    fleet::Heartbeat heartbeat;
    std::chrono::steady_clock::time_point at;
  };

  /// The error says why what [fleet] names cannot be used.
  static tl::expected<std::unique_ptr<FleetMember>, std::string> make(boost::asio::io_context& io,
                                                                      const Config& config,
                                                                      const std::string& text);
  FleetMember(boost::asio::io_context& io, const Config& config, std::string text,
              std::unique_ptr<ConfigStore> store, std::unique_ptr<Beacon> beacon);

  /// The configuration to begin with: that of the revision which this node knew last; nothing: its file's.
  std::optional<Config> remembered() const;
  void start(Node& node);

  // What the node asks.

  /// This node's file as it is now with the fleet's pools and services; with its own until there are any.
  tl::expected<Config, std::string> load(const std::string& text) const;
  /// To be called when what load() has made of this text is in force.
  void on_loaded(const std::string& text);
  /// The fleet's pools and services are in force.
  bool leads_tables() const { return wanted_.revision != 0; }
  Standing standing(const BackendKey& backend) const;
  bool drained_by_operator(const BackendKey& backend) const;
  /// It asks for no new flows, as far as its checkers agree.
  bool drains_itself(const BackendKey& backend) const;

  /// What the fleet's tables are made from, and were until lately.
  struct Former {
    std::shared_ptr<const Config> config;
    std::shared_ptr<const fleet::BackendStates> backends;
    std::chrono::steady_clock::time_point since;
    Standing standing(const BackendKey& backend) const;
  };
  /// Oldest first, the last one in force; empty where that is in force for long. Nothing: this is not known
  /// yet.
  std::optional<std::vector<Former>> former() const;
  /// What this node checks: its part of what the fleet has, and, until that has a revision, all of its own.
  Config to_check(const Config& own) const;
  bool may_announce(const Prefix& vip) const;
  /// It may begin to announce (fleet/announcing.h).
  bool has_caught_up() const { return state_.own.caught_up; }
  /// By the addresses of their tunnels, this node perhaps among them.
  const fleet::HandleFragments& handlers() const { return state_.own.handlers; }

  // What the node tells.

  void on_dataplane(uint64_t generation, uint64_t digest, fleet::HandleFragments handlers);
  void on_forwarding(uint64_t generation, uint64_t digest);
  void on_refused(const std::string& why);
  void on_serving(bool serves);
  /// Empty: no data plane has come yet. Sessions with routers: all, and those that are up.
  void on_described(const std::string& engine, size_t sessions, size_t sessions_up);
  /// Zero: other nodes' tunnels lead nowhere.
  void on_tunnel(const Address& end);
  void on_health(const BackendKey& backend);
  void on_checks();
  /// The other nodes are to know of these flows.
  void tell(std::span<const fleet::SharedFlow> flows);

  // For operators (desk.h).

  /// Called whenever the member has taken something in; must not feed it.
  void when_fed(std::function<void()> look) { look_ = std::move(look); }

  const fleet::State& state() const { return state_; }
  const FleetConfig& settings() const { return fleet_; }
  const RecordsInStore& keys() const { return keys_; }
  ConfigStore& store() { return *store_; }
  const std::string& text() const { return text_; }
  const std::filesystem::path& file() const { return file_; }
  const std::map<std::string, Heard>& heard() const { return heard_; }
  /// Nodes whose leases have ended within the last hour.
  struct Departed {
    std::string address;
    std::chrono::steady_clock::time_point at;
  };
  const std::map<std::string, Departed>& departed() const { return departed_; }
  const std::map<fleet::AlarmKind, std::string>& alarms() const { return alarms_; }
  const std::string& last_error() const { return last_error_; }
  /// The store has very many revisions, and was never told to forget any.
  bool store_keeps_all() const { return store_keeps_all_; }
  /// Since the process started.
  struct SharedCounts {
    uint64_t told = 0;     // flows that the others were told of
    uint64_t heard = 0;    // that they told of
    uint64_t refused = 0;  // datagrams: not signed, not a member's, too many, or older than one before
  };
  SharedCounts shared_counts() const;

 private:
  struct Effects;

  void feed(fleet::Event event);
  fleet::FlowNews next_news(std::span<const fleet::SharedFlow> flows);
  void take(const fleet::FlowNews& news);
  void tell_newcomer(const fleet::Heartbeat& heartbeat, const Beacon::Endpoint& sender);
  void tell_some();
  void attempt(const fleet::Action& action);
  void carry_out(const fleet::Action& action);
  void read(const fleet::Read& wanted);
  void watch(const fleet::Watch& wanted);
  void lease(uint64_t request, const tl::expected<StoreLease, std::string>& answer, bool granted);
  void transact(const fleet::Transact& wanted);
  void validate(uint64_t number, uint64_t digest);
  void validated(const Revision& revision);
  void publish(const fleet::Publish& wanted);
  void note_departures();
  void look_at_history(int64_t revision);
  void look_back();
  void looked_back();
  void raise(const fleet::Alarm& alarm);
  void remember();
  void save();
  void await_tick();
  std::vector<fleet::Entry> entries(const StoreRead& read);
  void note_error(const std::string& why);

  boost::asio::io_context& io_;
  FleetConfig fleet_;
  std::filesystem::path file_;
  std::string text_;
  std::unique_ptr<ConfigStore> store_;
  RecordsInStore keys_;
  FleetFiles files_;
  Revisions revisions_;
  std::unique_ptr<Beacon> beacon_;
  boost::asio::steady_timer tick_;
  Node* node_ = nullptr;

  fleet::State state_;
  std::deque<fleet::Event> events_;
  bool feeding_ = false;
  std::function<void()> look_;

  fleet::Remembered remembered_;
  bool unsaved_ = false;       // the memory
  bool unsaved_live_ = false;  // only what the data plane forwards by
  uint64_t saved_documents_ = 0;

  enum class LookBack { kNotYet, kReading, kDone };
  LookBack look_back_ = LookBack::kNotYet;
  std::map<uint64_t, std::shared_ptr<const Config>> earlier_;  // revisions of the state's history
  std::set<uint64_t> reading_;
  std::optional<fleet::Publish> after_reading_;

  fleet::TableId wanted_;  // what the node was asked to forward by
  std::shared_ptr<const fleet::StateRecord> standings_;
  std::vector<std::string> to_check_;
  std::optional<std::set<std::string>> announced_;
  bool drained_ = false;

  fleet::FlowNewsGate gate_;
  fleet::RecentNews recent_news_;
  fleet::Newcomers newcomers_;
  struct Untold {
    Beacon::Endpoint newcomer;
    std::vector<fleet::SharedFlow> flows;
  };
  std::deque<Untold> untold_;  // of newcomers, one after the other
  boost::asio::steady_timer telling_;
  SharedCounts shared_;
  uint64_t last_news_ = 0;  // sequence number
  std::map<std::string, Heard> heard_;
  std::map<std::string, std::string> members_;  // with their addresses
  std::map<std::string, Departed> departed_;
  uint64_t noted_ = 0;  // version of the view that these are of
  std::map<fleet::AlarmKind, std::string> alarms_;
  std::string last_error_;  // of the store
  bool store_keeps_all_ = false;
  std::chrono::steady_clock::time_point looked_at_history_{};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>();
};

}  // namespace linimo
