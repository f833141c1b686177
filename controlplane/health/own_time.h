// How much time this process has lost: stopped (SIGSTOP, a paused VM), or too busy to look. Whoever judges
// others by their silence must not count the time in which it did not listen.
//
//   OwnTime own_time(now);
//   at(own_time.due(), [&] { own_time.on_pulse(now()); });    // a timer of the event loop, again and again
//   own_time.lost(now())                                      // at any time: grows, and never shrinks
//
// What waits in the event loop waits as long as the pulse does, so its delay is that of everything else.
// Pure.
#pragma once

#include <chrono>

namespace linimo {

class OwnTime {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = Time::duration;
  // Short: while there is too much to do, this process goes round about once in kPulse / (what it can do of
  // what is wished), and a check needs some rounds before its timeout.
  static constexpr std::chrono::milliseconds kPulse{50};
  static constexpr std::chrono::milliseconds kUsual{20};  // so late may be any timer: nothing is lost yet

  explicit OwnTime(Time now) : due_(now + kPulse) {}

  Time due() const { return due_; }
  void on_pulse(Time now) {
    lost_ = lost(now);
    due_ = now + kPulse;
  }

  /// Since the beginning, with what is being lost now.
  Duration lost(Time now) const { return now - due_ > kUsual ? lost_ + (now - due_) : lost_; }

 private:
  Time due_;
  Duration lost_{0};
};

/// Something that goes wrong now and then: it lasts until there has been none of it for a while.
class Trouble {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kQuiet{10};

  /// True when it begins.
  bool happened(Time now) {
    const bool begins = !lasts(now);
    if (begins) since_ = now;
    last_ = now;
    return begins;
  }
  bool lasts(Time now) const { return last_ != Time{} && now - last_ < kQuiet; }
  Time since() const { return since_; }

 private:
  Time since_{};
  Time last_{};
};

}  // namespace linimo
