// The control socket: right requests are answered, wrong and hostile ones are refused, and none of them takes
// the process or the others' answers away.

#include "controlplane/api/http_server.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "controlplane/api/routes.h"
#include "controlplane/log.h"
#include "tests/unit/fake_dataplane.h"
#include "tests/unit/fake_prober.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    set_log_level("error");
    Config config;
    config.file = folder_.path() / "linimo.toml";
    config.node.name = "lb1";
    config.node.runtime_dir = folder_.path();
    PoolConfig pool;
    pool.name = "web";
    pool.backends = {{*Address::parse("10.0.1.1"), 100}, {*Address::parse("10.0.1.2"), 0}};
    config.pools = {pool};
    ServiceConfig service;
    service.name = "s";
    service.vips = {*Prefix::parse("203.0.113.1")};
    service.ports = {{80, 80}, {8000, 8100}};
    config.services = {service};
    controller_.emplace(io_, config, prober_);
    server_.emplace(io_, socket_,
                    [this](const HttpRequest& request) { return answer(request, *controller_); });
  }

  UniqueFd connect_client() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_.string().copy(address.sun_path, sizeof address.sun_path - 1);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  /// Sends all of it and returns what comes until the server closes or has answered.
  std::string exchange(std::string_view request) {
    const UniqueFd fd = connect_client();
    std::string reply;
    run_until(io_, [&] {
      if (!request.empty()) {
        const ssize_t sent = send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
        if (sent > 0) request.remove_prefix(static_cast<size_t>(sent));
      }
      char chunk[4096];
      const ssize_t length = recv(fd.get(), chunk, sizeof chunk, 0);
      if (length > 0) reply.append(chunk, static_cast<size_t>(length));
      return length == 0 || (length < 0 && errno != EAGAIN);
    });
    return reply;
  }
  std::string get(const std::string& path) {
    return exchange("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }

  TemporaryFolder folder_;
  std::filesystem::path socket_ = folder_.path() / "control.sock";
  boost::asio::io_context io_;
  FakeProber prober_{io_};
  std::optional<Controller> controller_;
  std::optional<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersWhatIsAsked) {
  const std::string status = get("/v1/status");
  EXPECT_TRUE(status.starts_with("HTTP/1.1 200 OK\r\n")) << status;
  for (const char* part : {"\"node\":\"lb1\"", "\"outcomes\":{", "\"forwarded\":0", "\"connected\":false",
                           "\"last_error\":null", "\"generation\":0"}) {
    EXPECT_NE(status.find(part), std::string::npos) << part;
  }
  const std::string backends = get("/v1/backends?x=y");
  EXPECT_NE(backends.find("\"state\":\"up\""), std::string::npos);
  EXPECT_NE(backends.find("\"state\":\"draining\""), std::string::npos);
  EXPECT_NE(get("/v1/services").find("\"ports\":[80,\"8000-8100\"]"), std::string::npos);
  EXPECT_NE(get("/v1/pools").find("\"table_size\":65537"), std::string::npos);
}

TEST_F(HttpServerTest, IsForItsUserOnly) {
  struct stat status {};
  ASSERT_EQ(stat(socket_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(HttpServerTest, RefusesWhatItDoesNotHave) {
  EXPECT_TRUE(get("/").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(get("/v1/status/..").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(exchange("POST /v1/status HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                  .starts_with("HTTP/1.1 405 "));
  EXPECT_TRUE(get("/v1/reload").starts_with("HTTP/1.1 405 "));
  const std::string reload =
      exchange("POST /v1/reload HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(reload.starts_with("HTTP/1.1 422 ")) << reload;
  EXPECT_NE(reload.find("cannot be read"), std::string::npos);
}

TEST_F(HttpServerTest, RefusesHostileRequests) {
  const std::string huge(100'000, 'a');
  const std::pair<std::string, std::string_view> cases[] = {
      {"garbage\r\n\r\n", "HTTP/1.1 400 "},
      {std::string("\0\x01\xff\xfe\r\n\r\n", 8), "HTTP/1.1 400 "},
      {"GET /v1/status HTTP/9.9\r\n\r\n", "HTTP/1.1 400 "},
      {"GET " + huge, "HTTP/1.1 413 "},
      {"GET / HTTP/1.1\r\nX: " + huge, "HTTP/1.1 413 "},
      {"POST /v1/reload HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", "HTTP/1.1 413 "},
      {"POST /v1/reload HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 "},
      {"POST /v1/reload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "},
      {"POST /v1/reload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n" + huge, "HTTP/1.1 413 "},
  };
  for (const auto& [request, reply] : cases) {
    const std::string found = exchange(request);
    EXPECT_TRUE(found.starts_with(reply)) << request.substr(0, 60) << " gave " << found.substr(0, 60);
  }
  EXPECT_TRUE(get("/v1/status").starts_with("HTTP/1.1 200 "));
}

TEST_F(HttpServerTest, AnswersSeveralRequestsOnOneConnection) {
  const std::string replies = exchange(
      "GET /v1/pools HTTP/1.1\r\n\r\nGET /v1/nothing HTTP/1.1\r\n\r\nGET /v1/pools HTTP/1.1\r\nConnection: "
      "close\r\n\r\n");
  EXPECT_EQ(replies.find("HTTP/1.1 200 OK"), 0u);
  EXPECT_NE(replies.find("HTTP/1.1 404 Not Found"), std::string::npos);
  EXPECT_NE(replies.rfind("HTTP/1.1 200 OK"), 0u);
}

TEST_F(HttpServerTest, IsNotExhaustedByIdleConnections) {
  std::vector<UniqueFd> idle;
  for (int i = 0; i < 64; ++i) idle.push_back(connect_client());
  run_for(io_, milliseconds(20));
  const UniqueFd waiting = connect_client();
  constexpr std::string_view kRequest = "GET /v1/pools HTTP/1.1\r\n\r\n";
  ASSERT_GT(send(waiting.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL), 0);
  run_for(io_, milliseconds(50));
  char byte = 0;
  EXPECT_LT(recv(waiting.get(), &byte, 1, 0), 0) << "64 at once and no more";
  idle.clear();
  EXPECT_TRUE(run_until(io_, [&] { return recv(waiting.get(), &byte, 1, MSG_PEEK) == 1; }));
}

TEST_F(HttpServerTest, TakesThePlaceOfALeftOverSocketAndLeavesNone) {
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(socket_));
  folder_.write("control.sock", "left over");
  server_.emplace(io_, socket_, [](const HttpRequest&) { return HttpResponse{200, "{}"}; });
  EXPECT_TRUE(get("/").starts_with("HTTP/1.1 200 "));
}

}  // namespace
}  // namespace linimo
