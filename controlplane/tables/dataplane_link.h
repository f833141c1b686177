// The control plane's end of the socket to the data plane (maglev/protocol.h): connects, reads back what is
// live, hands over snapshots one at a time, and connects again whenever the data plane goes.
//
//   DataplaneLink link(io, "/run/linimo/dataplane.sock", observer);
//   link.start();
//   ... observer.on_connected(peer, live, counters) ...
//   link.publish(generation, bytes);            // then on_accepted, on_refused or on_lost, in any case one
//   of them
//
// Lives on the event loop's thread; the observer is called from the event loop only.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "controlplane/conditions/condition_report.h"
#include "controlplane/tables/live_tables.h"
#include "controlplane/tables/snapshot_memory.h"
#include "maglev/counters.h"
#include "maglev/os/seqpacket.h"
#include "maglev/protocol.h"
#include "maglev/unique_fd.h"

namespace linimo {

struct DataplanePeer {
  uint32_t pid = 0;
  uint32_t abi = 0;
  uint32_t workers = 0;
  bool restored = false;             // its generation came out of the runtime folder
  uint64_t generation = 0;           // live at the time of its welcome
  std::chrono::seconds live_for{0};  // it has been
  std::string engine;
  std::string engine_reason;
  bool traces = false;         // answers what it would do with a packet
  bool flows = false;          // says and clears what its connection tables have
  bool captures = false;       // copies packets
  bool reports = false;        // speaks of conditions, next hops and heartbeats
  std::string snapshot_error;  // why what it sent back as live could not be read; empty: it could
};

class DataplaneLink {
 public:
  struct Limits {
    std::chrono::milliseconds welcome{2000};
    std::chrono::milliseconds answer{5000};
    std::chrono::milliseconds first_retry{100};
    std::chrono::milliseconds last_retry{1000};
  };

  class Observer {
   public:
    virtual ~Observer() = default;
    virtual void on_connected(const DataplanePeer& peer, LiveTables live,
                              std::optional<CountersView> counters) = 0;
    virtual void on_accepted(uint64_t generation) = 0;
    virtual void on_refused(uint64_t generation, const std::string& reason) = 0;
    /// The connection ended or could not be made; a publication under way has no known outcome.
    virtual void on_lost(const std::string& reason) = 0;
    /// What a data plane with the feature `kReports` tells of its own accord; the first heartbeat of a
    /// connection comes when it has told all that it knows.
    virtual void on_condition(const ConditionReport&) {}
    virtual void on_next_hops(uint32_t /*first_id*/, std::span<const uint8_t> /*as in protocol::NextHops*/) {}
    virtual void on_heartbeat() {}
    /// The connection will end, and another process take over, within that time.
    virtual void on_hand_over(std::chrono::milliseconds /*limit*/) {}
    /// What its packets make it tell the other nodes of a fleet.
    virtual void on_flow_words(std::span<const linimo_flow_word> /*words*/) {}
  };

  DataplaneLink(boost::asio::io_context& io, std::filesystem::path socket, Observer& observer);
  DataplaneLink(boost::asio::io_context& io, std::filesystem::path socket, Observer& observer, Limits limits);

  void start();

  /// Connected, and no publication is under way.
  bool ready() const { return phase_ == Phase::kReady; }

  /// Only when ready(). The bytes are copied before this returns.
  void publish(uint64_t generation, std::span<const std::byte> snapshot);

  template <typename Answer>
  using OnAnswer = std::function<void(const tl::expected<Answer, std::string>&)>;
  using OnTraced = OnAnswer<protocol::Traced>;
  using OnFlows = OnAnswer<protocol::FoundFlows>;
  using OnCapturing = OnAnswer<protocol::Capturing>;

  /// Asks what would become of a packet. `done` is called in any case, perhaps before this returns; the error
  /// says why nobody knows.
  void trace(protocol::Trace question, OnTraced done);

  /// Asks for a part of the tracked flows, or to clear them. Likewise; what the data plane itself refuses is
  /// in the answer.
  void find_flows(protocol::FindFlows question, OnFlows done);

  /// Begins a capture into a socket, as maglev/protocol.h says. Likewise.
  void capture(protocol::Capture question, UniqueFd into, OnCapturing done);

  /// What another node has told; lost where no data plane takes it.
  void tell(std::span<const linimo_flow_word> words);

  /// Makes memory ready for what will be published next, of which most tables will be those of this snapshot;
  /// it must be valid. Takes as long as copying it does: to be called when nothing else is due.
  void prepare(std::span<const std::byte> snapshot) { memory_.prepare(snapshot); }

 private:
  enum class Phase { kAway, kGreeting, kReady, kPublishing };

  void connect();
  void wait_for_message();
  void on_readable();
  void on_message(Message message);
  void on_welcome(Message message);
  void on_answer(const Message& message);
  bool take_report(const Message& message);
  template <typename Question, typename Answer>
  void ask(Question& question, std::map<uint32_t, OnAnswer<Answer>>& asked, OnAnswer<Answer> done,
           std::span<const int> descriptors = {});
  template <typename Answer>
  void pass_on(std::map<uint32_t, OnAnswer<Answer>>& asked, const Answer& answer);
  std::optional<std::string> cannot_ask(bool knows_how, const char* what) const;
  void on_traced(const protocol::Traced& answer);
  void on_found(const protocol::FoundFlows& answer);
  void on_capturing(const protocol::Capturing& answer);
  void beat();
  void limit(std::chrono::milliseconds time, std::string what);
  void lose(const std::string& reason);

  boost::asio::io_context& io_;
  std::filesystem::path path_;
  Observer& observer_;
  Limits limits_;
  Phase phase_ = Phase::kAway;
  uint64_t publishing_ = 0;  // generation
  SnapshotMemory memory_;
  uint64_t connection_ = 0;  // number of the connection: handlers of earlier ones find that they are late
  std::chrono::milliseconds retry_;
  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer timer_;
  boost::asio::steady_timer heartbeat_;
  uint64_t beat_ = 0;
  bool traces_ = false, flows_ = false, captures_ = false, shares_ = false;  // the peer does
  std::map<uint32_t, OnTraced> asked_;                                       // by the question's number
  std::map<uint32_t, OnFlows> asked_for_flows_;
  std::map<uint32_t, OnCapturing> asked_to_capture_;
  uint32_t last_question_ = 0;
};

}  // namespace linimo
