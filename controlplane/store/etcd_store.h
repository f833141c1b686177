// A store that is an etcd cluster of version 3.4 or later, by gRPC.
//
// One member at a time is asked, over two connections: large answers must not hold up the watch (etcd
// #15402). Everything that is sent has the metadata `hasleader`, without which a watch at a member that lost
// its quorum stays open and silent (etcd #10819). A frozen member is noticed by whoever keeps a lease at it:
// the answer is late, and change_endpoint() moves lease and watch together. Reads are linearizable: a member
// that lags gives none.
//
// gRPC's threads only post to the event loop, which must outlive this; all else is of the loop's thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "controlplane/store/store.h"

namespace linimo {

struct EtcdConfig {
  std::vector<std::string> endpoints;  // "host:port", at least one
  std::string ca;                      // PEM; empty: no TLS
  std::string certificate;             // PEM of this client; empty: none
  std::string key;
  std::string user;  // empty: none
  std::string password;
  std::chrono::milliseconds timeout{3000};  // of one call
};

/// Answers that are outstanding when it is destroyed never come.
std::unique_ptr<ConfigStore> make_etcd_store(boost::asio::io_context& io, EtcdConfig config);

}  // namespace linimo
