// Brings tables to the data plane: numbers what shall be live, hands it over unless it is live already, one
// at a time, and knows what is live, whoever published it.
//
//   Publisher publisher(io, "/run/linimo/dataplane.sock", owner, events);
//   publisher.start();
//   if (publisher.ready()) publisher.offer(spec, "health");      // then owner.on_live() or
//   owner.on_refused()
//
// Lives on the event loop's thread; the owner is called from the event loop only.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "controlplane/announce/live_services.h"
#include "controlplane/event_log.h"
#include "controlplane/tables/dataplane_link.h"
#include "controlplane/tables/learning.h"
#include "controlplane/tables/live_tables.h"
#include "maglev/snapshot.h"

namespace linimo {

class Publisher final : private DataplaneLink::Observer {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    /// There is a data plane; `another` than there was before, if there was one.
    virtual void on_dataplane(bool another) = 0;
    /// What was offered last is live; by whose wish.
    virtual void on_live(const std::string& by) = 0;
    /// What was offered last is not, see last_refusal(); what was live stays.
    virtual void on_refused() = 0;
    /// There is none, or no more.
    virtual void on_no_dataplane() = 0;
    /// See DataplaneLink::Observer.
    virtual void on_condition(const ConditionReport& report) = 0;
    virtual void on_next_hops(uint32_t first_id, std::span<const uint8_t> states) = 0;
    virtual void on_heartbeat() = 0;
    virtual void on_hand_over(std::chrono::milliseconds limit) = 0;
    virtual void on_flow_words(std::span<const linimo_flow_word> words) = 0;
  };

  Publisher(boost::asio::io_context& io, std::filesystem::path socket, Owner& owner, EventLog& events);
  void start() { link_.start(); }

  /// There is a data plane, and it owes no answer.
  bool ready() const { return link_.ready(); }
  /// Size of what is live, or of what is being taken over if that is more.
  size_t tables_bytes() const { return std::max(live_.bytes.size(), publishing_.size()); }

  /// See DataplaneLink.
  void trace(const protocol::Trace& question, DataplaneLink::OnTraced done) {
    link_.trace(question, std::move(done));
  }

  void find_flows(const protocol::FindFlows& question, DataplaneLink::OnFlows done) {
    link_.find_flows(question, std::move(done));
  }
  void capture(const protocol::Capture& question, UniqueFd into, DataplaneLink::OnCapturing done) {
    link_.capture(question, std::move(into), std::move(done));
  }
  void tell(std::span<const linimo_flow_word> words) { link_.tell(words); }
  /// What is live, or nothing before the first.
  std::optional<SnapshotView> live_snapshot() const {
    return live_.bytes.empty() ? std::nullopt : std::optional(SnapshotView::of_valid(live_.bytes));
  }

  /// Of what is offered next.
  uint64_t next_generation() const { return last_generation_ + 1; }

  /// Only when ready(). `spec` has the next generation; its learning slots are completed here. `by`:
  /// for the log, who wanted it. False when that is live already: nothing is published and nobody called.
  bool offer(SnapshotSpec spec, std::string by);

  /// See Learning.
  bool knows_no_tables() const { return learning_.knows_nothing(); }
  void recall(std::vector<Learning::Former> former) {
    learning_.recall(std::move(former), std::chrono::steady_clock::now());
  }

  bool connected() const { return connected_; }
  /// The data plane of the current connection, or of the last one.
  const std::optional<DataplanePeer>& peer() const { return peer_; }
  const std::optional<CountersView>& counters() const { return counters_; }
  /// Why the last publication was refused; empty when it was not.
  const std::string& last_refusal() const { return last_refusal_; }
  /// Why there is no connection; empty while there is one.
  const std::string& last_loss() const { return last_loss_; }

  uint64_t live_generation() const { return live_.generation; }
  uint64_t live_digest() const { return live_.digest; }
  const std::vector<LiveService>& live_services() const { return live_services_; }
  /// Taken apart only when somebody asks: after most generations nobody does.
  const LiveTables& live();

 private:
  void on_connected(const DataplanePeer& peer, LiveTables live,
                    std::optional<CountersView> counters) override;
  void on_accepted(uint64_t generation) override;
  void on_refused(uint64_t generation, const std::string& reason) override;
  void on_lost(const std::string& reason) override;
  void on_condition(const ConditionReport& report) override { owner_.on_condition(report); }
  void on_next_hops(uint32_t first_id, std::span<const uint8_t> states) override {
    owner_.on_next_hops(first_id, states);
  }
  void on_heartbeat() override { owner_.on_heartbeat(); }
  void on_hand_over(std::chrono::milliseconds limit) override { owner_.on_hand_over(limit); }
  void on_flow_words(std::span<const linimo_flow_word> words) override { owner_.on_flow_words(words); }

  void learn_live();

  Owner& owner_;
  EventLog& events_;
  DataplaneLink link_;
  Learning learning_;

  LiveTables live_;
  bool live_is_read_ = true;  // or only its bytes, generation and digest are right
  std::vector<LiveService> live_services_;
  uint64_t last_generation_ = 0;  // the highest that was accepted or found live

  std::vector<std::byte> publishing_;  // sent, not yet answered
  std::string by_;
  std::chrono::steady_clock::time_point publish_start_;
  std::vector<std::byte> spare_;  // memory to build the next snapshot in

  bool connected_ = false;
  std::optional<DataplanePeer> peer_;
  std::optional<CountersView> counters_;
  std::string last_refusal_;
  std::string last_loss_;
};

}  // namespace linimo
