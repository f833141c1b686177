#include "controlplane/store/file_store.h"

#include <algorithm>
#include <deque>
#include <map>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "maglev/state_file.h"

namespace linimo {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr size_t kMostBytes = 64 << 20;
constexpr size_t kMostHistory = 1000;  // changes that a watch may begin in

struct Row {
  std::string value;
  int64_t created = 0;
  int64_t changed = 0;
  int64_t lease = 0;
};

json to_json(const std::map<std::string, Row>& rows, int64_t revision) {
  json keys = json::array();
  for (const auto& [key, row] : rows) {
    if (row.lease != 0) continue;
    keys.push_back({json::binary({key.begin(), key.end()}),
                    json::binary({row.value.begin(), row.value.end()}), row.created, row.changed});
  }
  return {{"revision", revision}, {"keys", std::move(keys)}};
}

std::string bytes_of(const json& value) {
  const auto& binary = value.get_binary();
  return {binary.begin(), binary.end()};
}

class FileStore final : public ConfigStore {
 public:
  FileStore(boost::asio::io_context& io, std::filesystem::path file)
      : io_(io), file_(std::move(file)), expiry_(io) {}

  tl::expected<void, std::string> load() {
    auto content = read_state_file(file_, kMostBytes);
    if (!content) return tl::unexpected(content.error());
    if (!*content) return {};
    try {
      const json read = json::from_cbor(**content);
      revision_ = read.at("revision").get<int64_t>();
      for (const json& row : read.at("keys"))
        rows_[bytes_of(row.at(0))] = {bytes_of(row.at(1)), row.at(2).get<int64_t>(), row.at(3).get<int64_t>(),
                                      0};
    } catch (const json::exception& error) {
      return tl::unexpected(fmt::format("{}: not what was written there: {}", file_.string(), error.what()));
    }
    compacted_ = revision_;
    return {};
  }

  void read(const std::string& prefix, Answer<StoreRead> answer) override {
    StoreRead result{revision_, {}};
    for (auto row = rows_.lower_bound(prefix); row != rows_.end() && row->first.starts_with(prefix); ++row)
      result.entries.push_back(
          {row->first, row->second.value, row->second.created, row->second.changed, row->second.lease});
    later([answer = std::move(answer), result = std::move(result)] { answer(result); });
  }

  /// A file has no history but what watches are yet to be told.
  void keeps_all(const std::string&, Answer<bool> answer) override {
    later([answer = std::move(answer)] { answer(false); });
  }

  void transact(const StoreTransaction& transaction, Answer<StoreOutcome> answer) override {
    later([answer = std::move(answer), outcome = take(transaction)] { answer(outcome); });
  }

  void grant(std::chrono::seconds time_to_live, Answer<StoreLease> answer) override {
    const int64_t id = ++last_lease_;
    leases_[id] = {time_to_live, Clock::now() + time_to_live};
    await_expiry();
    later([answer = std::move(answer), id, time_to_live] { answer(StoreLease{id, time_to_live}); });
  }

  void keep(int64_t lease, Answer<StoreLease> answer) override {
    const auto found = leases_.find(lease);
    StoreLease kept{lease, std::chrono::seconds(0)};
    if (found != leases_.end()) {
      found->second.until = Clock::now() + found->second.time_to_live;
      kept.time_to_live = found->second.time_to_live;
    }
    later([answer = std::move(answer), kept] { answer(kept); });
  }

  void watch(const std::string& prefix, int64_t from, OnChanges on_changes, OnEnd on_end) override {
    watch_ = std::make_shared<Watch>(Watch{prefix, std::move(on_changes)});
    if (from <= compacted_) {
      later([watch = std::weak_ptr(watch_), on_end = std::move(on_end)] {
        if (!watch.expired()) on_end("the file has no history of that revision");
      });
      return;
    }
    for (const auto& [revision, entries] : history_) {
      if (revision >= from) tell(revision, entries);
    }
  }

  void change_endpoint() override { watch_.reset(); }
  std::string endpoint() const override { return file_.string(); }

 private:
  struct Lease {
    std::chrono::seconds time_to_live{0};
    Clock::time_point until{};
  };
  struct Watch {
    std::string prefix;
    OnChanges on_changes;
  };

  template <typename Handler>
  void later(Handler handler) {
    boost::asio::post(io_, [alive = std::weak_ptr(alive_), handler = std::move(handler)] {
      if (!alive.expired()) handler();
    });
  }

