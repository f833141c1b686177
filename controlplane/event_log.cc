#include "controlplane/event_log.h"

#include <new>

namespace linimo {

void EventLog::note(EventKind kind, LogLine log, std::string_view what, LogFields details) {
  log(what, details);
  const uint64_t number = ++last_;
  if (!follow_) return;
  try {
    auto event = std::make_shared<Event>(Event{.number = number,
                                               .time = std::chrono::system_clock::now(),
                                               .kind = kind,
                                               .what = std::string(what),
                                               .details = {}});
    for (const LogField& field : details) event->details.emplace_back(field.key, field.value);
    follow_(std::move(event));
  } catch (const std::bad_alloc&) {
    // Who follows events sees by the next number that one is missing; what it tells of must go on.
  }
}

}  // namespace linimo
