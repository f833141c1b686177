// The control socket: right requests are answered, wrong and hostile ones are refused, and none of them takes
// the process or the others' answers away.

#include "controlplane/http/http_server.h"

#include <set>

#include <fmt/format.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <sys/wait.h>

#include "controlplane/api/routes.h"
#include "controlplane/log.h"
#include "maglev/counters.h"
#include "maglev/os/peer.h"
#include "tests/unit/fake_dataplane.h"
#include "tests/unit/fake_prober.h"
#include "tests/unit/small_config.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    set_log_level("error");
    controller_.emplace(io_, small_config(folder_.path()), prober_);
    api_.emplace(io_, io_, *controller_);
    serve();
  }

  void serve() {
    server_.reset();
    server_.emplace(io_, socket_, [this](const HttpRequest& request, const auto& respond) {
      api_->answer(request, respond);
    });
  }

  UniqueFd connect_client() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_.string().copy(address.sun_path, sizeof address.sun_path - 1);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  /// Connects in a process of another user, which hands the connection back.
  UniqueFd connect_as_nobody() {
    chmod(folder_.path().c_str(), 0755);
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    const UniqueFd ours(ends[0]), theirs(ends[1]);
    const pid_t child = fork();
    if (child == 0) {
      const bool is_other = setgroups(0, nullptr) == 0 && setresgid(65534, 65534, 65534) == 0 &&
                            setresuid(65534, 65534, 65534) == 0;
      const UniqueFd fd = connect_client();
      const int number = fd.get();
      _exit(is_other && send_message(theirs.get(), std::as_bytes(std::span("x", 1)), {&number, 1}) ? 0 : 1);
    }
    int result = -1;
    waitpid(child, &result, 0);
    EXPECT_EQ(result, 0);
    auto message = receive_message(ours.get(), 16);
    if (!message || !*message || (*message)->fds.size() != 1) return {};
    return std::move((*message)->fds[0]);
  }

  /// Sends all of it and returns what comes until the server closes or has answered.
  std::string exchange(std::string_view request) { return exchange(request, connect_client()); }
  std::string exchange(std::string_view request, UniqueFd fd) {
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
  std::optional<Api> api_;
  std::optional<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersWhatIsAsked) {
  const std::string status = get("/v1/status");
  EXPECT_TRUE(status.starts_with("HTTP/1.1 200 OK\r\n")) << status;
  for (const char* part : {"\"node\":\"lb1\"", "\"outcomes\":{", "\"forwarded\":0", "\"connected\":false",
                           "\"last_error\":null", "\"generation\":0"}) {
    EXPECT_NE(status.find(part), std::string::npos) << part;
  }
  const std::string backends = get("/v1/backends");
  EXPECT_NE(backends.find("\"state\":\"up\""), std::string::npos);
  EXPECT_NE(backends.find("\"state\":\"draining\""), std::string::npos);
  EXPECT_NE(get("/v1/services").find("\"ports\":[80,\"8000-8100\"]"), std::string::npos);
  EXPECT_NE(get("/v1/pools").find("\"table_size\":65537"), std::string::npos);
}

