// Real checks against real sockets: right verdicts with a reason for each failure, within the timeout,
// whatever the other side does; and a check that is given up says nothing any more.

#include <thread>

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "controlplane/health/all_probers.h"
#include "tests/unit/fake_dataplane.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;

/// Listens on a free port of 127.0.0.1 and answers every connection with the same bytes.
class Backend {
 public:
  explicit Backend(std::string reply, bool accepts = true) : reply_(std::move(reply)), accepts_(accepts) {
    listener_.reset(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_.get(), 512), 0);
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  uint16_t port() const { return port_; }
  const std::string& request() const { return request_; }

  void poll() {
    if (!accepts_) return;
    for (int fd = 0; fd >= 0;) {
      fd = accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) peers_.emplace_back(fd);
    }
    for (UniqueFd& peer : peers_) {
      char chunk[4096];
      const ssize_t length = peer ? recv(peer.get(), chunk, sizeof chunk, 0) : -1;
      if (length <= 0) continue;
      request_.append(chunk, static_cast<size_t>(length));
      if (reply_ == "silence") continue;
      send(peer.get(), reply_.data(), reply_.size(), MSG_NOSIGNAL);
      peer.reset();
    }
  }

 private:
  std::string reply_;
  bool accepts_;
  UniqueFd listener_;
  uint16_t port_ = 0;
  std::vector<UniqueFd> peers_;
  std::string request_;
};

class CurlProberTest : public testing::Test {
 protected:
  Verdict check(Backend& backend, HealthCheckConfig config) {
    config.port = backend.port();
    return check(config, [&] { backend.poll(); });
  }
  Verdict check(const HealthCheckConfig& config, const std::function<void()>& meanwhile) {
    std::optional<Verdict> verdict;
    const auto probe =
        prober_->start(*Address::parse("127.0.0.1"), config, [&](const Verdict& v) { verdict = v; });
    EXPECT_TRUE(run_until(
        io_, [&] { return verdict.has_value(); }, meanwhile));
    return verdict.value_or(Verdict{});
  }
  static HealthCheckConfig http() {
    HealthCheckConfig config;
    config.type = CheckType::kHttp;
    config.timeout = milliseconds(150);
    return config;
  }
  static HealthCheckConfig tcp() {
    HealthCheckConfig config = http();
    config.type = CheckType::kTcp;
    return config;
  }

  boost::asio::io_context io_;
  std::unique_ptr<Prober> prober_ = make_all_probers(io_, "/nowhere");
};

TEST_F(CurlProberTest, ConnectsForATcpCheck) {
  Backend backend("");
  EXPECT_TRUE(check(backend, tcp()).healthy);
}

TEST_F(CurlProberTest, SaysWhyAConnectionWasRefused) {
  uint16_t port = 0;
  { port = Backend("").port(); }
  for (HealthCheckConfig config : {tcp(), http()}) {
    config.port = port;
    const Verdict verdict = check(config, [] {});
    EXPECT_FALSE(verdict.healthy);
    EXPECT_EQ(verdict.detail, "connect: Connection refused");
  }
}

TEST_F(CurlProberTest, AsksForThePathWithTheHost) {
  Backend backend("HTTP/1.1 204 No Content\r\n\r\n");
  HealthCheckConfig config = http();
  config.path = "/healthz?deep=1";
  config.host = "www.example.org";
  EXPECT_TRUE(check(backend, config).healthy);
  EXPECT_TRUE(backend.request().starts_with("GET /healthz?deep=1 HTTP/1.1\r\nHost: www.example.org\r\n"))
      << backend.request();
}

