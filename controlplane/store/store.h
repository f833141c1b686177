// Where a fleet keeps what its nodes share: five verbs, whatever the engine.
//
//   store.read(prefix, [](tl::expected<StoreRead, std::string> read) { ... });
//   store.watch(prefix, read->revision + 1, on_changes, on_end);
//   store.transact(transaction, on_outcome);
//   store.grant(5s, on_lease);   store.keep(lease, on_lease);
//
// Each answers once, on the event loop's thread, never before the call has returned; an error says why, and
// then it is not known whether a transaction was done. A revision is the store's: one more with each
// transaction that changes anything. Keys and values are bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

namespace linimo {

struct StoreEntry {
  std::string key;
  std::optional<std::string> value;  // none: the key was deleted
  int64_t created = 0;               // revision at which the key was last created
  int64_t changed = 0;               // revision of this value, or of the deletion
  int64_t lease = 0;                 // 0: none
};

/// All keys of a prefix as of a revision; or all changes up to it.
struct StoreRead {
  int64_t revision = 0;
  std::vector<StoreEntry> entries;
};

/// A key that is not there has revisions of 0.
struct StoreCompare {
  enum class What : uint8_t {
    kCreated,     // the key was created at `revision`
    kChanged,     // its last change was at `revision`
    kNoneChanged  // no key that begins with `key` and is there was changed behind `revision`
  };
  std::string key;
  What what = What::kChanged;
  int64_t revision = 0;
};

struct StorePut {
  std::string key;
  std::string value;
  int64_t lease = 0;  // 0: none
};

/// Keys from the first on and before the second.
struct StoreRange {
  std::string first;
  std::string end;
};

/// Done whole, if every comparison holds and every lease lasts. Together at most kMostOperations and
/// kMostBytes (etcd refuses more than 128, and more than 1.5 MiB).
struct StoreTransaction {
  static constexpr size_t kMostOperations = 120;
  static constexpr size_t kMostBytes = 1 << 20;

  std::vector<StoreCompare> compares;
  std::vector<StorePut> puts;
  std::vector<StoreRange> erases;
};

struct StoreOutcome {
  bool done = false;  // else a comparison did not hold, or a lease is over
  int64_t revision = 0;
};

struct StoreLease {
  int64_t id = 0;
  std::chrono::milliseconds time_to_live{0};  // 0: it is over
};

class ConfigStore {
 public:
  template <typename Result>
  using Answer = std::function<void(tl::expected<Result, std::string>)>;
  using OnChanges = std::function<void(const StoreRead&)>;
  using OnEnd = std::function<void(const std::string& why)>;

  virtual ~ConfigStore() = default;

  virtual void read(const std::string& prefix, Answer<StoreRead> answer) = 0;
  virtual void transact(const StoreTransaction& transaction, Answer<StoreOutcome> answer) = 0;
  virtual void grant(std::chrono::seconds time_to_live, Answer<StoreLease> answer) = 0;
  virtual void keep(int64_t lease, Answer<StoreLease> answer) = 0;

  /// Changes from a revision on, in their order, those of one transaction perhaps in several calls; until it
  /// ends, which is said once, with the reason (it was compacted, the member has no leader, the connection
  /// went): then read again. Ends the watch before, silently.
  virtual void watch(const std::string& prefix, int64_t from, OnChanges on_changes, OnEnd on_end) = 0;

  /// Whether the history behind a prefix is all there, from the first revision on: nothing was ever
  /// compacted.
  virtual void keeps_all(const std::string& prefix, Answer<bool> answer) = 0;

  /// What is asked from now on goes to another member, where there is one. Ends the watch silently.
  virtual void change_endpoint() = 0;
  /// Who is asked at present, for people.
  virtual std::string endpoint() const = 0;
};

inline StoreRange one_key(const std::string& key) {
  return {key, key + '\0'};
}
/// All that begin with a prefix. As etcd has it, no key is empty, and an end of "\0" is that of all keys.
StoreRange with_prefix(const std::string& prefix);

}  // namespace linimo
