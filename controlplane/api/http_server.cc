#include "controlplane/api/http_server.h"

#include <array>
#include <optional>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace linimo {

namespace asio = boost::asio;
namespace http = boost::beast::http;

namespace {

using boost::system::error_code;
using Stream = asio::generic::stream_protocol;  // one code for both kinds of sockets
using Socket = Stream::socket;
using Acceptor = asio::basic_socket_acceptor<Stream>;

constexpr size_t kMaxConnections = 64;
constexpr uint32_t kMaxHeaderBytes = 8 << 10;
constexpr uint64_t kMaxBodyBytes = 64 << 10;
constexpr std::chrono::seconds kTimeLimit{10};

std::string rendered(const HttpResponse& response, bool keep_alive) {
  return fmt::format(
      "HTTP/1.1 {} {}\r\nServer: linimo\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: "
      "{}\r\n\r\n{}",
      response.status, std::string(http::obsolete_reason(static_cast<http::status>(response.status))),
      response.content_type, response.body.size(), keep_alive ? "keep-alive" : "close", response.body);
}

/// As the kernel knew it when it connected.
std::string peer_of(Socket& socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid == 0)
    return {};
  return fmt::format("control socket, uid {} pid {}", peer.uid, peer.pid);
}

/// Removes what an earlier process left there.
Acceptor listen_on(asio::io_context& io, const std::filesystem::path& socket) {
  std::error_code ignored;
  std::filesystem::remove(socket, ignored);
  Acceptor acceptor(io);
  acceptor.open(asio::local::stream_protocol());
  // The mode counts from the first moment, so it is set before anybody can connect.
  const mode_t mask = umask(0177);
  error_code failed;
  acceptor.bind(asio::local::stream_protocol::endpoint(socket.string()), failed);
  umask(mask);
  if (failed) throw std::system_error(failed, socket.string());
  acceptor.listen();
  return acceptor;
}

Acceptor listen_on(asio::io_context& io, const TcpEndpoint& where) {
  const asio::ip::tcp::endpoint endpoint(asio::ip::make_address(where.address.to_string()), where.port);
  Acceptor acceptor(io);
  acceptor.open(endpoint.protocol());
  acceptor.set_option(asio::socket_base::reuse_address(true));
  error_code failed;
  acceptor.bind(endpoint, failed);
  if (!failed) acceptor.listen(asio::socket_base::max_listen_connections, failed);
  if (failed) throw std::system_error(failed, where.to_string());
  return acceptor;
}

}  // namespace

class HttpServer::Listener : public std::enable_shared_from_this<Listener> {
 public:
  /// `socket` is the file to remove in the end; empty: there is none.
  Listener(asio::io_context& io, Acceptor acceptor, std::filesystem::path socket, Handler handler)
      : handler_(std::move(handler)), path_(std::move(socket)), acceptor_(std::move(acceptor)), retry_(io) {}

  void accept();
  void close() {
    closed_ = true;
    acceptor_.close();
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove(path_, ignored);
  }
  HttpResponse handle(const HttpRequest& request) {
    return closed_ ? HttpResponse{503, R"({"error":"shutting down"})"} : handler_(request);
  }
  void on_session_end() {
    --sessions_;
    if (waiting_) accept();
  }

 private:
  Handler handler_;
  std::filesystem::path path_;
  Acceptor acceptor_;
  asio::steady_timer retry_;
  size_t sessions_ = 0;
  bool waiting_ = false;  // for a session to end before another is accepted
  bool closed_ = false;
};

namespace {

/// One connection: read a request, answer it, and again while the client wishes. Only the parser of Beast is
/// used: its asynchronous operations would double the time that this program takes to compile.
template <typename Owner>
class Session : public std::enable_shared_from_this<Session<Owner>> {
 public:
  Session(Socket socket, std::shared_ptr<Owner> owner)
      : socket_(std::move(socket)), limit_(socket_.get_executor()), owner_(std::move(owner)) {}
  ~Session() { owner_->on_session_end(); }

  void begin_request() {
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(kMaxBodyBytes);
    parser_->eager(true);
    restart_time_limit();
    parse();
  }

 private:
  void restart_time_limit() {
    limit_.expires_after(kTimeLimit);
    limit_.async_wait([weak = this->weak_from_this()](const error_code& error) {
      const auto self = weak.lock();
      if (error || self == nullptr || self->limit_.expiry() > std::chrono::steady_clock::now()) return;
      error_code ignored;
      self->socket_.close(ignored);
    });
  }

  void read() {
    socket_.async_read_some(asio::buffer(chunk_),
                            [self = this->shared_from_this()](const error_code& error, size_t length) {
                              if (error) return;  // the peer left, or the time is up
                              self->input_.append(self->chunk_.data(), length);
                              self->parse();
                            });
  }

  void parse() {
    error_code error;
    while (!input_.empty() && !parser_->is_done()) {
      const size_t used = parser_->put(asio::buffer(input_), error);
      input_.erase(0, used);
      if (error == http::error::need_more) break;
      if (error == http::error::body_limit || error == http::error::header_limit) {
        return respond({413, R"({"error":"the request is too large"})"}, false);
      }
      if (error) return respond({400, R"({"error":"this is not HTTP"})"}, false);
    }
    if (!parser_->is_done()) return read();
    const auto& message = parser_->get();
    const std::string_view target(message.target().data(), message.target().size());
    const HttpRequest request{std::string(message.method_string()),
                              std::string(target.substr(0, target.find('?'))), message.body(),
                              peer_of(socket_)};
    respond(owner_->handle(request), message.keep_alive());
  }

  void respond(const HttpResponse& response, bool keep_alive) {
    output_ = rendered(response, keep_alive);
    restart_time_limit();
    asio::async_write(socket_, asio::buffer(output_),
                      [self = this->shared_from_this(), keep_alive](const error_code& error, size_t) {
                        if (!error && keep_alive) self->begin_request();
                      });
  }

  Socket socket_;
  asio::steady_timer limit_;
  std::shared_ptr<Owner> owner_;
  std::array<char, 4096> chunk_;
  std::string input_;  // received and not yet parsed
  std::string output_;
  std::optional<http::request_parser<http::string_body>> parser_;
};

}  // namespace

void HttpServer::Listener::accept() {
  waiting_ = sessions_ >= kMaxConnections;
  if (waiting_ || closed_) return;
  acceptor_.async_accept([self = shared_from_this()](const boost::system::error_code& error, Socket socket) {
    if (self->closed_) return;
    if (!error) {
      ++self->sessions_;
      std::make_shared<Session<Listener>>(std::move(socket), self)->begin_request();
      return self->accept();
    }
    // Out of descriptors, for example: that passes, and asking again at once would only burn time.
    self->retry_.expires_after(std::chrono::milliseconds(100));
    self->retry_.async_wait([self](const boost::system::error_code& cancelled) {
      if (!cancelled) self->accept();
    });
  });
}

HttpServer::HttpServer(asio::io_context& io, std::filesystem::path socket, Handler handler)
    : listener_(std::make_shared<Listener>(io, listen_on(io, socket), socket, std::move(handler))) {
  listener_->accept();
}

HttpServer::HttpServer(asio::io_context& io, const TcpEndpoint& endpoint, Handler handler)
    : listener_(std::make_shared<Listener>(io, listen_on(io, endpoint), std::filesystem::path(),
                                           std::move(handler))) {
  listener_->accept();
}

HttpServer::~HttpServer() {
  listener_->close();
}

}  // namespace linimo
