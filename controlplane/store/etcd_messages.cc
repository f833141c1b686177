#include "controlplane/store/etcd_messages.h"

namespace linimo {
namespace {

namespace etcd = etcdserverpb;

StoreEntry entry_of(const etcd::KeyValue& kv, bool deleted) {
  StoreEntry entry;
  entry.key = kv.key();
  entry.changed = kv.mod_revision();
  if (deleted) return entry;
  entry.value = kv.value();
  entry.created = kv.create_revision();
  entry.lease = kv.lease();
  return entry;
}

void add(etcd::TxnRequest& request, const StoreCompare& wanted) {
  etcd::Compare& compare = *request.add_compare();
  compare.set_key(wanted.key);
  switch (wanted.what) {
    case StoreCompare::What::kCreated:
      compare.set_target(etcd::Compare::CREATE);
      compare.set_create_revision(wanted.revision);
      break;
    case StoreCompare::What::kChanged:
      compare.set_target(etcd::Compare::MOD);
      compare.set_mod_revision(wanted.revision);
      break;
    case StoreCompare::What::kNoneChanged:
      compare.set_target(etcd::Compare::MOD);
      compare.set_result(etcd::Compare::LESS);
      compare.set_mod_revision(wanted.revision + 1);
      compare.set_range_end(with_prefix(wanted.key).end);
      break;
  }
}

}  // namespace

etcd::TxnRequest request_of(const StoreTransaction& transaction) {
  etcd::TxnRequest request;
  for (const StoreCompare& wanted : transaction.compares) add(request, wanted);
  for (const StorePut& wanted : transaction.puts) {
    etcd::PutRequest& put = *request.add_success()->mutable_request_put();
    put.set_key(wanted.key);
    put.set_value(wanted.value);
    put.set_lease(wanted.lease);
  }
  for (const StoreRange& wanted : transaction.erases) {
    etcd::DeleteRangeRequest& erased = *request.add_success()->mutable_request_delete_range();
    erased.set_key(wanted.first);
    erased.set_range_end(wanted.end);
  }
  return request;
}

StoreRead read_of(const etcd::RangeResponse& response) {
  StoreRead read{response.header().revision(), {}};
  read.entries.reserve(static_cast<size_t>(response.kvs_size()));
  for (const etcd::KeyValue& kv : response.kvs()) read.entries.push_back(entry_of(kv, false));
  return read;
}

StoreRead read_of(const etcd::WatchResponse& response) {
  StoreRead read;
  read.entries.reserve(static_cast<size_t>(response.events_size()));
  for (const etcd::Event& event : response.events())
    read.entries.push_back(entry_of(event.kv(), event.type() == etcd::Event::DELETE));
  if (!read.entries.empty()) read.revision = read.entries.back().changed;
  return read;
}

}  // namespace linimo
