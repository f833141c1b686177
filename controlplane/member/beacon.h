// Heartbeats and news of flows between nodes, by UDP: what is sent is signed with the fleet's secret
// (HMAC-SHA-256, RFC 2104, the first 16 bytes), and what comes is read only if it is. A datagram that is
// older than one that was taken is a matter of who takes it. Lives on the event loop's thread.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <tl/expected.hpp>

#include "controlplane/config/tcp_endpoint.h"
#include "controlplane/fleet/events.h"
#include "controlplane/fleet/flow_news.h"

namespace linimo {

/// What goes over the wire, and back; nothing where it was not signed with this secret or makes no sense.
using FromPeer = std::variant<fleet::Heartbeat, fleet::FlowNews>;
std::string sign(const FromPeer& said, std::string_view secret);
tl::expected<FromPeer, std::string> verify(std::string_view datagram, std::string_view secret);

class Beacon {
 public:
  using Endpoint = boost::asio::ip::udp::endpoint;
  using OnSaid = std::function<void(const FromPeer&, const Endpoint& sender)>;

  Beacon(boost::asio::io_context& io, std::string secret, OnSaid on_said);

  /// Of the peers, the one that is an address of this machine is this node. Where none is, it may come: tries
  /// again.
  void open(const std::vector<TcpEndpoint>& peers);
  void send(const FromPeer& said);
  void send_to(const Endpoint& other, const FromPeer& said);

  /// Datagrams that were not taken: signed with another secret, cut, or made up.
  uint64_t refused() const { return refused_; }

 private:
  tl::expected<void, std::string> bind(const std::vector<TcpEndpoint>& peers);
  void receive();

  std::string secret_;
  OnSaid on_said_;
  boost::asio::ip::udp::socket socket_;
  boost::asio::steady_timer again_;
  bool complained_ = false;
  std::vector<Endpoint> others_;
  std::array<char, 2048> datagram_;
  Endpoint sender_;
  uint64_t refused_ = 0;
};

}  // namespace linimo
