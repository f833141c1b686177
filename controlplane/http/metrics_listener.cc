#include "controlplane/http/metrics_listener.h"

#include "controlplane/log.h"

namespace linimo {
namespace {

constexpr std::chrono::seconds kRetry{5};
// Whoever reaches the address may connect. Nothing that is served here takes a body.
constexpr HttpLimits kLimits{.body_bytes = 0, .connections = 64, .streams = 16, .connections_of_peer = 16};

}  // namespace

MetricsListener::MetricsListener(boost::asio::io_context& io, HttpServer::Handler metrics,
                                 HttpServer::Handler reads)
    : io_(io), metrics_(std::move(metrics)), reads_(std::move(reads)), retry_(io) {}

void MetricsListener::follow(const MetricsConfig& config) {
  if (config == config_) return;
  config_ = config;
  retry_.cancel();
  server_.reset();  // first: the new address may be the old one under another name
  open();
}

void MetricsListener::open() {
  if (!config_.listen) return;
  try {
    server_.emplace(io_, *config_.listen, config_.page ? reads_ : metrics_, kLimits);
    log_info("serving metrics", {{"listen", config_.listen->to_string()}});
  } catch (const std::system_error& error) {
    log_error("metrics are not served, trying again", {{"why", error.what()}});
    retry_.expires_after(kRetry);
    retry_.async_wait([this](const boost::system::error_code& cancelled) {
      if (!cancelled) open();
    });
  }
}

}  // namespace linimo
