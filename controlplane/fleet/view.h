// A node's picture of the store: one read of everything, and the changes since.
//
//   View view = view_of(read.entries, read.revision);
//   view.take(change);                    // in the order of their revisions; what is known already does
//   nothing
//
// Transactions may arrive in several messages. Nothing here depends on two keys that change together.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/fleet/records.h"

namespace linimo::fleet {

/// A value of the store, or none, and its place in the store's history.
template <typename Record>
struct Held {
  std::shared_ptr<const Record> record;
  int64_t created = 0;
  int64_t changed = 0;  // 0: the key is not there
  int64_t lease = 0;

  explicit operator bool() const { return record != nullptr; }
  const Record* operator->() const { return record.get(); }
  const Record& operator*() const { return *record; }
};

struct View {
  int64_t revision = 0;   // of the store, up to which this is complete; 0: it was never read
  uint64_t version = 0;   // grows with each change of what is below
  uint64_t of_nodes = 0;  // the same, of who lives

  Held<EpochRecord> epoch;
  Held<RevisionRecord> newest;
  Held<ActiveRecord> active;
  Held<StateRecord> state;
  Held<LeaderRecord> leader;
  std::map<std::string, Held<NodeRecord>> nodes;
  std::map<std::string, Held<ObservationsRecord>> observations;
  std::map<std::pair<uint64_t, std::string>, Held<ReadyRecord>>
      ready;  // of revisions that may yet be activated
  std::set<std::string> drained_backends;
  std::set<std::string> drained_nodes;
  std::set<std::string> unreadable;  // keys, for people; at most kMostUnreadable

  static constexpr size_t kMostUnreadable = 8;

  void take(const Entry& entry);
  /// All up to there was taken.
  void complete_to(int64_t store_revision);

  uint64_t epoch_number() const { return epoch ? epoch->number : 0; }
  uint64_t active_number() const { return active ? active->number : 0; }
  /// The revision that waits to be activated; 0: none does.
  uint64_t candidate() const { return newest && newest->number > active_number() ? newest->number : 0; }

 private:
  void drop_stale_ready();
};

View view_of(const std::vector<Entry>& entries, int64_t revision);

}  // namespace linimo::fleet
