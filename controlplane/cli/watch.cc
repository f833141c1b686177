#include "controlplane/cli/watch.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <thread>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/cli/client.h"
#include "maglev/program.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr size_t kLongestLine = 1 << 20;
constexpr std::chrono::seconds kTryAgain{1};

/// What stands in a JSON answer by this name; empty: no text does.
std::string text_in(const std::string& data, const char* name) {
  const json content = json::parse(data, nullptr, false);
  return content.is_object() && content.contains(name) && content[name].is_string()
             ? content[name].get<std::string>()
             : std::string();
}

/// It can stand without quotes.
bool is_plain(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c != '"' && c != 0x7f; });
}

class Watch {
 public:
  Watch(const WatchOptions& options, bool as_json) : left_(options.count), as_json_(as_json) {}

  bool take(std::string_view bytes) {
    if (std::exchange(lost_, false)) std::cerr << "linimo: the control plane is back\n";
    reader_.take(bytes, [this](const StreamedEvent& event) { show(event); });
    std::cout.flush();
    return !done_ && std::cout.good();
  }

  /// Says so once.
  void lose(const std::string& why) {
    reader_ = {};
    if (!std::exchange(lost_, true)) std::cerr << fmt::format("linimo: {}; waiting for it\n", why);
  }

  const std::string& last_id() const { return last_id_; }
  bool done() const { return done_ || !std::cout.good(); }

 private:
  void show(const StreamedEvent& event) {
    if (done_) return;
    if (!event.id.empty()) last_id_ = event.id;
    if (!event.type.empty()) {  // of the stream itself
      std::cerr << fmt::format("linimo: {}\n", text_in(event.data, "reason"));
      return;
    }
    std::cout << (as_json_ ? event.data : event_line(event.data)) << '\n';
    if (left_ != 0 && --left_ == 0) done_ = true;
  }

  EventStreamReader reader_;
  std::string last_id_;
  size_t left_;
  bool as_json_;
  bool done_ = false;
  bool lost_ = false;
};

}  // namespace

void EventStreamReader::take(std::string_view bytes,
                             const std::function<void(const StreamedEvent&)>& on_event) {
  for (size_t end; (end = bytes.find('\n')) != std::string_view::npos; bytes.remove_prefix(end + 1)) {
    rest_ += bytes.substr(0, end);
    if (!std::exchange(too_long_, false)) take_line(rest_, on_event);
    rest_.clear();
  }
  rest_ += bytes;
  if (rest_.size() <= kLongestLine) return;
  too_long_ = true;
  rest_.clear();
}

void EventStreamReader::take_line(std::string_view line,
                                  const std::function<void(const StreamedEvent&)>& on_event) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) {
    if (!event_.data.empty()) on_event(event_);
    event_ = {.id = std::move(event_.id)};
    return;
  }
  const size_t colon = std::min(line.find(':'), line.size());
  std::string_view value = line.substr(std::min(colon + 1, line.size()));
  if (value.starts_with(' ')) value.remove_prefix(1);
  const std::string_view field = line.substr(0, colon);
  if (field == "id") event_.id = value;
  if (field == "event") event_.type = value;
  if (field == "data" && event_.data.size() < kLongestLine)
    event_.data += (event_.data.empty() ? "" : "\n") + std::string(value);
}

CLI::App* WatchOptions::add_to(CLI::App& app) {
  auto* command = app.add_subcommand("watch", "show what happens, a line each, until Ctrl-C");
  command->add_option("--past", past, "show the latest N events first")->check(CLI::Range(0, 1024));
  command->add_option("--events", count, "end after so many")->check(CLI::Range(1, 1'000'000'000));
  return command;
}

std::string event_line(const std::string& data) {
  const json event = json::parse(data, nullptr, false);
  if (!event.is_object() || !event.value("details", json()).is_object()) return data;
  std::string line =
      fmt::format("{} {:<13} {}", text_in(data, "time"), text_in(data, "kind"), text_in(data, "what"));
  const char* gap = "  ";
  for (const auto& [name, value] : event["details"].items()) {
    const bool plain = value.is_string() && is_plain(value.get_ref<const std::string&>());
    line += fmt::format("{}{}={}", std::exchange(gap, " "), name,
                        plain ? value.get<std::string>() : value.dump());
  }
  return line;
}

int watch(const std::string& socket, const WatchOptions& options, bool as_json) {
  Watch watch(options, as_json);
  const std::string path = fmt::format("/v1/events?past={}", options.past);
  for (bool first = true;; first = false) {
    const auto reply = follow(socket, "GET", path, watch.last_id(),
                              [&watch](std::string_view bytes) { return watch.take(bytes); });
    if (watch.done()) return 0;
    if (reply && reply->status != 200) {
      const std::string why = text_in(reply->body, "error");
      std::cerr << fmt::format("linimo: {}\n", why.empty() ? "the control plane does not say why not" : why);
      return kFailed;
    }
    if (first && !reply) {
      std::cerr << fmt::format("linimo: {}\n", reply.error());
      return kFailed;
    }
    watch.lose(reply ? "the control plane has ended the stream" : reply.error());
    std::this_thread::sleep_for(kTryAgain);
  }
}

}  // namespace linimo
