// The page for Prometheus: what was counted stands there exactly, under bounded labels; texts of others
// cannot break out of theirs; and the TCP address serves this page and nothing else.

#include "controlplane/metrics/metrics.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "controlplane/api/routes.h"
#include "controlplane/http/metrics_listener.h"
#include "controlplane/log.h"
#include "tests/unit/fake_dataplane.h"
#include "tests/unit/fake_prober.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

constexpr uint64_t kLargestExact = (uint64_t{1} << 53) - 1;

class MetricsTest : public testing::Test {
 protected:
  MetricsTest() {
    set_log_level("error");
    const std::string folder = folder_.path().string();
    folder_.write("seed", "0123456789abcdef");
    folder_.write(
        "linimo.toml",
        "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\nencap_source = [\"10.0.0.11\"]\n"
        "hash_seed_file = \"" +
            folder + "/seed\"\nruntime_dir = \"" + folder +
            "\"\n[[pool]]\nname = \"web\"\nhealth = { type = \"tcp\", port = 80 }\n"
            "backends = [ { address = \"10.0.1.1\" }, { address = \"10.0.1.2\" } ]\n"
            "[[service]]\nname = \"s\"\nvips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\n"
            "pool = \"web\"\n");
    auto config = load_config(folder_.path() / "linimo.toml");
    EXPECT_TRUE(config) << config.error();
    prober_.dead = {*Address::parse("10.0.1.2")};
    controller_.emplace(io_, std::move(*config), prober_);
  }

  void run_with_dataplane(const char* engine = "a\"b\\c\nforged 1") {
    dataplane_.emplace(folder_.path() / "dataplane.sock");
    protocol::set_text(dataplane_->welcome.engine, engine);
    dataplane_->count = [](WorkerCounters& worker) {
      worker.outcomes[LINIMO_OUTCOME_forwarded] = kLargestExact;
      worker.outcomes[LINIMO_OUTCOME_too_big] = 7;
      worker.busy_ns = 1'500'000'000;
      worker.bursts = 12;
      worker.flows = 3;
      worker.flows_capacity = 4096;
      worker.services[0] = {.packets = 20, .bytes = 2000, .new_flows = 2};
      worker.repeated_syns[1] = 5;
      worker.burst_times[0] = 7;
      worker.burst_times[2] = 4;
      worker.burst_times[15] = 1;
      for (int id = 0; id < 2; ++id) worker.backends[id] = {.packets = 10, .bytes = 1000, .new_flows = 1};
    };
    controller_->start();
    ASSERT_TRUE(run_until(
        io_, [this] { return controller_->live_generation() == 1; }, [this] { dataplane_->poll(); }));
  }

  HttpServer::Handler handler() {
    if (!api_) api_.emplace(io_, io_, *controller_);
    return
        [this](const HttpRequest& request, const auto& respond) { api_->answer_metrics(request, respond); };
  }

  void expect_line(const std::string& line) {
    EXPECT_NE(metrics_page(whole_state(*controller_)).find("\n" + line + "\n"), std::string::npos) << line;
  }

  /// What a server on 127.0.0.1 answers to one request.
  std::string ask(uint16_t port, std::string_view request) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return "not connected";
    EXPECT_GT(send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
    std::string reply;
    run_until(io_, [&] {
      char chunk[4096];
      const ssize_t length = recv(fd.get(), chunk, sizeof chunk, MSG_DONTWAIT);
      if (length > 0) reply.append(chunk, static_cast<size_t>(length));
      return length == 0;
    });
    return reply;
  }

  /// One that nobody listens on.
  static uint16_t free_port() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
  }

  TemporaryFolder folder_;
  boost::asio::io_context io_;
  FakeProber prober_{io_};
  std::optional<Controller> controller_;
  std::optional<Api> api_;
  std::optional<FakeDataplane> dataplane_;
};

TEST_F(MetricsTest, ShowsWhatWasCounted) {
  run_with_dataplane();
  expect_line("linimo_packets_total{outcome=\"forwarded\"} 9007199254740991");
  expect_line("linimo_packets_total{outcome=\"too_big\"} 7");
  expect_line("linimo_packets_total{outcome=\"kernel_full\"} 0");
  expect_line("linimo_worker_busy_seconds_total{worker=\"0\"} 1.5");
  expect_line("linimo_worker_bursts_total{worker=\"0\"} 12");
  expect_line("linimo_flows{worker=\"0\"} 3");
  expect_line("linimo_flows_capacity{worker=\"0\"} 4096");
  expect_line("linimo_service_packets_total{service=\"s\"} 20");
  expect_line("linimo_service_new_flows_total{service=\"s\"} 2");
  expect_line("linimo_backend_bytes_total{pool=\"web\",backend=\"10.0.1.2\"} 1000");
  expect_line("linimo_backend_repeated_syns_total{pool=\"web\",backend=\"10.0.1.1\"} 0");
  expect_line("linimo_backend_repeated_syns_total{pool=\"web\",backend=\"10.0.1.2\"} 5");
  expect_line("linimo_generation 1");
  expect_line("linimo_ids_free{of=\"backends\"} 262142");
  expect_line("linimo_ids_free{of=\"services\"} 4095");
  expect_line("linimo_digest " + std::to_string(controller_->live_digest() >> 16));
}

