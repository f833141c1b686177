// The data plane's end of the socket to the control plane (maglev/protocol.h says what is spoken).
//
// Nothing that comes in is trusted. Credentials are the kernel's; one controller at a time, the first to say
// hello; who connects and says nothing is cut off, or gives way when there are many; a snapshot is copied out
// of a descriptor that cannot change before anything is read of it. Runs on the control thread, so the worst
// that a controller can do to the packet path is to publish often.
#pragma once

#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/engine.h"
#include "dataplane/event_loop.h"
#include "dataplane/link/capture_session.h"
#include "dataplane/link/inquiries.h"
#include "dataplane/link/log_limit.h"
#include "dataplane/link/reports.h"
#include "maglev/protocol.h"
#include "maglev/unique_fd.h"

namespace linimo {

class LinkServer {
 public:
  using Clock = std::chrono::steady_clock;

  struct Identity {
    std::string engine;
    std::string engine_reason;
    int counters_fd;
  };

  /// Called after a snapshot was accepted and acknowledged.
  using OnAccepted = std::function<void(const SnapshotView&)>;

  /// Listens. Throws std::system_error. The folder must exist.
  LinkServer(EventLoop& loop, std::filesystem::path socket_path, EngineBase& engine, Identity identity,
             Reports& reports, OnAccepted on_accepted);
  ~LinkServer();
  LinkServer(const LinkServer&) = delete;

  /// The live snapshot came from the runtime folder, not from a controller.
  /// What is live was read from the runtime folder, or was live at an earlier process; since when.
  void set_live(bool restored, std::chrono::steady_clock::time_point since) {
    restored_ = restored;
    live_since_ = since;
  }

  void on_traced(SayRoute say_route) { say_route_ = std::move(say_route); }

  /// Called with the socket of whoever wants the data plane to hand over to a new process.
  void on_upgrade(std::function<void(UniqueFd asker)> upgrade) { upgrade_ = std::move(upgrade); }

  /// Tells the control plane that another process will take over within that time.
  void tell_of_hand_over(std::chrono::milliseconds limit);

  /// Since when nobody is connected who has said hello, or who is has fallen silent though it promised
  /// heartbeats; nothing while somebody is there.
  std::optional<Clock::time_point> controller_gone_since() const;

 private:
  struct Peer {
    UniqueFd fd;
    pid_t pid;
    Clock::time_point since;
    bool controller = false;    // has said hello
    bool beats = false;         // and that it sends heartbeats
    bool hand_overs = false;    // and that it understands what is said of them
    bool shares = false;        // and that it carries words about flows to other nodes
    Clock::time_point heard{};  // the last of them
  };
  using PeerAt = std::list<Peer>::iterator;

  /// What a peer can have logged as often as it likes.
  enum Event { kTurnedAway, kSilent, kGreeted, kGone, kRefusedGeneration, kCapture, kEventCount };

  void accept_peer();
  void stop_accepting();
  void accept_again();
  void read_from(PeerAt peer);
  bool handle(Peer& peer, std::span<const std::byte> packet, std::span<UniqueFd> descriptors);
  bool greet(Peer& peer, const protocol::Hello& hello);
  bool publish(Peer& peer, const protocol::Publish& message, std::span<const UniqueFd> descriptors);
  bool answer_when(const Peer& peer, std::function<bool()> ready, std::function<bool()> answer);
  void answer_the_unanswered();
  bool capture(const Peer& peer, const protocol::Capture& message, std::span<UniqueFd> descriptors);
  tl::expected<void, std::string> begin_capture(const protocol::Capture& message,
                                                std::span<UniqueFd> descriptors);
  bool answer_capture(const Peer& peer, uint32_t number, const std::string& error);
  void pump_capture();
  void tell_of_flows();
  bool refuse(const Peer& peer, uint64_t generation, std::string_view reason);
  void disconnect(PeerAt peer);
  void drop_silent_peers();
  void make_room();
  void log(Event event, const std::string& text);
  void log_what_was_kept_out();

  EventLoop& loop_;
  std::filesystem::path path_;
  EngineBase& engine_;
  Identity identity_;
  Reports& reports_;
  OnAccepted on_accepted_;
  SayRoute say_route_ = [](uint32_t, protocol::Traced&) {};
  std::function<void(UniqueFd)> upgrade_;
  UniqueFd listener_;
  bool accepting_ = false;
  std::list<Peer> peers_;  // the newest first
  std::array<LogLimit, kEventCount> log_limits_;
  Clock::time_point controller_gone_ = Clock::now();  // the last one, or none since the beginning
  bool restored_ = false;
  std::chrono::steady_clock::time_point live_since_;
  std::optional<CaptureSession> capture_;
  int capture_timer_ = -1;  // of the loop, while there is one

  /// Whose answer would take longer than the control thread may stand still.
  struct Question {
    const Peer* asker;
    std::function<bool()> ready, answer;
  };
  std::vector<Question> unanswered_;
};

}  // namespace linimo
