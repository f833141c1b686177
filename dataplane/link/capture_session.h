// A capture on its way to whoever asked for it: out of the engine, into a socket of theirs. It ends when they
// close it, however they end. What they do not take in time is missed, and counted.
//
// Control thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "dataplane/capture/capture.h"
#include "maglev/unique_fd.h"

namespace linimo {

class CaptureSession {
 public:
  static constexpr std::chrono::milliseconds kPeriod{10};

  /// `to`: a connected socket of type SOCK_SEQPACKET.
  CaptureSession(UniqueFd to, std::unique_ptr<Capture> capture);

  /// Every kPeriod, and once the socket has something to say: sends what there is. False: it is over.
  bool pump();

  bool loading() { return capture_->loading(); }
  std::string ended() const { return capture_->ended(); }

  int socket() const { return to_.get(); }
  uint64_t sent() const { return sent_; }
  uint64_t missed() const { return capture_->missed(); }

 private:
  enum class Sent { kAll, kNotNow, kGone };
  Sent send(linimo_captured& captured);

  UniqueFd to_;
  std::unique_ptr<Capture> capture_;
  uint64_t sent_ = 0;
  std::chrono::steady_clock::time_point told_;  // when they last got a message
};

/// Is it a socket that a session can use?
bool is_packet_socket(int fd);

}  // namespace linimo
