// The control plane's mind: configuration and health in, generations out.
//
// Everything that may change what is forwarded ends in one place, `evaluate`: it plans the tables from what
// is configured and what is known, compares them with what is live, and publishes the difference. So it does
// not matter in which order a backend dies, a file changes and a data plane comes back.
//
//   Controller controller(io, config);
//   controller.start();
//   controller.reload("signal");                    // by whom, for the log
//
// Lives on the event loop's thread.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "controlplane/announce/announcer.h"
#include "controlplane/change_log.h"
#include "controlplane/conditions/watch.h"
#include "controlplane/config/config.h"
#include "controlplane/config_trial.h"
#include "controlplane/drop_watch.h"
#include "controlplane/event_log.h"
#include "controlplane/health/monitor.h"
#include "controlplane/member/flow_names.h"
#include "controlplane/member/member.h"
#include "controlplane/phases.h"
#include "controlplane/tables/disruption.h"
#include "controlplane/tables/drain_watch.h"
#include "controlplane/tables/drains.h"
#include "controlplane/tables/ids.h"
#include "controlplane/tables/planner.h"
#include "controlplane/tables/publisher.h"

namespace linimo {

class Controller final : private Publisher::Owner, private FleetMember::Node {
 public:
  /// `trial`: the one that this configuration is on, if it is; and where that of later ones is noted.
  /// `member`: of the fleet that the configuration names; nullptr: it names none.
  Controller(boost::asio::io_context& io, Config config, Prober& prober, ConfigTrial trial = ConfigTrial(),
             FleetMember* member = nullptr);

  void start();

  /// Reads the configuration file again. An error, also that memory runs out, leaves everything as it is, and
  /// is remembered.
  tl::expected<void, std::string> reload(std::string_view by);

  /// The configuration file is not what is in force, and why.
  void note_error(std::string why) { last_error_ = std::move(why); }
  /// What of `[metrics]` and `[api]` is not served, and why; empty: it is, or is not to be.
  void note_unserved(const std::string& what, std::string why) { unserved_[what] = std::move(why); }

  /// To be called with each configuration that a reload took over.
  void on_loaded(std::function<void(const Config&)> follow) { follow_ = std::move(follow); }

  const Config& config() const override { return config_; }
  const HealthMonitor& health() const { return monitor_; }
  /// nullptr: this node is in no fleet.
  const FleetMember* member() const { return member_; }
  /// What the tables follow: health, and the operator's wishes.
  Standing standing(const BackendKey& backend) const;
  /// What there is to say of it, for people: of its last check, or of what follows from it.
  std::string detail(const BackendKey& backend) const;

  /// No new flows for a backend, or new ones again; remembered across restarts. The error says why not.
  tl::expected<void, std::string> drain(const BackendKey& backend, bool wanted, std::string_view by);
  /// What the reload of a configuration with this text, a revision of the fleet with it, or a drain or its
  /// end, would do to this node's flows. Changes nothing.
  tl::expected<Disruption, std::string> foresee(const std::string& text) const;
  tl::expected<Disruption, std::string> foresee_revision(const std::string& text,
                                                         const std::string& name) const;
  tl::expected<Disruption, std::string> foresee(const BackendKey& backend, bool drain) const;
  bool drained_by_operator(const BackendKey& backend) const;
  /// Of a backend that drains by the live tables; nullptr of others.
  const DrainWatch::Progress* drain_progress(const BackendKey& backend) const {
    return drain_watch_.find(backend);
  }
  const Planner& planner() const { return planner_; }
  const Ids& ids() const { return ids_; }
  const Announcer& announcer() const { return announcer_; }
  Announcer& announcer() { return announcer_; }

  EventLog& events() { return events_; }

  /// The watched conditions, and whether the node serves by them.
  const ConditionWatch& watch() const { return watch_; }
  /// Why the data plane has no way to a backend; nullptr: it has one, or nobody can say.
  const char* way_problem(const BackendKey& backend) const;

  /// Those of which so few backends are up that all are used, or none is.
  const std::set<std::string>& pools_in_panic() const { return panicking_; }

  bool connected() const { return publisher_.connected(); }
  /// The data plane of the current connection, or of the last one.
  const std::optional<DataplanePeer>& peer() const { return publisher_.peer(); }
  const std::optional<CountersView>& counters() const { return publisher_.counters(); }
  /// The data plane forwards by all that is configured, wished and known; false while tables are on their
  /// way.
  bool up_to_date() const { return tables_.is(TablesPhase::kCurrent) && connected(); }
  uint64_t live_generation() const { return publisher_.live_generation(); }
  uint64_t live_digest() const { return publisher_.live_digest(); }
  /// Why the last publication was refused; empty when it was not.
  const std::string& last_refusal() const { return publisher_.last_refusal(); }

