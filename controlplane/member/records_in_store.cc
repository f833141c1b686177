#include "controlplane/member/records_in_store.h"

#include <fmt/format.h>

#include "controlplane/fleet/codec.h"

namespace linimo {
namespace {

StoreCompare::What what_of(fleet::Compare::What what) {
  switch (what) {
    case fleet::Compare::What::kCreated:
      return StoreCompare::What::kCreated;
    case fleet::Compare::What::kChanged:
      return StoreCompare::What::kChanged;
    case fleet::Compare::What::kNoneChanged:
      break;
  }
  return StoreCompare::What::kNoneChanged;
}

}  // namespace

std::vector<fleet::Entry> RecordsInStore::entries(
    const StoreRead& read,
    const std::function<void(const std::string&, const std::string&)>& complain) const {
  const size_t length = records().size();
  std::vector<fleet::Entry> entries;
  for (const StoreEntry& entry : read.entries) {
    const auto key = fleet::key_of(std::string_view(entry.key).substr(std::min(length, entry.key.size())));
    if (!key) continue;
    fleet::Entry& one = entries.emplace_back();
    one.key = *key;
    one.created = entry.created;
    one.changed = entry.changed;
    one.lease = entry.lease;
    if (!entry.value) continue;
    auto value = fleet::decode(key->kind, *entry.value);
    if (!value) complain(entry.key, value.error());
    one.value = std::make_shared<const fleet::Value>(value ? std::move(*value) : fleet::Value());
  }
  return entries;
}

StoreTransaction RecordsInStore::transaction(const fleet::Transact& wanted) const {
  StoreTransaction transaction;
  for (const fleet::Compare& compare : wanted.compares)
    transaction.compares.push_back({key(compare.key), what_of(compare.what), compare.revision});
  for (const fleet::Put& put : wanted.puts)
    transaction.puts.push_back({key(put.key), encode(*put.value), put.lease});
  for (const fleet::Key& erased : wanted.erases) transaction.erases.push_back(one_key(key(erased)));
  if (wanted.forget_below != 0) {
    for (const char* kind : {"now/ready/", "config/", "history/"})
      transaction.erases.push_back(
          {prefix_ + kind, fmt::format("{}{}{:020}", prefix_, kind, wanted.forget_below)});
  }
  return transaction;
}

}  // namespace linimo
