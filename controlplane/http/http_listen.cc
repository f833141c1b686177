#include "controlplane/http/http_listen.h"

#include <utility>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <sys/stat.h>

#include "maglev/os/peer.h"

namespace linimo {

namespace asio = boost::asio;
using boost::system::error_code;

HttpAcceptor listen_on(asio::io_context& io, const std::filesystem::path& socket) {
  std::error_code ignored;
  std::filesystem::remove(socket, ignored);
  HttpAcceptor acceptor(io);
  acceptor.open(asio::local::stream_protocol());
  // Everybody may connect: what each may do is the server's to say, who knows by the kernel who it is.
  const mode_t mask = umask(0111);
  error_code error;
  acceptor.bind(asio::local::stream_protocol::endpoint(socket.string()), error);
  umask(mask);
  if (error) throw std::system_error(error, socket.string());
  acceptor.listen();
  return acceptor;
}

HttpAcceptor listen_on(asio::io_context& io, const TcpEndpoint& where) {
  const asio::ip::tcp::endpoint endpoint(asio::ip::make_address(where.address.to_string()), where.port);
  HttpAcceptor acceptor(io);
  acceptor.open(endpoint.protocol());
  acceptor.set_option(asio::socket_base::reuse_address(true));
  error_code error;
  acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) throw std::system_error(error, where.to_string());
  return acceptor;
}

std::string origin_of(HttpSocket& socket) {
  if (const auto peer = peer_of(socket.native_handle())) return "user " + std::to_string(peer->uid);
  error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return {};
  const auto bytes = [](const auto& address, size_t count) {
    return std::string(reinterpret_cast<const char*>(&address), count);
  };
  const sockaddr* address = endpoint.data();
  if (address->sa_family == AF_INET)
    return bytes(reinterpret_cast<const sockaddr_in*>(address)->sin_addr, sizeof(in_addr));
  if (address->sa_family == AF_INET6)
    return bytes(reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, sizeof(in6_addr) / 2);
  return {};
}

}  // namespace linimo
