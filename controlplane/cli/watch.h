// linimo watch: what happens to the node, a line each, for as long as one likes.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace linimo {

/// One of a stream of server-sent events (HTML standard, 9.2).
struct StreamedEvent {
  std::string id{};    // of the last event that had one
  std::string type{};  // empty: an ordinary one
  std::string data{};
};

/// Takes such a stream apart, whatever pieces it comes in. What is longer than any event is left out.
class EventStreamReader {
 public:
  void take(std::string_view bytes, const std::function<void(const StreamedEvent&)>& on_event);

 private:
  void take_line(std::string_view line, const std::function<void(const StreamedEvent&)>& on_event);

  std::string rest_;  // the beginning of a line
  bool too_long_ = false;
  StreamedEvent event_;
};

struct WatchOptions {
  size_t past = 0;   // of events, shown first
  size_t count = 0;  // ends after so many; 0: never

  CLI::App* add_to(CLI::App& app);
};

/// The exit code. A control plane that goes away is waited for.
int watch(const std::string& socket, const WatchOptions& options, bool as_json);

/// "2026-01-31T12:00:00.123Z health        backend state changed  pool=web backend=10.0.1.1 to=down"
std::string event_line(const std::string& data);

}  // namespace linimo
