#include "controlplane/http/metrics_listener.h"

namespace linimo {
namespace {

// Whoever reaches the address may connect. Nothing that is served here takes a body.
constexpr HttpLimits kLimits{.body_bytes = 0, .connections = 64, .streams = 16, .connections_of_peer = 16};

}  // namespace

MetricsListener::MetricsListener(boost::asio::io_context& io, HttpServer::Handler metrics,
                                 HttpServer::Handler reads, TcpServer::Tell tell)
    : io_(io),
      metrics_(std::move(metrics)),
      reads_(std::move(reads)),
      server_(io, "metrics", std::move(tell)) {}

void MetricsListener::follow(const MetricsConfig& config) {
  if (config == config_) return;
  config_ = config;
  if (!config_.listen) return server_.stop();
  server_.serve(*config_.listen, [this] {
    return std::make_unique<HttpServer>(io_, *config_.listen, config_.page ? reads_ : metrics_, kLimits);
  });
}

}  // namespace linimo
