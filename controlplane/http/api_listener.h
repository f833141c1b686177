// Serves the API over TLS, on the address that [api] listen names, to clients with a certificate of
// client_ca_file: those whose name is among `operators` may do what root may on the control socket, all
// others may read what everybody may there.
//
// Lives on the serving thread.
#pragma once

#include <optional>

#include <boost/asio/io_context.hpp>

#include "controlplane/config/config.h"
#include "controlplane/http/tcp_server.h"
#include "controlplane/http/tls.h"

namespace linimo {

class ApiListener {
 public:
  /// `tell` also of certificates that will not do, or not for much longer.
  ApiListener(boost::asio::io_context& io, HttpServer::Handler answer, uint64_t body_bytes,
              TcpServer::Tell tell);

  /// To be called again after each reload. Of the same, the certificates are read again; those that will not
  /// do are logged, and the earlier ones stay. Of another, all connections end, since rights may have been
  /// withdrawn, and nothing is served until its files will do.
  void follow(const std::optional<ApiConfig>& config);

 private:
  void load_identity();
  void look();
  std::unique_ptr<HttpServer> make();
  std::string why_only_reads(const std::string& client) const;

  boost::asio::io_context& io_;
  HttpServer::Handler answer_;
  HttpLimits limits_;
  TcpServer::Tell tell_;
  std::optional<ApiConfig> config_;
  std::string unserved_, refused_files_;  // why; empty: neither
  std::optional<TlsIdentity> identity_;
  TcpServer server_;
  boost::asio::steady_timer next_look_;
};

}  // namespace linimo