  /// What the data plane would do with a packet; see DataplaneLink.
  void trace(const protocol::Trace& question, DataplaneLink::OnTraced done) {
    publisher_.trace(question, std::move(done));
  }

  /// Which flows it tracks, or to clear them; the same.
  void find_flows(const protocol::FindFlows& question, DataplaneLink::OnFlows done) {
    publisher_.find_flows(question, std::move(done));
  }
  /// Begins a capture into a socket; the same.
  void capture(const protocol::Capture& question, UniqueFd into, DataplaneLink::OnCapturing done) {
    publisher_.capture(question, std::move(into), std::move(done));
  }
  std::optional<SnapshotView> live_snapshot() const { return publisher_.live_snapshot(); }

  const std::string& loaded_at() const { return loaded_at_; }
  const std::optional<std::string>& last_error() const { return last_error_; }
  /// Keys of [node] whose new values wait for a restart of the data plane.
  const std::vector<std::string>& restart_needed() const { return restart_needed_; }

 private:
  void on_dataplane(bool another) override;
  void on_live(const std::string& by) override;
  void on_refused() override;
  void on_no_dataplane() override;
  void on_condition(const ConditionReport& report) override { watch_.on_condition(report); }
  void on_next_hops(uint32_t first_id, std::span<const uint8_t> states) override {
    watch_.on_next_hops(first_id, states);
  }
  void on_heartbeat() override { watch_.on_heartbeat(); }
  void on_hand_over(std::chrono::milliseconds limit) override { watch_.on_hand_over(limit); }
  void on_flow_words(std::span<const linimo_flow_word> words) override;

  void adopt(Config config) override;
  void checks_changed() override;
  void announcements_changed() override { announcer_.update("fleet"); }
  void handlers_changed() override;
  void former_known() override;
  fleet::HandleFragments live_handlers();
  void drain_node(bool wanted) override;
  void hear(std::span<const fleet::SharedFlow> flows) override;
  fleet::Opinion observed(const BackendKey& backend) const override;

  /// Pools and services are the fleet's, and so is the health of backends.
  void recall_tables();
  bool began_anew_ = false;  // knowing no tables, and has not heard yet what the fleet's were lately
  bool fleet_leads() const { return member_ != nullptr && member_->leads_tables(); }
  /// Enough is known to make tables.
  bool may_plan() const;
  void configure_checks();
  void note_forwarding();
  void note_serving();

  Sights sights() const;
  std::string backends_without_way() const;
  Announcer::Facts announce_facts() const;
  void note_panics();
  void watch_drains();
  std::map<BackendKey, FlowEnds> draining() const;
  void save_drains();
  tl::expected<void, std::string> may_drain(const BackendKey& backend, bool wanted) const;
  struct DrainWish {
    BackendKey backend;
    bool drain;
  };
  tl::expected<Disruption, std::string> foresee(const Config& config,
                                                const std::optional<DrainWish>& wish) const;
  void on_health_change(const HealthMonitor::Change& change);
  void await_end_of_trial();
  void begin_checks();
  void inherit_live_states();
  std::map<BackendKey, Standing> shares_in_fleet() const;
  void hold_ids(const Config& config);
  void evaluate_after(std::chrono::milliseconds delay, std::string_view by);
  void evaluate();
  void plan_and_publish();
  void take_over(Config loaded, std::string_view by);

  FleetMember* member_;
  FlowNames flow_names_;
  Config config_;
  std::function<void(const Config&)> follow_ = [](const Config&) {};
  NodeConfig running_node_;  // as the data plane read it when it started
  EventLog events_;
  HealthMonitor monitor_;
  ChangeLog change_log_;
  Planner planner_;
  Ids ids_;
  Publisher publisher_;
  Drains drains_;
  DrainWatch drain_watch_;
  DropWatch drop_watch_;
  boost::asio::steady_timer evaluation_;
  boost::asio::steady_timer drain_look_;
  ConfigTrial trial_;
  boost::asio::steady_timer trial_end_;
  Announcer announcer_;
  ConditionWatch watch_;

  std::set<std::string> panicking_;
  std::set<std::string> without_backend_;  // pools of which none is up that should take flows
  Phase<StartPhase, StartEvent> start_;
  Phase<TablesPhase, TablesEvent> tables_;
  Phase<IdsPhase, IdsEvent> ids_phase_;
  std::set<std::string> wanted_by_;  // who made the changes that the next generation has

  std::string loaded_at_;
  std::optional<std::string> last_error_;
  std::map<std::string, std::string> unserved_;  // over TCP: why, by what
  std::vector<std::string> restart_needed_;
};

}  // namespace linimo
