#include "controlplane/health/tcp_prober.h"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include "controlplane/health/socket_address.h"
#include "controlplane/health/timed_probe.h"
#include "controlplane/health/tunnel_socket.h"

namespace linimo {
namespace {

class TcpCheck final : public TimedCheck {
 public:
  TcpCheck(boost::asio::io_context& io, const Address& backend, const HealthCheckConfig& config,
           Prober::Done done)
      : TimedCheck(io, config.timeout, std::move(done)),
        backend_(backend),
        port_(config.port),
        tunnel_(config.tunnel),
        socket_(io) {}

 private:
  void begin() override {
    const SocketAddress target(tunnel_ ? tunnel_->vip : backend_, port_);
    if (tunnel_) {
      device_ = tunnel_device();
      if (device_ == 0) return conclude({});
      UniqueFd made = open_tunnel_socket(*tunnel_, backend_);
      if (!made) return conclude(no_tunnel_socket(errno));
      own(socket_, std::move(made));
    } else {
      own(socket_, open_socket(target.family(), SOCK_STREAM, 0));
    }
    if (connect(socket_.native_handle(), &target.any, target.size) == 0) return conclude({true, {}});
    errno == EINPROGRESS ? wait() : conclude(failed_call("connect", errno));
  }

  void wait() {
    socket_.async_wait(boost::asio::posix::descriptor_base::wait_write, guarded(&TcpCheck::on_writable));
  }

  void on_writable() {
    // Asio may call for an event of an earlier descriptor: then nothing is known yet.
    pollfd state{.fd = socket_.native_handle(), .events = POLLOUT, .revents = 0};
    if (poll(&state, 1, 0) == 0) return wait();
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(socket_.native_handle(), SOL_SOCKET, SO_ERROR, &error, &size);
    conclude(error == 0 ? Verdict{true, {}} : failed_call("connect", error));
  }

  void on_timeout() override {
    conclude({false, fmt::format("connect: no answer within {} ms", timeout().count())});
  }

  void conclude(Verdict verdict) {
    if (tunnel_ && tunnel_lost(device_)) verdict = no_tunnel();
    finish(std::move(verdict));
  }

  Address backend_;
  uint16_t port_;
  std::optional<TunnelCheck> tunnel_;
  unsigned device_ = 0;  // of the tunnel, when the check began
  boost::asio::posix::stream_descriptor socket_;
};

class TcpProber final : public Prober {
 public:
  explicit TcpProber(boost::asio::io_context& io) : io_(io) {}
  std::unique_ptr<Probe> start(const Address& backend, const HealthCheckConfig& config, Done done) override {
    return std::make_unique<TimedProbe>(std::make_shared<TcpCheck>(io_, backend, config, std::move(done)));
  }

 private:
  boost::asio::io_context& io_;
};

}  // namespace

std::unique_ptr<Prober> make_tcp_prober(boost::asio::io_context& io) {
  return std::make_unique<TcpProber>(io);
}

}  // namespace linimo
