#include "controlplane/member/beacon.h"

#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "controlplane/fleet/codec.h"
#include "controlplane/log.h"

namespace linimo {
namespace {

using boost::asio::ip::udp;

constexpr size_t kMacBytes = 16;
constexpr std::chrono::seconds kRetry{1};

std::array<unsigned char, kMacBytes> mac_of(std::string_view content, std::string_view secret) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> full{};
  unsigned length = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(content.data()), content.size(), full.data(), &length);
  std::array<unsigned char, kMacBytes> mac{};
  std::memcpy(mac.data(), full.data(), mac.size());
  return mac;
}

udp::endpoint endpoint_of(const TcpEndpoint& peer) {
  return {boost::asio::ip::make_address(peer.address.to_string()), peer.port};
}

}  // namespace

std::string sign(const FromPeer& said, std::string_view secret) {
  const std::string content = std::visit([](const auto& one) { return fleet::encode(one); }, said);
  const auto mac = mac_of(content, secret);
  return std::string(reinterpret_cast<const char*>(mac.data()), mac.size()) + content;
}

tl::expected<FromPeer, std::string> verify(std::string_view datagram, std::string_view secret) {
  if (datagram.size() < kMacBytes) return tl::unexpected(std::string("too short"));
  const std::string_view content = datagram.substr(kMacBytes);
  const auto mac = mac_of(content, secret);
  if (CRYPTO_memcmp(mac.data(), datagram.data(), mac.size()) != 0)
    return tl::unexpected(std::string("signed with another secret"));
  if (fleet::is_flow_news(content)) return fleet::decode_flow_news(content);
  return fleet::decode_heartbeat(content);
}

Beacon::Beacon(boost::asio::io_context& io, std::string secret, OnSaid on_said)
    : secret_(std::move(secret)), on_said_(std::move(on_said)), socket_(io), again_(io) {}

void Beacon::open(const std::vector<TcpEndpoint>& peers) {
  const auto bound = bind(peers);
  if (bound) return receive();
  if (!std::exchange(complained_, true)) log_warning("no heartbeats, trying again", {{"why", bound.error()}});
  again_.expires_after(kRetry);
  again_.async_wait([this, peers](const boost::system::error_code& error) {
    if (!error) open(peers);
  });
}

tl::expected<void, std::string> Beacon::bind(const std::vector<TcpEndpoint>& peers) {
  std::string why = "there are none";
  const TcpEndpoint* own = nullptr;
  for (const TcpEndpoint& peer : peers) {
    boost::system::error_code error;
    const udp::endpoint endpoint = endpoint_of(peer);
    socket_.close(error);
    socket_.open(endpoint.protocol(), error);
    if (!error) socket_.bind(endpoint, error);
    if (!error) {
      own = &peer;
      break;
    }
    why = fmt::format("{}: {}", peer.to_string(), error.message());
  }
  if (own == nullptr)
    return tl::unexpected(fmt::format("no address of [fleet] peers is one of this machine ({})", why));
  for (const TcpEndpoint& peer : peers)
    if (peer.address.is_v4() == own->address.is_v4() && peer != *own) others_.push_back(endpoint_of(peer));
  socket_.non_blocking(true);
  return {};
}

void Beacon::send(const FromPeer& said) {
  if (!socket_.is_open()) return;
  const std::string datagram = sign(said, secret_);
  for (const udp::endpoint& other : others_) {
    boost::system::error_code ignored;  // a hint that is lost is no loss
    socket_.send_to(boost::asio::buffer(datagram), other, 0, ignored);
  }
}

void Beacon::send_to(const Endpoint& other, const FromPeer& said) {
  boost::system::error_code ignored;
  if (socket_.is_open()) socket_.send_to(boost::asio::buffer(sign(said, secret_)), other, 0, ignored);
}

void Beacon::receive() {
  socket_.async_receive_from(boost::asio::buffer(datagram_), sender_,
                             [this](const boost::system::error_code& error, size_t length) {
                               if (error == boost::asio::error::operation_aborted) return;
                               if (!error) {
                                 const auto said = verify({datagram_.data(), length}, secret_);
                                 if (said)
                                   on_said_(*said, sender_);
                                 else
                                   ++refused_;
                               }
                               receive();
                             });
}

}  // namespace linimo
