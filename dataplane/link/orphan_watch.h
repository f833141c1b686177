// What becomes of announced VIPs while there is no control plane: nothing, unless `[announce] orphan_timeout`
// says that a node without one withdraws them after so long. This process withdraws, since it is the one that
// is left: by removing the routes of protocol 77 from the announcements' table. A control plane that comes
// back finds them gone and announces anew. How long and from which table says the live snapshot: what the
// control plane took over last counts, and a running data plane parses no configuration.
//
//   OrphanWatch orphans([&] { return link.controller_gone_since(); }, [&] { return announcements(*live); });
//   loop.every(OrphanWatch::kPeriod, [&] { orphans.look(); });
//
// Runs on the control thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

namespace linimo {

/// What a snapshot says of announcements.
struct Announcements {
  uint32_t table = 0;  // 0: there are none
  std::chrono::milliseconds orphan_timeout{0};
};

class OrphanWatch {
 public:
  using Clock = std::chrono::steady_clock;
  /// Since when there is no control plane; nothing while there is one.
  using GoneSince = std::function<std::optional<Clock::time_point>()>;

  static constexpr std::chrono::milliseconds kPeriod{500};

  OrphanWatch(GoneSince gone_since, std::function<Announcements()> announced)
      : gone_since_(std::move(gone_since)), announced_(std::move(announced)) {}

  void look();

 private:
  GoneSince gone_since_;
  std::function<Announcements()> announced_;
  std::optional<Clock::time_point> absence_;  // that is going on, by its beginning
  bool withdrawn_ = false;                    // in this absence
};

/// Removes the routes of protocol 77 from that table, of both families; how many those were.
size_t remove_announcements(uint32_t table);

}  // namespace linimo