TEST_F(CurlProberTest, JudgesByTheStatus) {
  Backend failing("HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno");
  EXPECT_EQ(check(failing, http()).detail, "http: status 503");
  Backend moved("HTTP/1.1 301 Moved\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(check(moved, http()).healthy) << "not followed";
  HealthCheckConfig exact = http();
  exact.statuses = {{200, 200}, {302, 304}};
  Backend again("HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(check(again, exact).detail, "http: status 301");
}

TEST_F(CurlProberTest, LetsABackendAskToBeDrained) {
  HealthCheckConfig config = http();
  config.body = "all is well";
  config.drain_header = "X-Drain";
  Backend leaving("HTTP/1.1 503 Leaving\r\nx-drain: 1\r\nContent-Length: 2\r\n\r\nno");
  const Verdict verdict = check(leaving, config);
  EXPECT_TRUE(verdict.healthy);
  EXPECT_TRUE(verdict.drains);
  Backend busy("HTTP/1.1 503 Busy\r\nX-Drained: 1\r\nContent-Length: 2\r\n\r\nno");
  EXPECT_EQ(check(busy, config).detail, "http: status 503") << "another header";
  Backend well("HTTP/1.1 200 OK\r\nX-Drain: 1\r\nContent-Length: 11\r\n\r\nall is well");
  EXPECT_FALSE(check(well, config).drains) << "another status";
}

TEST_F(CurlProberTest, JudgesByTheBody) {
  HealthCheckConfig config = http();
  config.body = "all is well";
  Backend well("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nyes, all is well");
  EXPECT_TRUE(check(well, config).healthy);
  Backend ill("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall is ill.");
  EXPECT_EQ(check(ill, config).detail, "http: the body is not as expected");
  Backend late("HTTP/1.1 200 OK\r\n\r\n" + std::string(64 << 10, 'x') + "all is well");
  EXPECT_EQ(check(late, config).detail, "http: the body is not as expected") << "behind the first 64 KiB";
}

TEST_F(CurlProberTest, TellsWhatIsNoTlsAndNoGrpc) {
  Backend plain("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  HealthCheckConfig config = http();
  for (const CheckType type : {CheckType::kTls, CheckType::kHttps}) {
    config.type = type;
    EXPECT_TRUE(check(plain, config).detail.starts_with("tls: ")) << check(plain, config).detail;
  }
  config.type = CheckType::kGrpc;
  EXPECT_TRUE(check(plain, config).detail.starts_with("grpc: ")) << check(plain, config).detail;
  Backend silent("silence");
  EXPECT_EQ(check(silent, config).detail, "grpc: no whole answer within 150 ms");
  config.type = CheckType::kTls;
  EXPECT_EQ(check(silent, config).detail, "tls: no handshake within 150 ms");
}

TEST_F(CurlProberTest, IsBoundedWhateverTheOtherSideDoes) {
  Backend silent("silence");
  EXPECT_EQ(check(silent, http()).detail, "http: no whole answer within 150 ms");
  Backend endless("HTTP/1.1 200 OK\r\n\r\n" + std::string(1 << 20, 'x'));
  EXPECT_TRUE(check(endless, http()).healthy) << "the status is known, the rest is not wanted";
  for (const char* reply : {"nonsense", "HTTP/1.1 200", "SSH-2.0-OpenSSH\r\n"}) {
    Backend strange(reply);
    const Verdict verdict = check(strange, http());
    EXPECT_FALSE(verdict.healthy);
    EXPECT_FALSE(verdict.detail.empty());
  }
}

TEST_F(CurlProberTest, SaysNothingAfterItWasGivenUp) {
  Backend silent("silence");
  HealthCheckConfig config = http();
  config.port = silent.port();
  int verdicts = 0;
  auto probe = prober_->start(*Address::parse("127.0.0.1"), config, [&](const Verdict&) { ++verdicts; });
  run_for(io_, milliseconds(20), [&] { silent.poll(); });
  probe.reset();
  run_for(io_, milliseconds(300), [&] { silent.poll(); });
  EXPECT_EQ(verdicts, 0);
}

TEST_F(CurlProberTest, RunsManyAtOnce) {
  Backend backend("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  HealthCheckConfig config = http();
  config.port = backend.port();
  config.timeout = milliseconds(3000);
  int healthy = 0;
  std::vector<std::unique_ptr<Probe>> probes;
  for (int i = 0; i < 200; ++i) {
    probes.push_back(prober_->start(*Address::parse("127.0.0.1"), config,
                                    [&](const Verdict& verdict) { healthy += verdict.healthy ? 1 : 0; }));
  }
  EXPECT_TRUE(run_until(
      io_, [&] { return healthy == 200; }, [&] { backend.poll(); }))
      << healthy;
}

}  // namespace
}  // namespace linimo
