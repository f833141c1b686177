#include "controlplane/api/event_feed.h"

#include <algorithm>
#include <charconv>
#include <random>
#include <utility>

#include <boost/asio/post.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace linimo {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kKeepAlive{5};
constexpr size_t kPieceBytes = 64 << 10;

std::string time_text(std::chrono::system_clock::time_point time) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(time)),
                     ms % 1000);
}

std::string text_of(const Event& event, const std::string& id) {
  json details = json::object();
  for (const auto& [name, value] : event.details) details[name] = value;
  const json data = {{"id", id},
                     {"time", time_text(event.time)},
                     {"kind", kEventKindNames[static_cast<int>(event.kind)]},
                     {"what", event.what},
                     {"details", std::move(details)}};
  return fmt::format("id: {}\ndata: {}\n\n", id, data.dump(-1, ' ', false, json::error_handler_t::replace));
}

std::string notice(const char* event, const char* reason) {
  return fmt::format("event: {}\ndata: {}\n\n", event, json{{"reason", reason}}.dump());
}

}  // namespace

class EventFeed::Reader final : public HttpStream {
 public:
  /// From event `next` on; `missed`: some before it.
  Reader(std::shared_ptr<EventFeed> feed, uint64_t next, bool missed)
      : feed_(std::move(feed)), next_(next), begin_(missed ? notice("gap", kMissed) : ":\n\n") {
    feed_->readers_.push_back(this);
  }
  ~Reader() override { std::erase(feed_->readers_, this); }

  void next(Give give) override {
    give_ = std::move(give);
    if (!begin_.empty()) return send(std::exchange(begin_, {}), false);
    look();
  }

  /// Sends what there is, if it waits for something.
  void look() {
    if (!give_ || next_ > feed_->last_) return;
    const auto& told = feed_->told_;
    std::string text;
    auto event = std::lower_bound(told.begin(), told.end(), next_,
                                  [](const Told& of, uint64_t number) { return of.number < number; });
    for (; event != told.end() && event->number == next_ && text.size() < kPieceBytes; ++event, ++next_)
      text += event->text;
    if (!text.empty()) return send(std::move(text), false);
    send(notice("end", "this reader was too slow, or too much happened at once: events were lost"), true);
  }

  void keep_alive() {
    if (give_) send(":\n\n", false);
  }

 private:
  static constexpr const char* kMissed = "some events before this one are not remembered any more";

  void send(std::string text, bool last) {
    std::exchange(give_, nullptr)({std::make_shared<const std::string>(std::move(text)), last});
  }

  std::shared_ptr<EventFeed> feed_;  // which outlives the API where a connection does
  uint64_t next_;
  std::string begin_;
  Give give_;
};

EventFeed::EventFeed(boost::asio::io_context& serving)
    : serving_(serving), keep_alive_(serving), process_(fmt::format("{:08x}", std::random_device()())) {}

std::string EventFeed::id(uint64_t number) const {
  return fmt::format("{}-{}", process_, number);
}

void EventFeed::tell(const std::shared_ptr<const Event>& event) {
  if (on_their_way_.fetch_add(1) >= kEventsKept) {
    on_their_way_.fetch_sub(1);
    return;
  }
  boost::asio::post(serving_, [self = shared_from_this(), event = event] {
    self->on_their_way_.fetch_sub(1);
    self->add(*event);
  });
}

void EventFeed::add(const Event& event) {
  if (told_.size() >= kEventsKept) told_.pop_front();
  told_.push_back({event.number, text_of(event, id(event.number))});
  last_ = event.number;
  for (Reader* reader : readers_) reader->look();
}

void EventFeed::keep_alive() {
  keep_alive_.expires_after(kKeepAlive);
  keep_alive_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (error || self == nullptr || self->readers_.empty()) return;
    for (Reader* reader : self->readers_) reader->keep_alive();
    self->keep_alive();
  });
}

/// The number in an id of this process.
std::optional<uint64_t> EventFeed::number_in(std::string_view id) const {
  if (!id.starts_with(process_ + '-')) return std::nullopt;
  id.remove_prefix(process_.size() + 1);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
  if (error != std::errc() || end != id.data() + id.size() || number > last_) return std::nullopt;
  return number;
}

std::shared_ptr<HttpStream> EventFeed::open(std::string_view last_id, size_t past) {
  if (readers_.empty()) keep_alive();
  const auto reader = [this](auto event, bool missed) {
    return std::make_shared<Reader>(shared_from_this(), event == told_.end() ? last_ + 1 : event->number,
                                    missed);
  };
  if (last_id.empty())
    return reader(told_.end() - static_cast<ptrdiff_t>(std::min(past, told_.size())), false);
  const auto number = number_in(last_id);
  if (!number) return reader(told_.begin(), true);
  const auto next =
      std::find_if(told_.begin(), told_.end(), [&](const Told& event) { return event.number > *number; });
  return reader(next, next == told_.end() ? *number != last_ : next->number != *number + 1);
}

}  // namespace linimo
