// A store as etcd is one, as far as nodes can tell: transactions with comparisons, leases, a history that
// watches follow and that is compacted, members that lag, and what operators do to stores.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "controlplane/fleet/actions.h"

namespace linimo::fleet {

using Virtual = std::chrono::nanoseconds;  // since a simulation began

class Store {
 public:
  struct Row {
    std::shared_ptr<const Value> value;
    int64_t created = 0;
    int64_t changed = 0;
    int64_t lease = 0;
  };
  struct Lease {
    Virtual expires{0};
    std::set<Key> keys;
  };
  /// All that a backup holds.
  struct Image {
    std::map<Key, Row> rows;
    std::map<int64_t, Lease> leases;
    int64_t revision = 1;
  };

  explicit Store(Virtual lease) : lease_(lease) {}

  const Image& image() const { return now_; }
  int64_t revision() const { return now_.revision; }
  const Row* find(const Key& key) const;
  template <typename Record>
  const Record* record(const Key& key) const {
    const Row* row = find(key);
    return row != nullptr ? std::get_if<Record>(row->value.get()) : nullptr;
  }

  /// False: a comparison does not hold, or a lease is not there.
  bool transact(const Transact& transaction);
  /// By an operator, who compares what is needed.
  void put(Key key, Value value);
  void erase(const Key& key);

  int64_t grant(Virtual now);
  /// False: it has expired.
  bool keep(int64_t lease, Virtual now);
  /// Ends those that are over. True when any was.
  bool expire(Virtual now);

  static std::vector<Entry> entries(const Image& image);
  /// Changes from a revision up to another one, of both inclusive; nothing where the first is compacted away.
  bool changes(int64_t from, int64_t to, std::vector<Entry>& out) const;
  void compact() {
    compacted_ = now_.revision;
    log_.clear();
  }

  /// From a backup, at `now`: leases begin anew, as etcd's do.
  void restore(Image image, Virtual now);

 private:
  bool holds(const Compare& compare) const;
  void write(Key key, std::shared_ptr<const Value> value, int64_t lease);
  void remove(const Key& key);

  Virtual lease_;
  Image now_;
  std::deque<Entry> log_;
  int64_t compacted_ = 0;
  int64_t next_lease_ = 1;
};

}  // namespace linimo::fleet
