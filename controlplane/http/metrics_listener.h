// Serves the metrics over TCP, and nothing else: `GET /metrics` on the address that [metrics] listen names.
// Whoever reaches that address may read them; the API stays on the control socket.
//
// Lives on the serving thread.
#pragma once

#include <optional>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "controlplane/config/config.h"
#include "controlplane/http/http_server.h"

namespace linimo {

class MetricsListener {
 public:
  MetricsListener(boost::asio::io_context& io, HttpServer::Handler handler);

  /// To be called again after each reload. An address that cannot be had is logged and tried again: what
  /// Prometheus sees must not decide whether packets are forwarded.
  void follow(const MetricsConfig& config);

 private:
  void open();

  boost::asio::io_context& io_;
  HttpServer::Handler handler_;
  MetricsConfig config_;
  std::optional<HttpServer> server_;
  boost::asio::steady_timer retry_;
};

}  // namespace linimo
