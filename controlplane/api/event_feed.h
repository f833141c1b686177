// What happens to the node (event_log.h), as server-sent events for any number of readers:
//
//   id: 5f3a9c1e-17
//   data: {"id":"5f3a9c1e-17","time":"2026-01-31T12:00:00.123Z","kind":"health","what":"backend state
//   changed",
//          "details":{"pool":"web","backend":"10.0.1.1","from":"up","to":"down","why":"connection refused"}}
//
// (the data on one line). The last kEventsKept are remembered: a reader who comes again and says which event
// it had last misses none of them. `event: gap` says that it missed some. A reader gets every event in order,
// or `event: end` with the reason, and then the connection ends. All readers share the memory of events: one
// that is slow costs nothing until it is overtaken.
//
// Lives on the serving thread, but for `tell`, which the deciding loop calls and which never waits.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "controlplane/event_log.h"
#include "controlplane/http/http_server.h"

namespace linimo {

inline constexpr size_t kEventsKept = 1024;

class EventFeed : public std::enable_shared_from_this<EventFeed> {
 public:
  explicit EventFeed(boost::asio::io_context& serving);

  /// Of any thread. While too many are on their way to a serving thread that does not get to run, more are
  /// left out, and readers learn of it by the numbers.
  void tell(const std::shared_ptr<const Event>& event);

  /// For one reader. `last_id`: the event it had last, empty if none; it then begins with the latest `past`.
  std::shared_ptr<HttpStream> open(std::string_view last_id, size_t past);

 private:
  class Reader;
  struct Told {
    uint64_t number;
    std::string text;
  };

  void add(const Event& event);
  void keep_alive();
  std::string id(uint64_t number) const;
  std::optional<uint64_t> number_in(std::string_view id) const;

  boost::asio::io_context& serving_;
  boost::asio::steady_timer keep_alive_;
  const std::string process_;  // in ids: numbers begin anew with each process
  std::atomic<size_t> on_their_way_ = 0;
  std::deque<Told> told_;
  uint64_t last_ = 0;  // number
  std::vector<Reader*> readers_;
};

}  // namespace linimo
