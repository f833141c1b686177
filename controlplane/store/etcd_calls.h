// What is on its way to an etcd member. gRPC ends each call on a thread of its own: the answer goes to the
// event loop from there, and an end of the store waits until nobody is left who would do that.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <grpcpp/grpcpp.h>

#include "controlplane/store/etcd_messages.h"
#include "etcd.grpc.pb.h"

namespace linimo {

class RunningCalls {
 public:
  explicit RunningCalls(boost::asio::io_context& io) : io_(io) {}

  void add(grpc::ClientContext& context);
  /// To be called last, from gRPC's thread.
  void remove(grpc::ClientContext& context);
  /// Does nothing to one that is over.
  void cancel(grpc::ClientContext* context);
  /// Returns when there is none any more.
  void end_all();

  template <typename Handler>
  void post(Handler handler) {
    boost::asio::post(io_, std::move(handler));
  }

 private:
  boost::asio::io_context& io_;
  std::mutex mutex_;
  std::condition_variable none_;
  std::set<grpc::ClientContext*> contexts_;
};

/// One request, one answer.
template <typename Request, typename Response>
struct UnaryCall {
  grpc::ClientContext context;
  Request request;
  Response response;
};

/// One keep-alive: etcd has a stream for them, of which this takes one answer.
class KeepAliveCall final : public grpc::ClientBidiReactor<etcdserverpb::LeaseKeepAliveRequest,
                                                           etcdserverpb::LeaseKeepAliveResponse> {
 public:
  using Done = std::function<void(const grpc::Status&, bool, const etcdserverpb::LeaseKeepAliveResponse&)>;

  /// Deletes itself. `done` is called on gRPC's thread.
  static void start(etcdserverpb::Lease::Stub& stub, std::unique_ptr<grpc::ClientContext> context,
                    int64_t lease, RunningCalls& running, Done done);

  void OnReadDone(bool ok) override { answered_ = ok; }
  void OnDone(const grpc::Status& status) override;

 private:
  KeepAliveCall(std::unique_ptr<grpc::ClientContext> context, RunningCalls& running, Done done)
      : context_(std::move(context)), running_(running), done_(std::move(done)) {}

  std::unique_ptr<grpc::ClientContext> context_;
  RunningCalls& running_;
  Done done_;
  etcdserverpb::LeaseKeepAliveRequest request_;
  etcdserverpb::LeaseKeepAliveResponse response_;
  bool answered_ = false;
};

/// What the event loop and gRPC's thread both know of a watch.
struct WatchShared {
  ConfigStore::OnChanges on_changes;  // of the event loop alone, as the next
  std::function<void(const std::string& why, bool harmless)> on_end;
  std::atomic<int> waiting{0};  // messages for the event loop
  bool over = false;            // of the event loop alone
};

class WatchCall final
    : public grpc::ClientBidiReactor<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse> {
 public:
  /// Deletes itself when the context is cancelled or the other end hangs up; the context lives until then.
  static grpc::ClientContext* start(etcdserverpb::Watch::Stub& stub,
                                    std::unique_ptr<grpc::ClientContext> context,
                                    etcdserverpb::WatchRequest request, RunningCalls& running,
                                    std::shared_ptr<WatchShared> shared);

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  WatchCall(std::unique_ptr<grpc::ClientContext> context, etcdserverpb::WatchRequest request,
            RunningCalls& running, std::shared_ptr<WatchShared> shared)
      : context_(std::move(context)),
        running_(running),
        shared_(std::move(shared)),
        request_(std::move(request)) {}

  void end(std::string why, bool harmless);

  std::unique_ptr<grpc::ClientContext> context_;
  RunningCalls& running_;
  std::shared_ptr<WatchShared> shared_;
  etcdserverpb::WatchRequest request_;
  etcdserverpb::WatchResponse response_;
};

}  // namespace linimo
