#include "controlplane/fleet/view.h"

namespace linimo::fleet {
namespace {

/// What an entry says of a key of this type: nothing, where it was deleted or holds something else.
template <typename Record>
Held<Record> held(const Entry& entry) {
  Held<Record> result;
  if (!entry.value) return result;
  // What cannot be read has a place in the history all the same: whoever writes the key must know it.
  result.created = entry.created;
  result.changed = entry.changed;
  result.lease = entry.lease;
  if (const auto* record = std::get_if<Record>(entry.value.get()))
    result.record = std::shared_ptr<const Record>(entry.value, record);
  return result;
}

template <typename Name, typename Record>
void put(std::map<Name, Held<Record>>& map, Name name, const Entry& entry) {
  if (entry.value) {
    map[std::move(name)] = held<Record>(entry);
  } else {
    map.erase(name);
  }
}

void put(std::set<std::string>& set, const Entry& entry) {
  if (entry.value) {
    set.insert(entry.key.name);
  } else {
    set.erase(entry.key.name);
  }
}

}  // namespace

void View::take(const Entry& entry) {
  if (entry.changed < revision) return;  // of the last revision, more may come
  ++version;
  const bool unread = entry.value && std::holds_alternative<std::monostate>(*entry.value);
  if (unread && unreadable.size() < kMostUnreadable) unreadable.insert(text(entry.key));
  if (!unread && !unreadable.empty()) unreadable.erase(text(entry.key));
  switch (entry.key.kind) {
    case KeyKind::kEpoch:
      epoch = held<EpochRecord>(entry);
      break;
    case KeyKind::kRevision:
      newest = held<RevisionRecord>(entry);
      break;
    case KeyKind::kActive:
      active = held<ActiveRecord>(entry);
      break;
    case KeyKind::kState:
      state = held<StateRecord>(entry);
      break;
    case KeyKind::kLeader:
      leader = held<LeaderRecord>(entry);
      break;
    case KeyKind::kNode: {
      const bool lived = nodes.contains(entry.key.name);
      put(nodes, entry.key.name, entry);
      if (lived != nodes.contains(entry.key.name)) ++of_nodes;
      break;
    }
    case KeyKind::kObservations:
      put(observations, entry.key.name, entry);
      break;
    case KeyKind::kReady:
      put(ready, std::pair(entry.key.number, entry.key.name), entry);
      break;
    case KeyKind::kDrainBackend:
      put(drained_backends, entry);
      break;
    case KeyKind::kDrainNode:
      put(drained_nodes, entry);
      break;
  }
}

void View::complete_to(int64_t store_revision) {
  if (store_revision > revision) revision = store_revision;
  drop_stale_ready();
}

void View::drop_stale_ready() {
  const uint64_t wanted = candidate();
  std::erase_if(ready, [&](const auto& one) { return one.first.first != wanted; });
}

View view_of(const std::vector<Entry>& entries, int64_t revision) {
  View view;
  for (const Entry& entry : entries) view.take(entry);
  view.complete_to(revision);
  return view;
}

}  // namespace linimo::fleet
