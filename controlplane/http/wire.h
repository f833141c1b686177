// The bytes of one connection of the HTTP server, plain or under TLS (tls.h).
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/buffer.hpp>
#include <boost/system/error_code.hpp>

#include "controlplane/http/http_listen.h"

namespace linimo {

/// One read and one write may be under way at a time. Whoever waits for one keeps the wire alive.
class Wire {
 public:
  using Buffers = std::array<boost::asio::const_buffer, 2>;
  using Done = std::function<void(const boost::system::error_code&, size_t bytes)>;

  virtual ~Wire() = default;
  /// Before anything else: it may take a handshake.
  virtual void open(Done done) = 0;
  /// Something, or the end as an error.
  virtual void read(boost::asio::mutable_buffer into, Done done) = 0;
  virtual void write(const Buffers& all, Done done) = 0;
  /// The peer is told that nothing more comes.
  virtual void end_sending(Done done) = 0;
  /// Whatever is under way ends with an error.
  virtual void close() = 0;
  /// By the certificate that the peer has shown; empty: it has shown none.
  virtual std::string client() { return {}; }
};

std::unique_ptr<Wire> plain_wire(HttpSocket socket);

}  // namespace linimo
