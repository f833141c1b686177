// What becomes of announced VIPs while there is no control plane: nothing, unless `[announce] orphan_timeout`
// says that a node without one withdraws them after so long. This process withdraws, since it is the one that
// is left: by removing the routes of protocol 77 from the announcements' table. A control plane that comes
// back finds them gone and announces anew.
//
//   OrphanWatch orphans(config_file, [&] { return link.has_controller(); });
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
  static constexpr std::chrono::milliseconds kPeriod{500};

  OrphanWatch(std::filesystem::path config_file, std::function<bool()> has_controller);

  void look();

 private:
  using Clock = std::chrono::steady_clock;

  void begin_absence();

  std::filesystem::path config_file_;
  std::function<bool()> has_controller_;
  std::optional<Clock::time_point> absent_since_;
  AnnounceConfig config_;
  bool withdrawn_ = false;  // in this absence
};

/// Removes the routes of protocol 77 from that table, of both families; how many those were.
size_t remove_announcements(uint32_t table);

}  // namespace linimo
