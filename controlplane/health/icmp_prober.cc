#include "controlplane/health/icmp_prober.h"

#include <array>
#include <cerrno>
#include <random>
#include <span>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <fmt/format.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <sys/socket.h>

#include "controlplane/health/socket_address.h"
#include "controlplane/health/timed_probe.h"

namespace linimo {
namespace {

/// An echo request, and what of it comes back in the reply. Both families share this form (RFC 4443, 4.1).
/// The token tells our reply from others': a raw socket sees those of every process, and an identifier of 16
/// bits is soon taken twice.
struct EchoMessage {
  uint8_t type = 0;
  uint8_t code = 0;
  uint16_t checksum = 0;  // of IPv6, and of any ping socket, the kernel's business
  uint16_t identifier = 0;
  uint16_t sequence = 0;
  std::array<uint8_t, 16> token{};
};
static_assert(sizeof(EchoMessage) == 24);

std::array<uint8_t, 16> random_token() {
  static std::mt19937_64 generator(std::random_device{}());
  std::array<uint8_t, 16> token;
  for (size_t i = 0; i < token.size(); i += 8) {
    const uint64_t word = generator();
    std::memcpy(token.data() + i, &word, sizeof word);
  }
  return token;
}

uint16_t internet_checksum(const EchoMessage& message) {  // RFC 1071
  std::array<uint16_t, sizeof message / 2> words;
  std::memcpy(words.data(), &message, sizeof message);
  uint32_t sum = 0;
  for (const uint16_t word : words) sum += word;
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~((sum & 0xffff) + (sum >> 16)));
}

class IcmpCheck final : public TimedCheck {
 public:
  IcmpCheck(boost::asio::io_context& io, const Address& backend, const HealthCheckConfig& config,
            Prober::Done done)
      : TimedCheck(io, config.timeout, std::move(done)), target_(backend, 0), socket_(io) {}

 private:
  bool v4() const { return target_.family() == AF_INET; }

  void begin() override {
    const int protocol = v4() ? static_cast<int>(IPPROTO_ICMP) : static_cast<int>(IPPROTO_ICMPV6);
    UniqueFd made = open_socket(target_.family(), SOCK_DGRAM, protocol);
    raw_ = !made;
    if (raw_) made = open_socket(target_.family(), SOCK_RAW, protocol);
    own(socket_, std::move(made));
    const int fd = socket_.native_handle();
    if (raw_) let_only_replies_in();
    message_.type = v4() ? static_cast<uint8_t>(ICMP_ECHO) : static_cast<uint8_t>(ICMP6_ECHO_REQUEST);
    message_.token = random_token();
    message_.sequence = htons(1);
    if (v4() && raw_) message_.checksum = internet_checksum(message_);
    // Connected, a raw socket too gets only what comes from the backend, and a ping socket the errors.
    if (connect(fd, &target_.any, target_.size) != 0 || send(fd, &message_, sizeof message_, 0) < 0)
      return fail_with_errno();
    wait();
  }

  void let_only_replies_in() {
    if (v4()) {
      icmp_filter filter{~(1u << ICMP_ECHOREPLY)};
      setsockopt(socket_.native_handle(), SOL_RAW, ICMP_FILTER, &filter, sizeof filter);
    } else {
      icmp6_filter filter;
      ICMP6_FILTER_SETBLOCKALL(&filter);
      ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
      setsockopt(socket_.native_handle(), IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter);
    }
  }

  void wait() {
    socket_.async_wait(boost::asio::posix::descriptor_base::wait_read, guarded(&IcmpCheck::on_readable));
  }

  void on_readable() {
    std::array<uint8_t, 2048> packet;
    const ssize_t length = recv(socket_.native_handle(), packet.data(), packet.size(), MSG_DONTWAIT);
    if (length < 0 && errno != EAGAIN) return fail_with_errno();
    if (length > 0 && is_our_reply({packet.data(), static_cast<size_t>(length)})) return finish({true, {}});
    wait();
  }

  bool is_our_reply(std::span<const uint8_t> packet) const {
    // Raw IPv4 sockets hand out the IP header too; its length is in the first byte (RFC 791, 3.1).
    if (v4() && raw_) {
      const size_t header = static_cast<size_t>(packet[0] & 0xf) * 4;
      if (packet.size() < header) return false;
      packet = packet.subspan(header);
    }
    EchoMessage reply;
    if (packet.size() < sizeof reply) return false;
    std::memcpy(&reply, packet.data(), sizeof reply);
    return reply.type ==
               (v4() ? static_cast<uint8_t>(ICMP_ECHOREPLY) : static_cast<uint8_t>(ICMP6_ECHO_REPLY)) &&
           reply.token == message_.token;
  }

  void on_timeout() override {
    finish({false, fmt::format("icmp: no reply within {} ms", timeout().count())});
  }
  void fail_with_errno() { finish(failed_call("icmp", errno)); }

  SocketAddress target_;
  boost::asio::posix::stream_descriptor socket_;
  bool raw_ = false;
  EchoMessage message_;
};

class IcmpProber final : public Prober {
 public:
  explicit IcmpProber(boost::asio::io_context& io) : io_(io) {}
  std::unique_ptr<Probe> start(const Address& backend, const HealthCheckConfig& config, Done done) override {
    return std::make_unique<TimedProbe>(std::make_shared<IcmpCheck>(io_, backend, config, std::move(done)));
  }

 private:
  boost::asio::io_context& io_;
};

}  // namespace

std::unique_ptr<Prober> make_icmp_prober(boost::asio::io_context& io) {
  return std::make_unique<IcmpProber>(io);
}

}  // namespace linimo
