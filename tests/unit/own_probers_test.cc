// Checks by a datagram, a DNS query and a ping against real sockets: the right verdict with a reason, within
// the timeout, whatever comes back; and none after the check was given up.

#include <cstdlib>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "controlplane/health/all_probers.h"
#include "controlplane/health/own_failure.h"
#include "tests/unit/fake_dataplane.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;
using Answers = std::function<std::vector<std::string>(const std::string&)>;

/// Answers datagrams on a free port of 127.0.0.1.
class Server {
 public:
  explicit Server(Answers answers) : answers_(std::move(answers)) {
    socket_.reset(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  uint16_t port() const { return port_; }
  int requests() const { return requests_; }

  void poll() {
    char chunk[2048];
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    const ssize_t length =
        recvfrom(socket_.get(), chunk, sizeof chunk, 0, reinterpret_cast<sockaddr*>(&peer), &size);
    if (length < 0) return;
    ++requests_;
    for (const std::string& answer : answers_(std::string(chunk, static_cast<size_t>(length))))
      sendto(socket_.get(), answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&peer), size);
  }

 private:
  Answers answers_;
  UniqueFd socket_;
  uint16_t port_ = 0;
  int requests_ = 0;
};

class OwnProbersTest : public testing::Test {
 protected:
  Verdict check(
      const HealthCheckConfig& config, const char* address = "127.0.0.1",
      const std::function<void()>& meanwhile = [] {}) {
    std::optional<Verdict> verdict;
    const auto probe =
        prober_->start(*Address::parse(address), config, [&](const Verdict& v) { verdict = v; });
    EXPECT_FALSE(verdict) << "later, from the event loop";
    EXPECT_TRUE(run_until(
        io_, [&] { return verdict.has_value(); }, meanwhile));
    return verdict.value_or(Verdict{});
  }
  Verdict check(HealthCheckConfig config, const Answers& answers) {
    Server server(answers);
    config.port = server.port();
    return check(config, "127.0.0.1", [&] { server.poll(); });
  }
  static HealthCheckConfig of(CheckType type) {
    HealthCheckConfig config;
    config.type = type;
    config.timeout = milliseconds(150);
    return config;
  }
  static HealthCheckConfig udp(std::string expect) {
    HealthCheckConfig config = of(CheckType::kUdp);
    config.send = "ping";
    config.expect = std::move(expect);
    return config;
  }
  static HealthCheckConfig dns() {
    HealthCheckConfig config = of(CheckType::kDns);
    config.query = "www.example.org";
    return config;
  }
  static uint16_t closed_port() { return Server({}).port(); }

