#include "controlplane/store/etcd_store.h"

#include <algorithm>
#include <random>

#include <fmt/format.h>
#include <grpc/support/log.h>

#include "controlplane/store/etcd_calls.h"

namespace linimo {
namespace {

namespace etcd = etcdserverpb;
using std::chrono::milliseconds;

constexpr int kMostBytes = 64 << 20;  // of one answer
// Passwords are hashed slowly, on purpose.
constexpr milliseconds kAuthenticationTimeout{10'000};

/// Of a transaction that names a lease which is over.
bool lease_is_gone(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::NOT_FOUND;
}

/// Tokens go stale when they expire, when a member starts anew, and when users or roles change.
bool token_is_stale(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
         status.error_message().find("revision of auth store is old") != std::string::npos;
}

grpc::ChannelArguments channel_arguments() {
  grpc::ChannelArguments arguments;
  // Else channels to one member share a connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 3'000);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(kMostBytes);
  return arguments;
}

std::shared_ptr<grpc::ChannelCredentials> credentials_of(const EtcdConfig& config) {
  if (config.ca.empty()) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials({config.ca, config.key, config.certificate});
}

/// gRPC's threads for callbacks end with the last channel that has used them, and abort (1.51) where one of
/// them lets go of it, as the end of a call does. So the first channel in use stays for good.
void keep_callbacks(const std::shared_ptr<grpc::Channel>& in_use) {
  static const auto* const kept = new std::shared_ptr<grpc::Channel>(in_use);
  static_cast<void>(kept);
}

struct Member {
  Member(const std::string& of_endpoint, const EtcdConfig& config)
      : endpoint(of_endpoint),
        calls(grpc::CreateCustomChannel(endpoint, credentials_of(config), channel_arguments())),
        watches(grpc::CreateCustomChannel(endpoint, credentials_of(config), channel_arguments())) {
    kv = etcd::KV::NewStub(calls);
    lease = etcd::Lease::NewStub(calls);
    auth = etcd::Auth::NewStub(calls);
    watch = etcd::Watch::NewStub(watches);
  }

  std::string endpoint;
  std::shared_ptr<grpc::Channel> calls, watches;
  std::unique_ptr<etcd::KV::Stub> kv;
  std::unique_ptr<etcd::Lease::Stub> lease;
  std::unique_ptr<etcd::Auth::Stub> auth;
  std::unique_ptr<etcd::Watch::Stub> watch;
};

class EtcdStore final : public ConfigStore {
 public:
  EtcdStore(boost::asio::io_context& io, EtcdConfig config) : config_(std::move(config)), running_(io) {
    // What goes wrong comes back as the answer to a call; the library's own lines would not be in our log's
    // form.
    gpr_set_log_function([](gpr_log_func_args*) {});
    for (const std::string& endpoint : config_.endpoints)
      members_.push_back(std::make_unique<Member>(endpoint, config_));
    // So that not all nodes ask the first.
    current_ = std::random_device{}() % members_.size();
  }

  ~EtcdStore() override {
    alive_.reset();
    end_watch();
    running_.end_all();
  }

  void read(const std::string& prefix, Answer<StoreRead> answer) override {
    etcd::RangeRequest request;
    const StoreRange range = with_prefix(prefix);
    request.set_key(range.first);
    request.set_range_end(range.end);
    ask<etcd::RangeResponse>(
        request,
        [](Member& member, auto& call, auto done) {
          member.kv->async()->Range(&call.context, &call.request, &call.response, done);
        },
        [answer = std::move(answer)](const auto& answered) {
          if (!answered.ok) return answer(tl::unexpected(answered.why));
          answer(read_of(answered.response));
        });
  }

  void keeps_all(const std::string& prefix, Answer<bool> answer) override {
    etcd::RangeRequest request;
    request.set_key(prefix);
    request.set_revision(1);
    ask<etcd::RangeResponse>(
        request,
        [](Member& member, auto& call, auto done) {
          member.kv->async()->Range(&call.context, &call.request, &call.response, done);
        },
        [answer = std::move(answer)](const auto& answered) {
          if (answered.status.error_code() == grpc::StatusCode::OUT_OF_RANGE) return answer(false);
          if (!answered.ok) return answer(tl::unexpected(answered.why));
          answer(true);
        });
  }

  void transact(const StoreTransaction& transaction, Answer<StoreOutcome> answer) override {
    ask<etcd::TxnResponse>(
        request_of(transaction),
        [](Member& member, auto& call, auto done) {
          member.kv->async()->Txn(&call.context, &call.request, &call.response, done);
        },
        [answer = std::move(answer)](const auto& answered) {
          if (!answered.ok && lease_is_gone(answered.status)) return answer(StoreOutcome{});
          if (!answered.ok) return answer(tl::unexpected(answered.why));
          answer(StoreOutcome{answered.response.succeeded(), answered.response.header().revision()});
        });
  }

  void grant(std::chrono::seconds time_to_live, Answer<StoreLease> answer) override {
    etcd::LeaseGrantRequest request;
    request.set_ttl(time_to_live.count());
    ask<etcd::LeaseGrantResponse>(
        request,
        [](Member& member, auto& call, auto done) {
          member.lease->async()->LeaseGrant(&call.context, &call.request, &call.response, done);
        },
        [answer = std::move(answer)](const auto& answered) {
          if (!answered.ok) return answer(tl::unexpected(answered.why));
          answer(StoreLease{answered.response.id(), std::chrono::seconds(answered.response.ttl())});
        });
  }

  void keep(int64_t lease, Answer<StoreLease> answer) override {
    authenticated([this, lease, answer = std::move(answer)](const std::string& problem) {
      if (!problem.empty()) return answer(tl::unexpected(problem));
      auto context = std::make_unique<grpc::ClientContext>();
      prepare(*context);
      context->set_deadline(deadline(config_.timeout));
      keep_callbacks(member().calls);
      KeepAliveCall::start(*member().lease, std::move(context), lease, running_,
                           [this, answer, alive = std::weak_ptr(alive_), endpoint = endpoint(), lease](
                               const grpc::Status& status, bool answered, const auto& response) {
                             const StoreLease kept{lease, std::chrono::seconds(response.ttl())};
                             running_.post([answer, alive, kept, answered, why = why(endpoint, status)] {
                               if (alive.expired()) return;
                               if (answered) return answer(kept);
                               answer(tl::unexpected(why));
                             });
                           });
    });
  }

  void watch(const std::string& prefix, int64_t from, OnChanges on_changes, OnEnd on_end) override {
    end_watch();
    etcd::WatchRequest request;
    etcd::WatchCreateRequest& create = *request.mutable_create_request();
    const StoreRange range = with_prefix(prefix);
    create.set_key(range.first);
    create.set_range_end(range.end);
    create.set_start_revision(from);
    watch_ = std::make_shared<WatchShared>();
    watch_->on_changes = std::move(on_changes);
    watch_->on_end = [this, endpoint = endpoint(), on_end = std::move(on_end)](const std::string& why,
                                                                               bool harmless) {
      if (!harmless) token_.clear();  // it may be the reason, and is soon had again
      watch_context_ = nullptr;
      on_end(fmt::format("etcd {}: {}", endpoint, why));
    };
    auto context = std::make_unique<grpc::ClientContext>();
    prepare(*context);
    keep_callbacks(member().watches);
    watch_context_ =
        WatchCall::start(*member().watch, std::move(context), std::move(request), running_, watch_);
  }

  void change_endpoint() override {
    end_watch();
    current_ = (current_ + 1) % members_.size();
  }

  std::string endpoint() const override { return members_[current_]->endpoint; }

 private:
  template <typename Response>
  struct Answered {
    bool ok = false;
    std::string why;
    grpc::Status status;
    Response response;
  };

  Member& member() { return *members_[current_]; }
  static std::chrono::system_clock::time_point deadline(milliseconds timeout) {
    return std::chrono::system_clock::now() + timeout;  // gRPC makes a duration of it at once
  }

  void prepare(grpc::ClientContext& context) const {
    context.AddMetadata("hasleader", "true");
    if (!token_.empty()) context.AddMetadata("token", token_);
  }

  static std::string why(const std::string& endpoint, const grpc::Status& status) {
    return fmt::format("etcd {}: {} (code {})", endpoint,
                       status.error_message().empty() ? "no answer" : status.error_message(),
                       static_cast<int>(status.error_code()));
  }

  void end_watch() {
    if (watch_ == nullptr) return;
    watch_->over = true;
    running_.cancel(std::exchange(watch_context_, nullptr));
    watch_.reset();
  }

  /// Sends at once.
  template <typename Response, typename Request, typename Start, typename Done>
  void send(const Request& request, milliseconds timeout, Start start, Done done) {
    auto call = std::make_shared<UnaryCall<Request, Response>>();
    call->request = request;
    prepare(call->context);
    call->context.set_deadline(deadline(timeout));
    running_.add(call->context);
    keep_callbacks(member().calls);
    start(member(), *call,
          [this, call, done = std::move(done), alive = std::weak_ptr(alive_),
           endpoint = endpoint()](grpc::Status status) {
            running_.post([call, done, alive, status, endpoint] {
              if (alive.expired()) return;
              Answered<Response> answered{status.ok(), why(endpoint, status), status, {}};
              answered.response.Swap(&call->response);
              done(answered);
            });
            running_.remove(call->context);
          });
  }

  /// Calls `then` at once or later: the next call has a token where one is needed, or why it has none.
  void authenticated(std::function<void(const std::string& problem)> then) {
    if (config_.user.empty() || !token_.empty()) return then({});
    waiting_.push_back(std::move(then));
    if (waiting_.size() != 1) return;
    etcd::AuthenticateRequest request;
    request.set_name(config_.user);
    request.set_password(config_.password);
    send<etcd::AuthenticateResponse>(
        request, kAuthenticationTimeout,
        [](Member& member, auto& call, auto done) {
          member.auth->async()->Authenticate(&call.context, &call.request, &call.response, done);
        },
        [this](const auto& answered) {
          if (answered.ok) token_ = answered.response.token();
          const std::string problem =
              answered.ok ? "" : fmt::format("user {} is not let in by {}", config_.user, answered.why);
          for (const auto& waiter : std::exchange(waiting_, {})) waiter(problem);
        });
  }

  template <typename Response, typename Request, typename Start, typename Done>
  void ask(const Request& request, Start start, Done done, bool again = true) {
    authenticated([this, request, start, done = std::move(done), again](const std::string& problem) {
      if (!problem.empty()) return done(Answered<Response>{false, problem, {}, {}});
      send<Response>(request, config_.timeout, start,
                     [this, request, start, done, again, token = token_](const Answered<Response>& answered) {
                       const bool stale =
                           !config_.user.empty() && !answered.ok && token_is_stale(answered.status);
                       if (stale && token == token_) token_.clear();
                       if (!stale || !again) return done(answered);
                       ask<Response>(request, start, done, false);
                     });
    });
  }

  EtcdConfig config_;
  RunningCalls running_;
  std::vector<std::unique_ptr<Member>> members_;
  size_t current_ = 0;
  std::string token_;
  std::vector<std::function<void(const std::string&)>> waiting_;  // for a token
  std::shared_ptr<WatchShared> watch_;
  grpc::ClientContext* watch_context_ = nullptr;  // while its call is not known to be over
  std::shared_ptr<bool> alive_ = std::make_shared<bool>();
};

}  // namespace

std::unique_ptr<ConfigStore> make_etcd_store(boost::asio::io_context& io, EtcdConfig config) {
  return std::make_unique<EtcdStore>(io, std::move(config));
}

}  // namespace linimo
