#include "controlplane/health/udp_prober.h"

#include <array>
#include <cerrno>
#include <string_view>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include "controlplane/health/socket_address.h"
#include "controlplane/health/timed_probe.h"

namespace linimo {
namespace {

class UdpCheck final : public TimedCheck {
 public:
  UdpCheck(boost::asio::io_context& io, const Address& backend, const HealthCheckConfig& config,
           Prober::Done done)
      : TimedCheck(io, config.timeout, std::move(done)),
        target_(backend, config.port),
        config_(config),
        socket_(io) {}

 private:
  void begin() override {
    own(socket_, open_socket(target_.family(), SOCK_DGRAM, 0));
    const int fd = socket_.native_handle();
    // Else the kernel tells of a closed port, and keeps to itself that the host cannot be reached.
    const int on = 1;
    target_.family() == AF_INET ? setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on)
                                : setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
    if (connect(fd, &target_.any, target_.size) != 0 ||
        send(fd, config_.send.data(), config_.send.size(), MSG_NOSIGNAL) < 0) {
      return fail_with_errno();
    }
    wait();
  }

  void wait() {
    // An unreachable that comes back makes the socket readable too: it is what recv then fails with.
    socket_.async_wait(boost::asio::posix::descriptor_base::wait_read, guarded(&UdpCheck::on_readable));
  }

  void on_readable() {
    std::array<char, 65536> answer;
    const ssize_t length = recv(socket_.native_handle(), answer.data(), answer.size(), MSG_DONTWAIT);
    if (length < 0) return errno == EAGAIN ? wait() : fail_with_errno();
    const std::string_view text(answer.data(), static_cast<size_t>(length));
    if (text.find(config_.expect) == std::string_view::npos)
      return finish({false, "udp: the answer is not as expected"});
    finish({true, {}});
  }

  void on_timeout() override {
    if (config_.expect.empty()) return finish({true, {}});
    finish({false, fmt::format("udp: no answer within {} ms", timeout().count())});
  }

  void fail_with_errno() { finish(failed_call("udp", errno)); }

  SocketAddress target_;
  HealthCheckConfig config_;
  boost::asio::posix::stream_descriptor socket_;
};

class UdpProber final : public Prober {
 public:
  explicit UdpProber(boost::asio::io_context& io) : io_(io) {}
  std::unique_ptr<Probe> start(const Address& backend, const HealthCheckConfig& config, Done done) override {
    return std::make_unique<TimedProbe>(std::make_shared<UdpCheck>(io_, backend, config, std::move(done)));
  }

 private:
  boost::asio::io_context& io_;
};

}  // namespace

std::unique_ptr<Prober> make_udp_prober(boost::asio::io_context& io) {
  return std::make_unique<UdpProber>(io);
}

}  // namespace linimo
