// The side of a hand-over that has run until now.
//
//   Giver giver(loop, manager, {.program = ..., .arguments = ..., .is = ...});
//   giver.ask(std::move(socket));          // somebody wants one; the loop stops once the new process is
//   ready
//   ...
//   if (giver.gives()) {                   // all that can be had again only from here is passed on
//     giver.give(PartKind::kLock, lock);
//     if (giver.new_one_forwards()) return 0;
//     start anew
//   }
//
// Control thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "dataplane/event_loop.h"
#include "dataplane/handover/messages.h"
#include "dataplane/handover/phases.h"
#include "maglev/os/seqpacket.h"
#include "maglev/service_manager.h"
#include "maglev/unique_fd.h"

namespace linimo::handover {

/// The program that this process runs, by the name under which its successor will lie.
std::string own_program();

/// SIGINT or SIGTERM, if one waits and no event loop runs that would hear it; it waits no more. 0: none.
int pending_end_signal();

class Giver {
 public:
  struct Own {
    std::string program;  // see own_program()
    char** arguments;     // as main() has them
    Prepared is;          // what the new process must be as well
  };

  Giver(EventLoop& loop, ServiceManager& manager, Own own)
      : loop_(loop), manager_(manager), own_(std::move(own)) {}
  /// A new process that has not got all is ended.
  ~Giver();
  Giver(const Giver&) = delete;

  /// Begins one, or says there why not. Who asked is told over that socket how it went (protocol::Upgraded).
  void ask(UniqueFd asker);

  /// The new process is ready, and this one is to let go.
  bool gives() const { return phase_ == Phase::kGiving; }
  void give(PartKind kind, int fd);

  /// Says that this was all, and waits for the new process. Whoever wants this one to end meanwhile means the
  /// new one. False: it has ended unasked, and nobody forwards but what the kernel does by itself.
  bool new_one_forwards();

 private:
  using Clock = std::chrono::steady_clock;

  void on(Event event, const std::string& why = {});
  void act(Action action, const std::string& why);
  tl::expected<void, std::string> start();
  void listen();
  void unlisten();
  /// The next event that the new process is the cause of, and in words.
  std::optional<std::pair<Event, std::string>> heard();
  void end_new_one();
  void answer(const std::string& error);

  EventLoop& loop_;
  ServiceManager& manager_;
  const Own own_;
  Phase phase_ = Phase::kForwarding;
  UniqueFd asker_;
  UniqueFd link_;  // to the new process
  pid_t pid_ = -1;
  int limit_ = -1;  // a timer of the loop
  bool asked_to_end_ = false;
  Clock::time_point asked_{}, let_go_{};
};

}  // namespace linimo::handover