TEST_F(MetricsTest, ShowsHowLongBurstsOfEngineDpdkTook) {
  run_with_dataplane("dpdk");
  const std::string bucket = "linimo_worker_burst_seconds_bucket{worker=\"0\",le=";
  expect_line(bucket + "\"1.024e-06\"} 7");
  expect_line(bucket + "\"2.048e-06\"} 7");
  expect_line(bucket + "\"4.096e-06\"} 11");
  expect_line(bucket + "\"0.016777216\"} 11");
  expect_line(bucket + "\"+Inf\"} 12");
  expect_line("linimo_worker_burst_seconds_sum{worker=\"0\"} 1.5");
  expect_line("linimo_worker_burst_seconds_count{worker=\"0\"} 12");
}

TEST_F(MetricsTest, ShowsHealth) {
  run_with_dataplane();
  expect_line("linimo_backend_up{pool=\"web\",backend=\"10.0.1.1\"} 1");
  expect_line("linimo_backend_up{pool=\"web\",backend=\"10.0.1.2\"} 0");
  expect_line("linimo_health_checks_total{pool=\"web\",backend=\"10.0.1.1\",result=\"success\"} 1");
  expect_line("linimo_health_checks_total{pool=\"web\",backend=\"10.0.1.2\",result=\"failure\"} 1");
  expect_line("linimo_backend_share_ratio{pool=\"web\",backend=\"10.0.1.1\"} 1");
}

TEST_F(MetricsTest, KeepsTextsOfOthersInTheirLabels) {
  run_with_dataplane();
  const std::string page = metrics_page(whole_state(*controller_));
  EXPECT_NE(page.find("engine=\"a\\\"b\\\\c\\nforged 1\""), std::string::npos) << page.substr(0, 400);
}

TEST_F(MetricsTest, HasNoCountsWithoutADataPlane) {
  prober_.silent = {*Address::parse("10.0.1.1"), *Address::parse("10.0.1.2")};
  controller_->start();
  ASSERT_TRUE(run_until(io_, [this] { return prober_.started.size() == 2; }));
  const std::string page = metrics_page(whole_state(*controller_));
  EXPECT_EQ(page.find("linimo_packets_total"), std::string::npos);
  EXPECT_EQ(page.find("linimo_backend_up{"), std::string::npos) << "unknown is not down";
  expect_line("linimo_dataplane_connected 0");
}

TEST_F(MetricsTest, AreServedWhereTheConfigurationSays) {
  const TcpEndpoint first{*Address::parse("127.0.0.1"), free_port()};
  const TcpEndpoint second{*Address::parse("127.0.0.1"), free_port()};
  constexpr std::string_view kGet = "GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n";
  const auto reads = [](const HttpRequest&, const auto& respond) { respond({200, "page"}); };
  std::string why;
  MetricsListener listener(io_, handler(), reads, [&](const std::string& told) { why = told; });
  EXPECT_EQ(ask(first.port, kGet), "not connected");
  listener.follow({first});
  const std::string reply = ask(first.port, kGet);
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 200 OK\r\n")) << reply;
  EXPECT_NE(reply.find("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), std::string::npos);
  EXPECT_TRUE(
      ask(first.port, "GET /v1/status HTTP/1.1\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(
      ask(first.port, "POST /metrics HTTP/1.1\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 405 "));
  EXPECT_TRUE(
      ask(first.port, "GET /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx").starts_with("HTTP/1.1 413 "))
      << "nothing that is served here takes a body";
  listener.follow({second});
  EXPECT_EQ(ask(first.port, kGet), "not connected");
  EXPECT_TRUE(ask(second.port, kGet).starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(ask(second.port, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 404 "));
  listener.follow({.listen = second, .page = true});
  EXPECT_TRUE(ask(second.port, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").ends_with("\r\n\r\npage"));
  listener.follow({});
  EXPECT_EQ(ask(second.port, kGet), "not connected");
  EXPECT_EQ(why, "");
}

TEST_F(MetricsTest, SurviveAnAddressThatIsTaken) {
  const TcpEndpoint taken{*Address::parse("127.0.0.1"), free_port()};
  std::string why;
  MetricsListener holder(io_, handler(), handler(), [](const std::string&) {});
  holder.follow({taken});
  MetricsListener listener(io_, handler(), handler(), [&](const std::string& told) { why = told; });
  EXPECT_NO_THROW(listener.follow({taken}));
  EXPECT_NE(why, "");
  listener.follow({});
  EXPECT_EQ(why, "");
}

}  // namespace
}  // namespace linimo