TEST_F(HttpServerTest, PagesBackends) {
  const auto addresses = [](const std::string& reply) {
    std::vector<std::string> found;
    const auto page = nlohmann::json::parse(reply.substr(reply.find("\r\n\r\n")));
    for (const auto& backend : page) found.push_back(backend.at("address"));
    return found;
  };
  using Addresses = std::vector<std::string>;
  EXPECT_EQ(addresses(get("/v1/backends?limit=1")), Addresses{"10.0.1.1"});
  EXPECT_EQ(addresses(get("/v1/backends?limit=1&after=web/10.0.1.1")), Addresses{"10.0.1.2"});
  EXPECT_EQ(addresses(get("/v1/backends?after=web/10.0.1.2")), Addresses{});
  EXPECT_EQ(addresses(get("/v1/backends?backend=web/10.0.1.2")), Addresses{"10.0.1.2"});
  EXPECT_TRUE(get("/v1/backends?after=web/10.0.1.9").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(get("/v1/backends?backend=wbe/10.0.1.1").starts_with("HTTP/1.1 404 "));
  for (const char* query : {"limit=0", "limit=4097", "limit=-1", "limit=1x", "limit=", "limit",
                            "limit=99999999999999999999", "after=web", "after=/", "backend=web/x", "after"}) {
    EXPECT_TRUE(get(std::string("/v1/backends?") + query).starts_with("HTTP/1.1 400 ")) << query;
  }
}

/// Everybody on the machine may read what is no secret; root and the operators alone change, and see clients.
TEST_F(HttpServerTest, OthersReadAndChangeNothing) {
  struct stat status {};
  ASSERT_EQ(stat(socket_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0666u);
  if (geteuid() != 0) GTEST_SKIP() << "needs root to be somebody else";
  for (const auto& [path, method] : Api::paths()) {
    if (path == "/v1/events") continue;  // has no end
    const bool reads = method == "GET" && path != "/v1/trace" && path != "/v1/flows" &&
                       path != "/v1/fleet/revision";  // those tell of clients, and what checks send
    const std::string reply = exchange(
        fmt::format("{} {} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", method, path),
        connect_as_nobody());
    if (reads) {
      // Here is no fleet to tell of.
      EXPECT_TRUE(reply.starts_with(path.starts_with("/v1/fleet") ? "HTTP/1.1 404 " : "HTTP/1.1 200 "))
          << path << reply;
    } else {
      EXPECT_TRUE(reply.starts_with("HTTP/1.1 403 ")) << path << reply;
      EXPECT_NE(reply.find("user 65534 may only read here: try again as root"), std::string::npos) << reply;
    }
  }
  EXPECT_FALSE(controller_->announcer().phase() != DrainPhase::kServing) << "the node was drained";
}

/// However many connections others hold, an operator's are not ended for theirs, nor out of streams.
TEST_F(HttpServerTest, OthersLeaveRoomForOperators) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to be somebody else";
  constexpr std::string_view kFollow = "GET /v1/events HTTP/1.1\r\n\r\n";
  char byte = 0;
  const UniqueFd idle = connect_client();
  run_for(io_, milliseconds(1));
  std::vector<UniqueFd> theirs;
  for (int i = 0; i < 80; ++i) {
    theirs.push_back(connect_as_nobody());
    ASSERT_GT(send(theirs.back().get(), kFollow.data(), kFollow.size(), MSG_NOSIGNAL), 0);
    run_for(io_, milliseconds(1));
  }
  EXPECT_EQ(recv(idle.get(), &byte, 1, MSG_PEEK), -1) << "it was closed";
  const UniqueFd follows = connect_client();
  ASSERT_GT(send(follows.get(), kFollow.data(), kFollow.size(), MSG_NOSIGNAL), 0);
  char reply[64] = {};
  ASSERT_TRUE(run_until(io_, [&] { return recv(follows.get(), reply, sizeof reply - 1, 0) > 0; }));
  EXPECT_TRUE(std::string_view(reply).starts_with("HTTP/1.1 200 ")) << reply;
}

TEST(Operators, AreRootTheOwnUserAndTheGroup) {
  const Peer somebody{.pid = 1, .uid = 1000, .groups = {1000, 27}};
  EXPECT_TRUE(may_operate({.pid = 1, .uid = 0, .groups = {0}}, 900, std::nullopt));
  EXPECT_TRUE(may_operate({.pid = 1, .uid = 900, .groups = {900}}, 900, std::nullopt));
  EXPECT_TRUE(may_operate(somebody, 0, 27));
  EXPECT_TRUE(may_operate(somebody, 0, 1000)) << "the primary group counts";
  EXPECT_FALSE(may_operate(somebody, 0, 28));
  EXPECT_FALSE(may_operate(somebody, 0, std::nullopt));
  EXPECT_FALSE(may_operate({.pid = 1, .uid = 1000, .groups = {0}}, 900, std::nullopt))
      << "group root is not root";
}

TEST_F(HttpServerTest, RefusesWhatItDoesNotHave) {
  EXPECT_TRUE(get("/nothing").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(get("/v1/status/..").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(exchange("POST /v1/status HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                  .starts_with("HTTP/1.1 405 "));
  EXPECT_TRUE(get("/v1/reload").starts_with("HTTP/1.1 405 "));
  const std::string reload =
      exchange("POST /v1/reload HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(reload.starts_with("HTTP/1.1 422 ")) << reload;
  EXPECT_NE(reload.find("cannot be read"), std::string::npos);
}

/// A browser sends where a page came from with whatever could change something.
TEST_F(HttpServerTest, NoWebPageChangesAnything) {
  for (const char* origin : {"http://evil.example", "null", "http://linimo"}) {
    const std::string head = std::string(" HTTP/1.1\r\nConnection: close\r\nOrigin: ") + origin;
    EXPECT_TRUE(
        exchange("POST /v1/reload" + head + "\r\nContent-Length: 0\r\n\r\n").starts_with("HTTP/1.1 403 "));
    EXPECT_TRUE(exchange("POST /v1/capture?filter=0006000000040000" + head + "\r\nContent-Length: 0\r\n\r\n")
                    .starts_with("HTTP/1.1 403 "));
    EXPECT_TRUE(
        exchange("GET /v1/capture?filter=0006000000040000" + head + "\r\n\r\n").starts_with("HTTP/1.1 405 "));
    EXPECT_TRUE(exchange("GET /v1/status" + head + "\r\n\r\n").starts_with("HTTP/1.1 200 "));
  }
}

TEST_F(HttpServerTest, ServesThePageAsItIs) {
  const std::string page = get("/");
  EXPECT_TRUE(page.starts_with("HTTP/1.1 200 ")) << page;
  for (const char* part : {"text/html", "<!doctype html>", "frame-ancestors 'none'", "</html>\n"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  for (const char* path :
       {"/page.js", "/show.js", "/ask.js", "/trace.js", "/fleet.js", "/page.css", "/outcomes.json"})
    EXPECT_TRUE(get(path).starts_with("HTTP/1.1 200 ")) << path;
  const std::string outcomes = get("/outcomes.json");
  const auto told = nlohmann::json::parse(outcomes.substr(outcomes.find("\r\n\r\n")));
  for (int i = 0; i < LINIMO_OUTCOME_COUNT; ++i)
    EXPECT_TRUE(told.contains(outcome_name(static_cast<linimo_outcome>(i)))) << i;
  EXPECT_TRUE(exchange("POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                  .starts_with("HTTP/1.1 405 "));
}

TEST_F(HttpServerTest, DescribesEveryPathAndNoOther) {
  const std::string reply = get("/v1/openapi.json");
  const auto document = nlohmann::json::parse(reply.substr(reply.find("\r\n\r\n")));
  std::set<std::pair<std::string, std::string>> described;
  for (const auto& [path, methods] : document.at("paths").items()) {
    for (const auto& [method, operation] : methods.items())
      described.emplace(path, method == "get" ? "GET" : method == "post" ? "POST" : method);
  }
  const auto paths = Api::paths();
  EXPECT_EQ(described, (std::set(paths.begin(), paths.end())));
}

/// What reads alone is for those who reach the metrics listener, if the operator wishes so.
TEST_F(HttpServerTest, ReadersChangeNothing) {
  server_.emplace(io_, socket_, [this](const HttpRequest& request, const auto& respond) {
    api_->answer_reads(request, respond);
  });
  for (const auto& [path, method] : Api::paths()) {
    if (path == "/v1/events") continue;  // has no end
    const bool reads =
        method == "GET" && path != "/v1/trace" && path != "/v1/flows" && !path.starts_with("/v1/fleet");
    const std::string reply = exchange(
        fmt::format("{} {} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", method, path));
    EXPECT_TRUE(reply.starts_with(reads ? "HTTP/1.1 200 " : "HTTP/1.1 404 ")) << path << reply;
  }
  EXPECT_TRUE(get("/").starts_with("HTTP/1.1 200 "));
}

/// So a page need not try: operators may trace, readers may not; and of a fleet nobody is told where there is
/// none.
TEST_F(HttpServerTest, TellsWhichPathsThereAreForWhomever) {
  const auto paths = [&] {
    const std::string reply = get("/v1/paths");
    return nlohmann::json::parse(reply.substr(reply.find("\r\n\r\n")))
        .at("paths")
        .get<std::set<std::string>>();
  };
  std::set<std::string> all;
  for (const auto& [path, _] : Api::paths())
    if (!path.starts_with("/v1/fleet")) all.insert(path);
  EXPECT_EQ(paths(), all);
  server_.emplace(io_, socket_, [this](const HttpRequest& request, const auto& respond) {
    api_->answer_reads(request, respond);
  });
  EXPECT_EQ(paths(), (std::set<std::string>{"/v1/status", "/v1/services", "/v1/pools", "/v1/backends",
                                            "/v1/events", "/v1/openapi.json", "/v1/paths", "/metrics"}));
  EXPECT_TRUE(exchange("POST /v1/paths HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                  .starts_with("HTTP/1.1 405 "));
}

TEST_F(HttpServerTest, TellsWhatHappens) {
  const UniqueFd fd = connect_client();
  constexpr std::string_view kRequest = "GET /v1/events?past=10 HTTP/1.1\r\n\r\n";
  ASSERT_GT(send(fd.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL), 0);
  run_for(io_, milliseconds(10));
  get("/v1/nothing");
  exchange("POST /v1/reload HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  std::string told;
  EXPECT_TRUE(run_until(io_, [&] {
    char chunk[4096];
    const ssize_t length = recv(fd.get(), chunk, sizeof chunk, 0);
    if (length > 0) told.append(chunk, static_cast<size_t>(length));
    return told.find("configuration refused") != std::string::npos;
  })) << told;
  EXPECT_TRUE(get("/v1/events?past=1025").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(get("/v1/events?past=").starts_with("HTTP/1.1 400 "));
}

TEST_F(HttpServerTest, RefusesHostileRequests) {
  const std::string huge(100'000, 'a');
  const std::pair<std::string, std::string_view> cases[] = {
      {"garbage\r\n\r\n", "HTTP/1.1 400 "},
      {std::string("\0\x01\xff\xfe\r\n\r\n", 8), "HTTP/1.1 400 "},
      {"GET /v1/status HTTP/9.9\r\n\r\n", "HTTP/1.1 400 "},
      {"GET " + huge, "HTTP/1.1 431 "},
      {"GET / HTTP/1.1\r\nX: " + huge, "HTTP/1.1 431 "},
      {"POST /v1/reload HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", "HTTP/1.1 413 "},
      {"POST /v1/reload HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 "},
      {"POST /v1/reload HTTP/1.1\r\nContent-Length: 70000\r\n\r\n" + huge, "HTTP/1.1 413 "},
      // No chunks, so no extensions and trailers without end.
      {"POST /v1/reload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 411 "},
      {"POST /v1/reload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=" + huge, "HTTP/1.1 411 "},
      {"POST /v1/reload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + huge, "HTTP/1.1 411 "},
      {"POST /v1/reload HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "HTTP/1.1 411 "},
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

/// However many say nothing, who has a request is answered at once: the longest silent gives way.
TEST_F(HttpServerTest, IsNotExhaustedByIdleConnections) {
  constexpr std::string_view kRequest = "GET /v1/pools HTTP/1.1\r\n\r\n";
  char byte = 0;
  const auto closed = [&](const UniqueFd& fd) { return recv(fd.get(), &byte, 1, MSG_PEEK) == 0; };
  std::vector<UniqueFd> idle;
  for (int i = 0; i < 500; ++i) {
    idle.push_back(connect_client());
    if (i % 64 == 0) run_for(io_, milliseconds(1));  // the kernel's queue is short
  }
  const UniqueFd asks = connect_client();
  ASSERT_GT(send(asks.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL), 0);
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(run_until(io_, [&] { return recv(asks.get(), &byte, 1, MSG_PEEK) == 1; }));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(500));
  EXPECT_TRUE(closed(idle.front()));
  EXPECT_EQ(std::count_if(idle.begin(), idle.end(), closed), 500 - 63);
  EXPECT_FALSE(closed(idle.back()));
}

TEST_F(HttpServerTest, TakesThePlaceOfALeftOverSocketAndLeavesNone) {
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(socket_));
  folder_.write("control.sock", "left over");
  serve();
  EXPECT_TRUE(get("/v1/status").starts_with("HTTP/1.1 200 "));
}

}  // namespace
}  // namespace linimo
