#include "controlplane/health/dns_prober.h"

#include <algorithm>
#include <array>
#include <vector>

#include <ares.h>
#include <arpa/nameser.h>
#include <fmt/format.h>

#include "controlplane/health/socket_address.h"
#include "controlplane/health/socket_set.h"
#include "controlplane/health/timed_probe.h"

namespace linimo {
namespace {

std::vector<Address> addresses_in(const unsigned char* answer, int length, uint16_t record) {
  constexpr int kMost = 64;
  std::vector<Address> addresses;
  int count = kMost;
  if (record == ns_t_a) {
    std::array<ares_addrttl, kMost> found;
    if (ares_parse_a_reply(answer, length, nullptr, found.data(), &count) != ARES_SUCCESS) return {};
    for (int i = 0; i < count; ++i)
      addresses.push_back(Address::v4(found[static_cast<size_t>(i)].ipaddr.s_addr));
  } else {
    std::array<ares_addr6ttl, kMost> found;
    if (ares_parse_aaaa_reply(answer, length, nullptr, found.data(), &count) != ARES_SUCCESS) return {};
    for (int i = 0; i < count; ++i) {
      std::memcpy(addresses.emplace_back().bytes.data(), &found[static_cast<size_t>(i)].ip6addr, 16);
    }
  }
  return addresses;
}

class DnsCheck final : public TimedCheck {
 public:
  DnsCheck(boost::asio::io_context& io, const Address& backend, const HealthCheckConfig& config,
           Prober::Done done)
      : TimedCheck(io, config.timeout, std::move(done)), backend_(backend), config_(config), io_(io) {}
  ~DnsCheck() override {
    if (channel_ != nullptr)
      ares_destroy(channel_);  // which tells on_answer, and the sockets to be forgotten
  }

 private:
  void begin() override {
    sockets_.emplace(io_, [this](int socket, uint32_t events) {
      const bool failed = (events & (EPOLLERR | EPOLLHUP)) != 0;
      ares_process_fd(channel_, failed || (events & EPOLLIN) != 0 ? socket : ARES_SOCKET_BAD,
                      (events & EPOLLOUT) != 0 ? socket : ARES_SOCKET_BAD);
    });
    ares_options options{};
    options.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_IGNTC | ARES_FLAG_NOCHECKRESP;
    options.tries = 1;
    options.timeout = static_cast<int>(timeout().count());
    options.sock_state_cb = [](void* self, ares_socket_t socket, int readable, int writable) {
      SocketSet& sockets = *static_cast<DnsCheck*>(self)->sockets_;
      readable != 0 || writable != 0 ? sockets.watch(socket, readable != 0, writable != 0)
                                     : sockets.forget(socket);
    };
    options.sock_state_cb_data = this;
    int status = ares_init_options(
        &channel_, &options, ARES_OPT_FLAGS | ARES_OPT_TRIES | ARES_OPT_TIMEOUTMS | ARES_OPT_SOCK_STATE_CB);
    if (status == ARES_SUCCESS) status = set_server();
    if (status != ARES_SUCCESS) return fail_with(status);
    const auto on_made = [](ares_socket_t, int, void* self) {
      static_cast<DnsCheck*>(self)->has_socket_ = true;
      return 0;
    };
    ares_set_socket_configure_callback(channel_, on_made, this);
    ares_query(channel_, config_.query.c_str(), ns_c_in, config_.record, &DnsCheck::on_answer, this);
  }

  int set_server() {
    const SocketAddress target(backend_, config_.port);
    ares_addr_port_node server{};
    server.family = target.family();
    if (target.family() == AF_INET) {
      server.addr.addr4 = target.v4.sin_addr;
    } else {
      std::memcpy(&server.addr.addr6, &target.v6.sin6_addr, sizeof server.addr.addr6);
    }
    server.udp_port = server.tcp_port = config_.port;
    return ares_set_servers_ports(channel_, &server);
  }

  static void on_answer(void* self, int status, int, unsigned char* answer, int length) {
    auto& check = *static_cast<DnsCheck*>(self);
    if (status == ARES_EDESTRUCTION) return;
    if (status != ARES_SUCCESS) return check.fail_with(status);
    if (check.config_.expect_address) {
      const auto found = addresses_in(answer, length, check.config_.record);
      if (std::find(found.begin(), found.end(), *check.config_.expect_address) == found.end())
        return check.finish({false, "dns: the expected address is not in the answer"});
    }
    check.finish({true, {}});
  }

  void on_timeout() override {
    finish({false, fmt::format("dns: no answer within {} ms", timeout().count())});
  }
  void fail_with(int status) {
    if (status == ARES_ETIMEOUT) return on_timeout();
    if (status == ARES_ENOMEM) return finish(cannot_check(ENOMEM));
    // c-ares does not say so, but leaves the error of the call.
    if (status == ARES_ECONNREFUSED && !has_socket_) return finish(cannot_check(errno));
    finish({false, fmt::format("dns: {}", ares_strerror(status))});
  }

  Address backend_;
  HealthCheckConfig config_;
  boost::asio::io_context& io_;
  std::optional<SocketSet> sockets_;
  bool has_socket_ = false;
  ares_channel channel_ = nullptr;
};

class DnsProber final : public Prober {
 public:
  explicit DnsProber(boost::asio::io_context& io) : io_(io) {}
  std::unique_ptr<Probe> start(const Address& backend, const HealthCheckConfig& config, Done done) override {
    return std::make_unique<TimedProbe>(std::make_shared<DnsCheck>(io_, backend, config, std::move(done)));
  }

 private:
  boost::asio::io_context& io_;
};

}  // namespace

std::unique_ptr<Prober> make_dns_prober(boost::asio::io_context& io) {
  static const int ready = ares_library_init(ARES_LIB_INIT_ALL);
  if (ready != ARES_SUCCESS) throw std::runtime_error("c-ares does not start");
  return std::make_unique<DnsProber>(io);
}

}  // namespace linimo