  bool holds(const StoreCompare& compare) const {
    if (compare.what == StoreCompare::What::kNoneChanged) {
      for (auto row = rows_.lower_bound(compare.key);
           row != rows_.end() && row->first.starts_with(compare.key); ++row)
        if (row->second.changed > compare.revision) return false;
      return true;
    }
    const auto found = rows_.find(compare.key);
    const Row row = found != rows_.end() ? found->second : Row{};
    return (compare.what == StoreCompare::What::kCreated ? row.created : row.changed) == compare.revision;
  }

  tl::expected<StoreOutcome, std::string> take(const StoreTransaction& transaction) {
    const auto refused = [&](const StorePut& put) { return put.lease != 0 && !leases_.contains(put.lease); };
    if (!std::ranges::all_of(transaction.compares, [this](const auto& compare) { return holds(compare); }) ||
        std::ranges::any_of(transaction.puts, refused))
      return StoreOutcome{false, revision_};
    const auto before = rows_;
    std::vector<StoreEntry> entries;
    const int64_t next = revision_ + 1;
    for (const StorePut& put : transaction.puts) {
      Row& row = rows_[put.key];
      row = {put.value, row.created != 0 ? row.created : next, next, put.lease};
      entries.push_back({put.key, row.value, row.created, row.changed, row.lease});
    }
    for (const StoreRange& range : transaction.erases) {
      auto row = rows_.lower_bound(range.first);
      while (row != rows_.end() && (range.end == std::string(1, '\0') || row->first < range.end)) {
        entries.push_back({row->first, std::nullopt, 0, next, 0});
        row = rows_.erase(row);
      }
    }
    if (entries.empty()) return StoreOutcome{true, revision_};
    const std::vector<uint8_t> content = json::to_cbor(to_json(rows_, next));
    if (auto saved = write_state_file(file_, std::as_bytes(std::span(content)), Outlives::kPowerCut);
        !saved) {
      rows_ = before;
      return tl::unexpected(saved.error());
    }
    revision_ = next;
    history_.emplace_back(next, entries);
    if (history_.size() > kMostHistory) {
      compacted_ = history_.front().first;
      history_.pop_front();
    }
    tell(next, entries);
    return StoreOutcome{true, next};
  }

  void tell(int64_t revision, const std::vector<StoreEntry>& entries) {
    if (watch_ == nullptr) return;
    StoreRead changes{revision, {}};
    for (const StoreEntry& entry : entries)
      if (entry.key.starts_with(watch_->prefix)) changes.entries.push_back(entry);
    if (changes.entries.empty()) return;
    later([watch = std::weak_ptr(watch_), changes = std::move(changes)] {
      if (const auto watching = watch.lock()) watching->on_changes(changes);
    });
  }

  void await_expiry() {
    Clock::time_point next = Clock::time_point::max();
    for (const auto& [id, lease] : leases_) next = std::min(next, lease.until);
    expiry_.expires_at(next);
    expiry_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      expire();
      if (!leases_.empty()) await_expiry();
    });
  }

  void expire() {
    StoreTransaction over;
    for (auto lease = leases_.begin(); lease != leases_.end();) {
      if (lease->second.until > Clock::now()) {
        ++lease;
        continue;
      }
      for (const auto& [key, row] : rows_)
        if (row.lease == lease->first) over.erases.push_back(one_key(key));
      lease = leases_.erase(lease);
    }
    if (!over.erases.empty()) (void)take(over);
  }

  boost::asio::io_context& io_;
  std::filesystem::path file_;
  boost::asio::steady_timer expiry_;
  std::map<std::string, Row> rows_;
  std::map<int64_t, Lease> leases_;
  std::deque<std::pair<int64_t, std::vector<StoreEntry>>> history_;
  int64_t revision_ = 1;
  int64_t compacted_ = 1;
  int64_t last_lease_ = 0;
  std::shared_ptr<Watch> watch_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>();
};

}  // namespace

tl::expected<std::unique_ptr<ConfigStore>, std::string> make_file_store(boost::asio::io_context& io,
                                                                        const std::filesystem::path& file) {
  auto store = std::make_unique<FileStore>(io, file);
  if (auto loaded = store->load(); !loaded) return tl::unexpected(loaded.error());
  return std::unique_ptr<ConfigStore>(std::move(store));
}

}  // namespace linimo