  boost::asio::io_context io_;
  std::unique_ptr<Prober> prober_ = make_all_probers(io_, "/nowhere");
};

std::vector<std::string> none(const std::string&) {
  return {};
}

TEST_F(OwnProbersTest, UdpWantsWhatIsExpected) {
  EXPECT_TRUE(check(udp("pong"), [](const std::string& request) {
                return std::vector<std::string>{request == "ping" ? "a pong!" : "?"};
              }).healthy);
  EXPECT_EQ(check(udp("pong"), [](const auto&) { return std::vector<std::string>{"gong"}; }).detail,
            "udp: the answer is not as expected");
  EXPECT_EQ(check(udp("pong"), none).detail, "udp: no answer within 150 ms");
  EXPECT_EQ(check(udp("pong"), [](const auto&) { return std::vector<std::string>{""}; }).detail,
            "udp: the answer is not as expected");
}

TEST_F(OwnProbersTest, UdpIsContentWithSilenceButNotWithARefusal) {
  EXPECT_TRUE(check(udp(""), none).healthy);
  EXPECT_TRUE(check(udp(""), [](const auto&) { return std::vector<std::string>{"whatever"}; }).healthy);
  for (const char* expect : {"", "pong"}) {
    HealthCheckConfig config = udp(expect);
    config.port = closed_port();
    EXPECT_EQ(check(config).detail, "udp: Connection refused");
    EXPECT_EQ(check(config, "::1").detail, "udp: Connection refused");
  }
}

/// A reply to `query` (RFC 1035, 4.1) with one address, or with an error code.
std::string dns_reply(const std::string& query, int code, const char* address) {
  std::string reply = query.substr(0, 12);
  reply[2] = static_cast<char>(0x84);  // an answer, authoritative
  reply[3] = static_cast<char>(code);
  reply[7] = address != nullptr ? 1 : 0;
  reply[11] = 0;  // nothing additional
  const size_t name = query.find('\0', 12) + 1;
  reply += query.substr(12, name + 4 - 12);
  if (address == nullptr) return reply;
  const in_addr_t raw = inet_addr(address);
  reply += std::string("\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04", 12);
  return reply + std::string(reinterpret_cast<const char*>(&raw), 4);
}
Answers dns_answers(int code, const char* address) {
  return [=](const std::string& query) { return std::vector{dns_reply(query, code, address)}; };
}

TEST_F(OwnProbersTest, DnsWantsARecord) {
  EXPECT_TRUE(check(dns(), dns_answers(0, "192.0.2.7")).healthy);
  EXPECT_FALSE(check(dns(), dns_answers(0, nullptr)).healthy);
  EXPECT_EQ(check(dns(), dns_answers(3, nullptr)).detail, "dns: Domain name not found");
  EXPECT_EQ(check(dns(), dns_answers(2, nullptr)).detail, "dns: DNS server returned general failure");
  EXPECT_EQ(check(dns(), none).detail, "dns: no answer within 150 ms");
  HealthCheckConfig config = dns();
  config.port = closed_port();
  EXPECT_EQ(check(config).detail, "dns: Could not contact DNS servers");
}

TEST_F(OwnProbersTest, DnsWantsTheExpectedAddress) {
  HealthCheckConfig config = dns();
  config.expect_address = Address::parse("192.0.2.7");
  EXPECT_TRUE(check(config, dns_answers(0, "192.0.2.7")).healthy);
  EXPECT_EQ(check(config, dns_answers(0, "192.0.2.8")).detail,
            "dns: the expected address is not in the answer");
}

TEST_F(OwnProbersTest, DnsIsNotFooledByGarbage) {
  for (const std::string& garbage :
       {std::string("garbage"), std::string(512, '\xc0'), std::string(12, '\0')}) {
    EXPECT_FALSE(check(dns(), [&](const auto&) { return std::vector{garbage}; }).healthy);
  }
  EXPECT_FALSE(check(dns(), [](const std::string& query) {
                 std::string reply = dns_reply(query, 0, "192.0.2.7");
                 reply[0] ^= 1;  // the answer to another question
                 return std::vector{reply};
               }).healthy);
}

TEST_F(OwnProbersTest, PingsBothFamilies) {
  const HealthCheckConfig config = of(CheckType::kIcmp);
  EXPECT_TRUE(check(config).healthy) << check(config).detail;
  EXPECT_TRUE(check(config, "::1").healthy) << check(config, "::1").detail;
  // 240/4 is reserved (RFC 1112, 4): there is no way there, or nobody is.
  EXPECT_TRUE(check(config, "240.0.0.1").detail.starts_with("icmp: "));
}

TEST_F(OwnProbersTest, SayNothingAfterTheyWereGivenUp) {
  Server silent(none);
  int verdicts = 0;
  for (HealthCheckConfig config : {udp("pong"), udp(""), dns(), of(CheckType::kIcmp)}) {
    if (config.type != CheckType::kIcmp) config.port = silent.port();
    auto probe = prober_->start(*Address::parse("127.0.0.1"), config, [&](const Verdict&) { ++verdicts; });
    const int before = silent.requests();
    if (config.port != 0) {
      EXPECT_TRUE(run_until(
          io_, [&] { return silent.requests() > before; }, [&] { silent.poll(); }));
    }
    probe.reset();
    run_for(io_, milliseconds(200));
  }
  EXPECT_EQ(verdicts, 0);
}

TEST_F(OwnProbersTest, RunManyAtOnce) {
  Server server(dns_answers(0, "192.0.2.7"));
  HealthCheckConfig config = dns();
  config.port = server.port();
  config.timeout = milliseconds(3000);
  int healthy = 0;
  std::vector<std::unique_ptr<Probe>> probes;
  for (int i = 0; i < 100; ++i) {
    config.type = i % 2 == 0 ? CheckType::kDns : CheckType::kIcmp;
    probes.push_back(prober_->start(*Address::parse("127.0.0.1"), config,
                                    [&](const Verdict& verdict) { healthy += verdict.healthy ? 1 : 0; }));
  }
  EXPECT_TRUE(run_until(
      io_, [&] { return healthy == 100; }, [&] { server.poll(); }))
      << healthy;
}

/// While it lives, this process may open nothing more.
class NoDescriptors {
 public:
  NoDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const UniqueFd next(open("/dev/null", O_RDONLY | O_CLOEXEC));
    const rlimit none{static_cast<rlim_t>(next.get()), before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(OwnProbersTest, SaysNothingOfABackendWhileItLacksDescriptors) {
  HealthCheckConfig config;
  config.port = 9;
  config.query = "www.example.org";
  config.send = "hello";
  for (const CheckType type :
       {CheckType::kTcp, CheckType::kHttp, CheckType::kTls, CheckType::kHttps, CheckType::kGrpc,
        CheckType::kUdp, CheckType::kDns, CheckType::kIcmp, CheckType::kExec}) {
    config.type = type;
    const NoDescriptors none;
    const Verdict verdict = check(config);
    const std::string name(kCheckTypeNames[static_cast<size_t>(type)]);
    EXPECT_TRUE(verdict.says_nothing && verdict.checker_lacks) << name << ": " << verdict.detail;
    EXPECT_EQ(verdict.detail, "the checker cannot: Too many open files") << name;
  }
}

TEST(OwnFailureTest, TellsWhatThisMachineLacksFromWhatTheBackendDoes) {
  for (const int ours : {EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL})
    EXPECT_TRUE(failed_call("connect", ours).checker_lacks) << ours;
  for (const int theirs : {ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ECONNRESET, ETIMEDOUT})
    EXPECT_FALSE(failed_call("connect", theirs).says_nothing) << theirs;
}

}  // namespace
}  // namespace linimo
