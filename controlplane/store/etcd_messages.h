// Between what the store's interface says and etcd's messages. Pure.
#pragma once

#include "controlplane/store/store.h"
#include "etcd.pb.h"

namespace linimo {

etcdserverpb::TxnRequest request_of(const StoreTransaction& transaction);
StoreRead read_of(const etcdserverpb::RangeResponse& response);
/// Of a response with events: complete up to the last one's revision, of which more may follow.
StoreRead read_of(const etcdserverpb::WatchResponse& response);

}  // namespace linimo
