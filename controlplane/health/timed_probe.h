// What checks of our own have in common: one verdict, at the latest when the time is up, and none once the
// check was given up.
//
// A check derives from TimedCheck and lives in a shared_ptr, of which the Probe is the only owner; handlers
// of the event loop hold weak references (`guarded`), so that none runs after it is gone.
#pragma once

#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "controlplane/health/own_failure.h"
#include "controlplane/health/prober.h"
#include "maglev/unique_fd.h"

namespace linimo {

class TimedCheck : public std::enable_shared_from_this<TimedCheck> {
 public:
  TimedCheck(boost::asio::io_context& io, std::chrono::milliseconds timeout, Prober::Done done)
      : timer_(io), timeout_(timeout), done_(std::move(done)) {}
  virtual ~TimedCheck() = default;

  void run();

 protected:
  /// What it throws, a std::system_error, is this machine's own failure and says nothing about the backend.
  virtual void begin() = 0;
  virtual void on_timeout() = 0;

  /// The first one counts. It is told later, from the event loop, even if it is known at once.
  void finish(Verdict verdict) {
    if (finished_) return;
    finished_ = true;
    timer_.cancel();
    boost::asio::post(timer_.get_executor(), [weak = weak_from_this(), verdict = std::move(verdict)] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      const Prober::Done done = std::move(self->done_);
      done(verdict);
    });
  }
  bool finished() const { return finished_; }
  std::chrono::milliseconds timeout() const { return timeout_; }

  /// A handler that calls a member function if there was no error and the check is still alive.
  template <typename Check>
  auto guarded(void (Check::*member)()) {
    return [weak = weak_from_this(), member](const boost::system::error_code& error, auto&&...) {
      const auto self = weak.lock();
      if (!error && self != nullptr && !self->finished_) (static_cast<Check&>(*self).*member)();
    };
  }

 private:
  boost::asio::steady_timer timer_;
  std::chrono::milliseconds timeout_;
  Prober::Done done_;
  bool finished_ = false;
};

inline void TimedCheck::run() {
  timer_.expires_after(timeout_);
  timer_.async_wait(guarded(&TimedCheck::on_timeout));
  try {
    begin();
  } catch (const std::system_error& error) {
    finish(cannot_check(error.code().value()));
  }
}

/// Hands a descriptor to the event loop; throws std::system_error when there is none, or it cannot be
/// watched.
inline void own(boost::asio::posix::stream_descriptor& into, UniqueFd fd) {
  if (!fd) throw std::system_error(errno, std::generic_category());
  into.assign(fd.get());
  fd.release();
}

class TimedProbe final : public Probe {
 public:
  explicit TimedProbe(std::shared_ptr<TimedCheck> check) : check_(std::move(check)) { check_->run(); }

 private:
  std::shared_ptr<TimedCheck> check_;
};

}  // namespace linimo
