// The HTTP server, attacked over its sockets: any bytes in any pieces, over several connections at once, at
// the control socket's limits and at those of the metrics listener. Whatever comes, a request that is right
// is answered afterwards.
//
// An input is a script: one byte of operation, connection and server, one of length, then that many bytes; or
// one that sends a piece of HTTP, since chance finds few of them.

#include <array>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <span>
#include <string_view>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "controlplane/api/event_feed.h"
#include "controlplane/event_log.h"
#include "controlplane/http/http_server.h"
#include "maglev/unique_fd.h"
#include "tests/unit/temporary_folder.h"

using namespace linimo;

namespace {

const std::string kLong(5000, 'a');
const std::array<std::string_view, 29> kPieces = {
    "GET /v1/status HTTP/1.1\r\n",
    "POST /v1/drain HTTP/1.1\r\n",
    "GET /metrics?a=b HTTP/1.0\r\n",
    "GET /v1/events HTTP/1.1\r\n",
    "GET /v1/events?past=9 HTTP/1.1\r\n\r\n",
    "POST /v1/capture?filter=0006000000040000&snap=64 HTTP/1.1\r\n\r\n",
    "Last-Event-ID: a-1\r\n",
    "Origin: http://a\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "CONNECT a:1 HTTP/1.1\r\n",
    "\r\n",
    "\r\n\r\n",
    "Host: linimo\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, upgrade\r\nUpgrade: h2c\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 65536\r\n",
    "Content-Length: 18446744073709551615\r\n",
    "Content-Length: 1, 2\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Expect: 100-continue\r\n",
    "5;ext=\"a\r\nb\"\r\nabcde\r\n",
    "ffffffffffffffff\r\n",
    "0\r\nTrailer: x\r\n\r\n",
    " folded\r\n",
    "X: ",
    kLong,
};

[[noreturn]] void fail(const char* why) {
  fprintf(stderr, "%s\n", why);
  abort();
}

class World {
 public:
  World() {
    events_.follow([this](const auto& event) { feed_->tell(event); });
  }

  void run(std::span<const uint8_t> script) {
    while (script.size() >= 2) {
      const uint8_t operation = script[0] & 3, which = script[0] >> 2 & 7, length = script[1];
      script = script.subspan(2);
      if (length % 16 == 0) events_.note(EventKind::kDrain, log_debug, "the node drains");
      if (operation == 0) {
        clients_.erase(which);
      } else if (operation == 1) {
        send(which, kPieces[length % kPieces.size()]);
      } else {
        const auto bytes = script.first(std::min<size_t>(length, script.size()));
        script = script.subspan(bytes.size());
        send(which, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      }
      io_.poll();
    }
    clients_.clear();
    io_.poll();
    if (++inputs_ % 64 == 0) {
      expect_answer(0);
      expect_answer(1);
    }
  }

 private:
  UniqueFd connect_to(int server) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path(server).native().copy(address.sun_path, sizeof address.sun_path - 1);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      fail("does not accept");
    io_.poll();
    return fd;
  }

  void send(uint8_t which, std::string_view bytes) {
    UniqueFd& client = clients_[which];
    if (!client) client = connect_to(which % 2);
    if (::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0 && errno != EAGAIN)
      clients_.erase(which);
  }

  void expect_answer(int server) {
    constexpr std::string_view kRequest = "GET / HTTP/1.1\r\n\r\n";
    const UniqueFd client = connect_to(server);
    ::send(client.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL);
    char reply[64] = {};
    for (int round = 0; round < 100; ++round) {
      io_.poll();
      if (recv(client.get(), reply, sizeof reply - 1, 0) > 0) break;
    }
    if (!std::string_view(reply).starts_with("HTTP/1.1 200 "))
      fail("a request that is right is not answered");
  }

  std::filesystem::path path(int server) const {
    return folder_.path() / (server == 0 ? "control" : "metrics");
  }

  void handle(const HttpRequest& request, const HttpServer::Respond& respond) {
    if (request.body.size() > HttpLimits{}.body_bytes) fail("a body that is too long");
    if (request.path == "/v1/events") {
      HttpResponse response(200, "", "text/event-stream");
      response.stream = feed_->open(request.last_event_id, request.query.size());
      return respond(response);
    }
    respond({200, request.method + " " + request.path + "?" + request.query});
  }
  void handle_without_body(const HttpRequest& request, const HttpServer::Respond& respond) {
    if (!request.body.empty()) fail("a body where none is taken");
    handle(request, respond);
  }

  TemporaryFolder folder_;
  boost::asio::io_context io_;
  std::shared_ptr<EventFeed> feed_ = std::make_shared<EventFeed>(io_);
  EventLog events_;
  HttpServer control_{io_, path(0),
                      [this](const HttpRequest& request, const auto& respond) { handle(request, respond); }};
  HttpServer metrics_{
      io_, path(1),
      [this](const HttpRequest& request, const auto& respond) { handle_without_body(request, respond); },
      HttpLimits{.body_bytes = 0, .connections = 4, .streams = 2}};
  std::map<uint8_t, UniqueFd> clients_;  // even ones at the control socket
  uint64_t inputs_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World world;
  world.run({data, size});
  return 0;
}
