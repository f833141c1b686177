// What happens to the node, told twice: as a line of the log, and to whoever follows events
// (api/event_feed.h).
//
//   events.note(EventKind::kDrain, log_info, "the node drains", {{"by", by}});
//
// Lives on the event loop's thread; whoever follows is called there, and must return at once.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "controlplane/log.h"

namespace linimo {

enum class EventKind : uint8_t {
  kHealth,         // of a backend, or of so many that they are told together
  kGeneration,     // the data plane forwards by other tables
  kAnnouncement,   // of a VIP, or a session that tells routers of it
  kDrain,          // of a backend or of the node
  kCondition,      // fails, or holds again
  kConfiguration,  // another one, or one that was refused
  kDataplane,      // it came, went, or refused tables
  kDrops           // of packets, for one reason, begin or end
};
inline constexpr const char* kEventKindNames[] = {"health",    "generation",    "announcement", "drain",
                                                  "condition", "configuration", "dataplane",    "drops"};

struct Event {
  uint64_t number;  // counted from 1; those who follow may miss some, and see it by this
  std::chrono::system_clock::time_point time;
  EventKind kind;
  std::string what;
  std::vector<std::pair<std::string, std::string>> details;
};

class EventLog {
 public:
  using LogLine = void (*)(std::string_view, LogFields);
  using Follow = std::function<void(std::shared_ptr<const Event>)>;

  void follow(Follow follow) { follow_ = std::move(follow); }
  void note(EventKind kind, LogLine log, std::string_view what, LogFields details = {});

 private:
  uint64_t last_ = 0;
  Follow follow_;
};

}  // namespace linimo
