// Serves the metrics over TCP, on the address that [metrics] listen names; with `page = true` the status page
// and what it reads as well. Whoever reaches that address may read them; what changes anything stays on the
// control socket.
//
// Lives on the serving thread.
#pragma once

#include <boost/asio/io_context.hpp>

#include "controlplane/config/config.h"
#include "controlplane/http/tcp_server.h"

namespace linimo {

class MetricsListener {
 public:
  /// `metrics` answers alone, or `reads` where the page is wanted.
  MetricsListener(boost::asio::io_context& io, HttpServer::Handler metrics, HttpServer::Handler reads,
                  TcpServer::Tell tell);

  /// To be called again after each reload.
  void follow(const MetricsConfig& config);

 private:
  boost::asio::io_context& io_;
  HttpServer::Handler metrics_;
  HttpServer::Handler reads_;
  MetricsConfig config_;
  TcpServer server_;
};

}  // namespace linimo
