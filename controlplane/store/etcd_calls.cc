#include "controlplane/store/etcd_calls.h"

namespace linimo {
namespace {

constexpr int kMostWaiting = 1000;  // messages of a watch that the event loop has not taken yet

}  // namespace

void RunningCalls::add(grpc::ClientContext& context) {
  const std::lock_guard lock(mutex_);
  contexts_.insert(&context);
}

void RunningCalls::remove(grpc::ClientContext& context) {
  const std::lock_guard lock(mutex_);
  contexts_.erase(&context);
  if (contexts_.empty()) none_.notify_all();
}

void RunningCalls::cancel(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  if (contexts_.contains(context)) context->TryCancel();
}

void RunningCalls::end_all() {
  std::unique_lock lock(mutex_);
  for (grpc::ClientContext* context : contexts_) context->TryCancel();
  none_.wait(lock, [this] { return contexts_.empty(); });
}

void KeepAliveCall::start(etcdserverpb::Lease::Stub& stub, std::unique_ptr<grpc::ClientContext> context,
                          int64_t lease, RunningCalls& running, Done done) {
  auto* call = new KeepAliveCall(std::move(context), running, std::move(done));
  call->request_.set_id(lease);
  running.add(*call->context_);
  stub.async()->LeaseKeepAlive(call->context_.get(), call);
  call->StartWriteLast(&call->request_, grpc::WriteOptions());
  call->StartRead(&call->response_);
  call->StartCall();
}

void KeepAliveCall::OnDone(const grpc::Status& status) {
  done_(status, answered_, response_);
  running_.remove(*context_);
  delete this;
}

grpc::ClientContext* WatchCall::start(etcdserverpb::Watch::Stub& stub,
                                      std::unique_ptr<grpc::ClientContext> context,
                                      etcdserverpb::WatchRequest request, RunningCalls& running,
                                      std::shared_ptr<WatchShared> shared) {
  auto* call = new WatchCall(std::move(context), std::move(request), running, std::move(shared));
  grpc::ClientContext* handle = call->context_.get();
  running.add(*handle);
  stub.async()->Watch(handle, call);
  call->StartWrite(&call->request_);
  call->StartRead(&call->response_);
  call->StartCall();
  return handle;
}

void WatchCall::OnReadDone(bool ok) {
  if (!ok) return;
  if (response_.canceled()) {
    const int64_t compacted = response_.compact_revision();
    end(compacted != 0 ? "revisions up to " + std::to_string(compacted) + " were compacted away"
                       : "etcd ended it: " + response_.cancel_reason(),
        compacted != 0);
    return context_->TryCancel();
  }
  // That the watch was created is said with the store's revision, and with what came before it yet to come.
  if (response_.events_size() != 0) {
    if (++shared_->waiting > kMostWaiting) {  // reading all anew is cheaper than that, and bounded
      end("this process is behind by too many changes", true);
      return context_->TryCancel();
    }
    running_.post([shared = shared_, read = read_of(response_)] {
      --shared->waiting;
      if (!shared->over) shared->on_changes(read);
    });
  }
  response_.Clear();
  StartRead(&response_);
}

void WatchCall::OnDone(const grpc::Status& status) {
  end(status.error_message().empty() ? "the connection ended" : status.error_message(), false);
  running_.remove(*context_);
  delete this;
}

void WatchCall::end(std::string why, bool harmless) {
  running_.post([shared = shared_, why = std::move(why), harmless] {
    if (std::exchange(shared->over, true)) return;
    shared->on_end(why, harmless);
  });
}

}  // namespace linimo
