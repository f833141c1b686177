#include "tests/fleet/store.h"

#include <algorithm>
#include <utility>

namespace linimo::fleet {

const Store::Row* Store::find(const Key& key) const {
  const auto found = now_.rows.find(key);
  return found != now_.rows.end() ? &found->second : nullptr;
}

bool Store::holds(const Compare& compare) const {
  if (compare.what == Compare::What::kNoneChanged) {
    for (auto row = now_.rows.lower_bound(compare.key); row != now_.rows.end(); ++row) {
      if (row->first.kind != compare.key.kind || row->first.number != compare.key.number) break;
      if (row->second.changed > compare.revision) return false;
    }
    return true;
  }
  const Row* row = find(compare.key);
  const bool created = compare.what == Compare::What::kCreated;
  return (row == nullptr ? 0 : created ? row->created : row->changed) == compare.revision;
}

void Store::write(Key key, std::shared_ptr<const Value> value, int64_t lease) {
  Row& row = now_.rows[key];
  if (row.lease != 0) now_.leases[row.lease].keys.erase(key);
  if (row.created == 0) row.created = now_.revision;
  row.changed = now_.revision;
  row.lease = lease;
  row.value = std::move(value);
  if (lease != 0) now_.leases[lease].keys.insert(key);
  log_.push_back({std::move(key), row.value, row.created, row.changed, row.lease});
}

void Store::remove(const Key& key) {
  const auto found = now_.rows.find(key);
  if (found == now_.rows.end()) return;
  const auto lease = now_.leases.find(found->second.lease);
  if (lease != now_.leases.end()) lease->second.keys.erase(key);
  now_.rows.erase(found);
  log_.push_back({key, nullptr, 0, now_.revision, 0});
}

bool Store::transact(const Transact& transaction) {
  for (const Compare& compare : transaction.compares) {
    if (!holds(compare)) return false;
  }
  for (const Put& put : transaction.puts) {
    if (put.lease != 0 && !now_.leases.contains(put.lease)) return false;
  }
  ++now_.revision;
  for (const Put& put : transaction.puts) write(put.key, put.value, put.lease);
  for (const Key& key : transaction.erases) remove(key);
  if (transaction.forget_below != 0) {
    std::vector<Key> old;
    for (auto row = now_.rows.lower_bound(Key{KeyKind::kReady}); row != now_.rows.end(); ++row) {
      if (row->first.kind != KeyKind::kReady || row->first.number >= transaction.forget_below) break;
      old.push_back(row->first);
    }
    for (const Key& key : old) remove(key);
  }
  return true;
}

void Store::put(Key key, Value value) {
  ++now_.revision;
  write(std::move(key), std::make_shared<const Value>(std::move(value)), 0);
}

void Store::erase(const Key& key) {
  if (find(key) == nullptr) return;
  ++now_.revision;
  remove(key);
}

int64_t Store::grant(Virtual now) {
  now_.leases[next_lease_].expires = now + lease_;
  return next_lease_++;
}

bool Store::keep(int64_t lease, Virtual now) {
  const auto found = now_.leases.find(lease);
  if (found == now_.leases.end()) return false;
  found->second.expires = now + lease_;
  return true;
}

bool Store::expire(Virtual now) {
  bool any = false;
  for (auto lease = now_.leases.begin(); lease != now_.leases.end();) {
    if (lease->second.expires > now) {
      ++lease;
      continue;
    }
    const std::set<Key> keys = std::move(lease->second.keys);
    lease = now_.leases.erase(lease);
    if (keys.empty()) continue;
    any = true;
    ++now_.revision;
    for (const Key& key : keys) remove(key);
  }
  return any;
}

std::vector<Entry> Store::entries(const Image& image) {
  std::vector<Entry> result;
  result.reserve(image.rows.size());
  for (const auto& [key, row] : image.rows)
    result.push_back({key, row.value, row.created, row.changed, row.lease});
  return result;
}

bool Store::changes(int64_t from, int64_t to, std::vector<Entry>& out) const {
  if (from <= compacted_) return false;
  auto first = std::lower_bound(log_.begin(), log_.end(), from, [](const Entry& entry, int64_t revision) {
    return entry.changed < revision;
  });
  for (; first != log_.end() && first->changed <= to; ++first) out.push_back(*first);
  return true;
}

void Store::restore(Image image, Virtual now) {
  now_ = std::move(image);
  for (auto& [id, lease] : now_.leases) lease.expires = now + lease_;
  log_.clear();
  compacted_ = now_.revision;
}

}  // namespace linimo::fleet
