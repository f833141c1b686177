#include "controlplane/api/http_server.h"

#include <optional>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <sys/stat.h>

namespace linimo {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

using Socket = asio::local::stream_protocol::socket;
using Stream = beast::basic_stream<asio::local::stream_protocol>;

constexpr size_t kMaxConnections = 64;
constexpr uint32_t kMaxHeaderBytes = 8 << 10;
constexpr uint64_t kMaxBodyBytes = 64 << 10;
constexpr std::chrono::seconds kTimeLimit{10};

http::response<http::string_body> rendered(HttpResponse&& response, unsigned version, bool keep_alive) {
  http::response<http::string_body> message(static_cast<http::status>(response.status), version);
  message.set(http::field::server, "linimo");
  message.set(http::field::content_type, "application/json");
  message.keep_alive(keep_alive);
  message.body() = std::move(response.body);
  message.prepare_payload();
  return message;
}

}  // namespace

class HttpServer::Listener : public std::enable_shared_from_this<Listener> {
 public:
  Listener(asio::io_context& io, std::filesystem::path socket, Handler handler)
      : handler_(std::move(handler)), path_(std::move(socket)), acceptor_(io), retry_(io) {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
    const asio::local::stream_protocol::endpoint endpoint(path_.string());
    acceptor_.open();
    // The mode counts from the first moment, so it is set before anybody can connect.
    const mode_t mask = umask(0177);
    boost::system::error_code failed;
    acceptor_.bind(endpoint, failed);
    umask(mask);
    if (failed) throw boost::system::system_error(failed, path_.string());
    acceptor_.listen();
  }

  void accept();
  void close() {
    closed_ = true;
    acceptor_.close();
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
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
  asio::local::stream_protocol::acceptor acceptor_;
  asio::steady_timer retry_;
  size_t sessions_ = 0;
  bool waiting_ = false;  // for a session to end before another is accepted
  bool closed_ = false;
};

namespace {

template <typename Owner>
class Session : public std::enable_shared_from_this<Session<Owner>> {
 public:
  Session(Socket socket, std::shared_ptr<Owner> owner)
      : stream_(std::move(socket)), owner_(std::move(owner)) {}
  ~Session() { owner_->on_session_end(); }

  void read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(kMaxBodyBytes);
    stream_.expires_after(kTimeLimit);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = this->shared_from_this()](beast::error_code error, size_t) { self->on_read(error); });
  }

 private:
  void on_read(beast::error_code error) {
    if (error == http::error::body_limit || error == http::error::header_limit) {
      return write(rendered({413, R"({"error":"the request is too large"})"}, 11, false));
    }
    // What the parser does not understand is answered; a peer that left or said nothing in time is not.
    static const auto& parser_errors = http::make_error_code(http::error::bad_method).category();
    if (error && error != http::error::end_of_stream && error.category() == parser_errors) {
      return write(rendered({400, R"({"error":"this is not HTTP"})"}, 11, false));
    }
    if (error) return;

    const auto& message = parser_->get();
    const std::string_view target(message.target().data(), message.target().size());
    const HttpRequest request{std::string(message.method_string()),
                              std::string(target.substr(0, target.find('?'))), message.body()};
    write(rendered(owner_->handle(request), message.version(), message.keep_alive()));
  }

  void write(http::response<http::string_body> message) {
    response_ = std::move(message);
    stream_.expires_after(kTimeLimit);
    http::async_write(stream_, response_, [self = this->shared_from_this()](beast::error_code error, size_t) {
      if (!error && self->response_.keep_alive()) self->read();
    });
  }

  Stream stream_;
  std::shared_ptr<Owner> owner_;
  beast::flat_buffer buffer_{kMaxHeaderBytes + kMaxBodyBytes};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
};

}  // namespace

void HttpServer::Listener::accept() {
  waiting_ = sessions_ >= kMaxConnections;
  if (waiting_ || closed_) return;
  acceptor_.async_accept([self = shared_from_this()](const boost::system::error_code& error, Socket socket) {
    if (self->closed_) return;
    if (!error) {
      ++self->sessions_;
      std::make_shared<Session<Listener>>(std::move(socket), self)->read();
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
    : listener_(std::make_shared<Listener>(io, std::move(socket), std::move(handler))) {
  listener_->accept();
}

HttpServer::~HttpServer() {
  listener_->close();
}

}  // namespace linimo
