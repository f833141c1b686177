// Who this server is, and whose clients it takes: TLS with certificates on both sides (RFC 8446; 1.2 at
// least). Nothing of HTTP is read before the client's certificate is verified.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include <tl/expected.hpp>

#include "controlplane/http/wire.h"

namespace boost::asio::ssl {
class context;
}

namespace linimo {

class TlsIdentity {
 public:
  struct Files {
    std::filesystem::path cert, key, client_ca;  // PEM; the certificate with those that lead to its root
  };
  /// As the files are now; the error names the one that will not do.
  static tl::expected<TlsIdentity, std::string> load(const Files& files);

  std::unique_ptr<Wire> wire(HttpSocket socket) const;
  /// Of the server's certificate.
  struct Validity {
    std::chrono::sys_seconds begin, end;
  };
  Validity validity() const;

 private:
  explicit TlsIdentity(std::shared_ptr<boost::asio::ssl::context> context) : context_(std::move(context)) {}

  std::shared_ptr<boost::asio::ssl::context> context_;
};

}  // namespace linimo
