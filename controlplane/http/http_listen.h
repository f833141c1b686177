// The sockets that the HTTP server listens on.
#pragma once

#include <filesystem>
#include <string>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>

#include "controlplane/config/tcp_endpoint.h"

namespace linimo {

using HttpSocket = boost::asio::generic::stream_protocol::socket;  // one code for both kinds
using HttpAcceptor = boost::asio::basic_socket_acceptor<boost::asio::generic::stream_protocol>;

/// Both throw std::system_error. On a path what an earlier process left is removed first.
HttpAcceptor listen_on(boost::asio::io_context& io, const std::filesystem::path& socket);
HttpAcceptor listen_on(boost::asio::io_context& io, const TcpEndpoint& where);

/// Whose connections are counted together: the user of a Unix socket; over TCP the address, of IPv6 its /64,
/// within which one machine has all addresses.
std::string origin_of(HttpSocket& socket);

}  // namespace linimo
