// A store asked from a test: an event loop that runs until there is an answer.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "controlplane/store/store.h"

namespace linimo {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Asking {
 public:
  using Make = std::function<std::unique_ptr<ConfigStore>(boost::asio::io_context&)>;
  explicit Asking(const Make& make) : store(make(io_)) {}

  /// False: not within that time.
  bool until(const std::function<bool()>& holds, milliseconds most = seconds(10)) {
    const auto end = std::chrono::steady_clock::now() + most;
    while (!holds()) {
      const auto left = end - std::chrono::steady_clock::now();
      if (left <= left.zero()) return false;
      io_.restart();
      io_.run_one_for(left);
    }
    return true;
  }

  template <typename Result>
  tl::expected<Result, std::string> answer(const std::function<void(ConfigStore::Answer<Result>)>& ask,
                                           milliseconds most = seconds(10)) {
    auto answered = std::make_shared<std::optional<tl::expected<Result, std::string>>>();
    ask([answered](tl::expected<Result, std::string> answer) { *answered = std::move(answer); });
    if (answered->has_value()) return tl::unexpected(std::string("answered before the call returned"));
    if (!until([&] { return answered->has_value(); }, most)) return tl::unexpected(std::string("no answer"));
    return **answered;
  }
  tl::expected<StoreRead, std::string> read(const std::string& prefix) {
    return answer<StoreRead>([&](auto done) { store->read(prefix, done); });
  }
  tl::expected<StoreOutcome, std::string> transact(const StoreTransaction& transaction) {
    return answer<StoreOutcome>([&](auto done) { store->transact(transaction, done); });
  }
  tl::expected<StoreOutcome, std::string> put(const std::string& key, const std::string& value,
                                              int64_t lease = 0) {
    return transact({{}, {{key, value, lease}}, {}});
  }
  tl::expected<StoreLease, std::string> grant(seconds time_to_live) {
    return answer<StoreLease>([&](auto done) { store->grant(time_to_live, done); });
  }
  tl::expected<StoreLease, std::string> keep(int64_t lease) {
    return answer<StoreLease>([&](auto done) { store->keep(lease, done); });
  }

  /// What a watch has told.
  struct Watched {
    std::vector<StoreEntry> entries;
    int64_t revision = 0;
    std::string end;
    std::string text() const {
      std::string text;
      for (const StoreEntry& entry : entries)
        text += (text.empty() ? "" : " ") + entry.key + (entry.value ? "=" + *entry.value : " gone");
      return text;
    }
  };
  std::shared_ptr<Watched> watch(const std::string& prefix, int64_t from) {
    auto watched = std::make_shared<Watched>();
    store->watch(
        prefix, from,
        [watched](const StoreRead& changes) {
          watched->entries.insert(watched->entries.end(), changes.entries.begin(), changes.entries.end());
          watched->revision = changes.revision;
        },
        [watched](const std::string& why) { watched->end = why; });
    return watched;
  }

 private:
  boost::asio::io_context io_;

 public:
  std::unique_ptr<ConfigStore> store;
};

}  // namespace linimo
