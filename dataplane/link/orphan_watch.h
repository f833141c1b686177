// What becomes of announced VIPs while there is no control plane: nothing, unless `[announce] orphan_timeout`
// says that a node without one withdraws them after so long. This process withdraws, since it is the one that
// is left: by removing the routes of protocol 77 from the announcements' table. A control plane that comes
// back finds them gone and announces anew.
//
//   OrphanWatch orphans(config_file, [&] { return link.controller_gone_since(); });
//   loop.every(OrphanWatch::kPeriod, [&] { orphans.look(); });
//
// Runs on the control thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>

#include "maglev/config/announce.h"

namespace linimo {

class OrphanWatch {
 public:
  using Clock = std::chrono::steady_clock;
  /// Since when there is no control plane; nothing while there is one.
  using GoneSince = std::function<std::optional<Clock::time_point>()>;

  static constexpr std::chrono::milliseconds kPeriod{500};

  OrphanWatch(std::filesystem::path config_file, GoneSince gone_since);

  void look();

 private:
  void begin_absence();

  std::filesystem::path config_file_;
  GoneSince gone_since_;
  std::optional<Clock::time_point> absence_;  // that is going on, by its beginning
  AnnounceConfig config_;
  bool withdrawn_ = false;  // in this absence
};

/// Removes the routes of protocol 77 from that table, of both families; how many those were.
size_t remove_announcements(uint32_t table);

}  // namespace linimo
