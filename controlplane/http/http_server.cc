#include "controlplane/http/http_server.h"

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>

#include "controlplane/http/http_listen.h"
#include "controlplane/log.h"
#include "maglev/os/peer.h"

namespace linimo {

namespace asio = boost::asio;
namespace http = boost::beast::http;

namespace {

using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr uint32_t kMaxHeaderBytes = 8 << 10;
constexpr size_t kMaxDiscardedBytes = 1 << 20;
constexpr std::chrono::seconds kTimeLimit{10};
constexpr std::chrono::milliseconds kAcceptAgain{100};
constexpr const char* kOthers = "others";  // share what one origin may have, whoever they are

std::string header_of(const HttpResponse& response, bool keep_alive) {
  // RFC 9112, 6.3: a body without a length ends with the connection.
  return fmt::format(
      "HTTP/1.1 {} {}\r\nServer: linimo\r\nContent-Type: {}\r\n{}{}Connection: {}\r\n\r\n", response.status,
      std::string(http::obsolete_reason(static_cast<http::status>(response.status))), response.content_type,
      response.stream ? "" : fmt::format("Content-Length: {}\r\n", response.body->size()),
      response.more_headers, keep_alive ? "keep-alive" : "close");
}

HttpResponse refusal(unsigned status, std::string_view why) {
  return {status, fmt::format(R"({{"error":"{}"}})", why)};
}

HttpResponse refusal_of(const error_code& error) {
  if (error == http::error::header_limit) return refusal(431, "the header is too large");
  if (error == http::error::body_limit) return refusal(413, "the request's body is too large");
  return refusal(400, "this is not HTTP");
}

}  // namespace

class HttpServer::Listener : public std::enable_shared_from_this<Listener> {
 public:
  /// `socket` is the file to remove in the end; empty: it listens over TCP.
  Listener(asio::io_context& io, HttpAcceptor acceptor, std::filesystem::path socket, Handler handler,
           const HttpLimits& limits, MakeWire make_wire)
      : handler_(std::move(handler)),
        make_wire_(std::move(make_wire)),
        path_(std::move(socket)),
        limits_(limits),
        operators_(operators_group()),
        acceptor_(std::move(acceptor)),
        retry_(io) {}

  void accept();
  void close();
  void handle(const HttpRequest& request, const Respond& respond) const;
  std::string why_only_reads(const std::optional<Peer>& peer) const;
  const HttpLimits& limits() const { return limits_; }
  std::unique_ptr<Wire> wire(HttpSocket socket) const { return make_wire_(std::move(socket)); }
  void on_closed(Session& session) { std::erase(sessions_, &session); }
  bool may_stream() const;

 private:
  void make_room(const Session& session);
  Session* longest_silent(const std::string* origin) const;

  Handler handler_;
  MakeWire make_wire_;
  std::filesystem::path path_;
  HttpLimits limits_;
  std::optional<gid_t> operators_;
  HttpAcceptor acceptor_;
  asio::steady_timer retry_;
  std::vector<Session*> sessions_;  // those that are open; they hold themselves
  bool closed_ = false;
};

/// One connection: read a request, answer it, and again while the client wishes. Only the parser of Beast is
/// used: its asynchronous operations would double the time that this program takes to compile.
class HttpServer::Session : public std::enable_shared_from_this<Session> {
 public:
  Session(HttpSocket socket, std::shared_ptr<Listener> owner)
      : limit_(socket.get_executor()),
        owner_(std::move(owner)),
        peer_(peer_of(socket.native_handle())),
        may_only_read_(owner_->why_only_reads(peer_)),
        origin_(may_only_read_.empty() ? origin_of(socket) : kOthers),
        wire_(owner_->wire(std::move(socket))) {}
  ~Session() { owner_->on_closed(*this); }

  const std::string& origin() const { return origin_; }
  bool of_others() const { return !may_only_read_.empty(); }
  bool silent() const { return silent_; }
  bool streams() const { return stream_ != nullptr; }
  Clock::time_point since() const { return since_; }

  void begin() {
    limit_time();
    wire_->open([self = shared_from_this()](const error_code& error, size_t) {
      if (error) return self->close();
      self->client_ = self->wire_->client();
      self->begin_request();
    });
  }

  void begin_request() {
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(owner_->limits().body_bytes);
    silent_ = true;
    since_ = Clock::now();
    limit_time();
    parse();
  }

  /// Whatever it was about ends with an error, and the session with it.
  void close() {
    owner_->on_closed(*this);
    wire_->close();
    limit_.cancel();
    stream_.reset();
  }

 private:
  void limit_time() {
    limit_.expires_after(kTimeLimit);
    limit_.async_wait([weak = weak_from_this()](const error_code& error) {
      const auto self = weak.lock();
      if (!error && self != nullptr && self->limit_.expiry() <= Clock::now()) self->close();
    });
  }

  void read() {
    wire_->read(asio::buffer(chunk_), [self = shared_from_this()](const error_code& error, size_t length) {
      if (error) return;  // the peer left, or this side has closed
      self->input_.append(self->chunk_.data(), length);
      self->parse();
    });
  }

  void parse() {
    error_code error;
    while (!input_.empty() && !parser_->is_done()) {
      const bool in_header = !parser_->is_header_done();
      input_.erase(0, parser_->put(asio::buffer(input_), error));
      if (error == http::error::need_more) break;
      if (error) return respond(refusal_of(error), false);
      if (in_header && parser_->is_header_done() && !begin_body()) return;
    }
    if (!parser_->is_done()) return read();
    answer();
  }

  /// RFC 9112, 6.3: who does not say a body's length may be asked to.
  bool begin_body() {
    if (parser_->get().find(http::field::transfer_encoding) != parser_->get().end()) {
      respond(refusal(411, "send a Content-Length, and no Transfer-Encoding"), false);
      return false;
    }
    parser_->eager(true);
    return true;
  }

  void answer() {
    const auto& message = parser_->get();
    const bool keep_alive = message.keep_alive();
    silent_ = false;
    if (message.method() != http::verb::get && message.find(http::field::origin) != message.end())
      return respond(refusal(403, "a web page changes nothing here; use the program linimo"), keep_alive);
    limit_.cancel();  // how long an answer takes is not up to the client
    const std::string_view target(message.target().data(), message.target().size());
    const size_t end = std::min(target.find('?'), target.size());
    const auto last_event = message["Last-Event-ID"];
    const HttpRequest request{std::string(message.method_string()),
                              std::string(target.substr(0, end)),
                              std::string(target.substr(std::min(end + 1, target.size()))),
                              message.body(),
                              std::string(last_event.data(), last_event.size()),
                              asker(),
                              client_,
                              may_only_read_};
    owner_->handle(request, [self = shared_from_this(), keep_alive](const HttpResponse& response) {
      self->respond(response, keep_alive);
    });
  }

  std::string asker() const {
    if (peer_) return fmt::format("control socket, uid {} pid {}", peer_->uid, peer_->pid);
    return client_.empty() ? std::string() : fmt::format("API, certificate {}", client_);
  }

  void respond(const HttpResponse& response, bool keep_alive) {
    if (response.stream) return begin_stream(response);
    header_ = header_of(response, keep_alive);
    body_ = response.body;
    silent_ = false;
    since_ = Clock::now();
    limit_time();
    wire_->write({asio::buffer(header_), asio::buffer(*body_)},
                 [self = shared_from_this(), keep_alive](const error_code& error, size_t) {
                   self->body_.reset();
                   if (error) return;
                   if (keep_alive)
                     self->begin_request();
                   else
                     self->hang_up();
                 });
  }

  void begin_stream(const HttpResponse& response) {
    if (!owner_->may_stream())
      return respond(refusal(503, "too many streams are open, try again later"), false);
    stream_ = response.stream;
    write(std::make_shared<const std::string>(header_of(response, false)), false);
    discard(kMaxDiscardedBytes);  // tells when the reader leaves
  }

  void next_piece() {
    limit_.cancel();  // nobody knows when there is more
    if (!stream_) return;
    // Weak: what is read for holds this session, until the reader leaves.
    stream_->next([weak = weak_from_this()](const HttpStream::Piece& piece) {
      if (const auto self = weak.lock()) self->write(piece.bytes, piece.last);
    });
  }

  void write(std::shared_ptr<const std::string> bytes, bool last) {
    body_ = std::move(bytes);
    since_ = Clock::now();
    limit_time();
    wire_->write({asio::buffer(*body_), {}},
                 [self = shared_from_this(), last](const error_code& error, size_t) {
                   if (error) return;
                   if (!last) return self->next_piece();
                   self->end_sending();
                   self->stream_.reset();
                 });
  }

  /// RFC 9112, 9.6: who is still sending would be reset, and never read why it was refused.
  void hang_up() {
    end_sending();
    discard(kMaxDiscardedBytes);
  }

  void end_sending() {
    silent_ = true;
    wire_->end_sending([self = shared_from_this()](const error_code&, size_t) {});
  }

  void discard(size_t at_most) {
    wire_->read(asio::buffer(chunk_),
                [self = shared_from_this(), at_most](const error_code& error, size_t length) {
                  if (!error && length < at_most) return self->discard(at_most - length);
                  self->close();
                });
  }

  asio::steady_timer limit_;
  std::shared_ptr<Listener> owner_;
  std::optional<Peer> peer_;  // of a Unix socket
  std::string may_only_read_;
  std::string origin_;
  std::unique_ptr<Wire> wire_;
  std::string client_;  // by its certificate
  bool silent_ = true;  // it owes a request
  Clock::time_point since_ = Clock::now();
  std::array<char, 4096> chunk_;
  std::string input_;  // received and not yet parsed: at most a header's length and a chunk
  std::string header_;
  std::shared_ptr<const std::string> body_;
  std::shared_ptr<HttpStream> stream_;
  std::optional<http::request_parser<http::string_body>> parser_;
};

void HttpServer::Listener::close() {
  closed_ = true;
  acceptor_.close();
  for (Session* session : std::vector(sessions_)) session->close();
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove(path_, ignored);
}

void HttpServer::Listener::handle(const HttpRequest& request, const Respond& respond) const {
  if (closed_) return respond(refusal(503, "shutting down"));
  try {
    handler_(request, respond);
  } catch (const std::bad_alloc&) {
    respond(refusal(503, "out of memory"));
  }
}

std::string HttpServer::Listener::why_only_reads(const std::optional<Peer>& peer) const {
  if (path_.empty()) return {};
  if (!peer) return "the kernel does not say who asks";
  const auto may = may_operate(*peer, geteuid(), operators_);
  return may ? std::string() : may.error();
}

/// Of one origin, or of all: who owes a request comes first, then who does not take an answer.
HttpServer::Session* HttpServer::Listener::longest_silent(const std::string* origin) const {
  Session* found = nullptr;
  for (Session* session : sessions_) {
    if (origin != nullptr && session->origin() != *origin) continue;
    const auto rank = [](const Session& of) { return std::pair(!of.silent(), of.since()); };
    if (found == nullptr || rank(*session) < rank(*found)) found = session;
  }
  return found;
}

bool HttpServer::Listener::may_stream() const {
  const auto open = std::count_if(sessions_.begin(), sessions_.end(),
                                  [](const Session* session) { return session->streams(); });
  return static_cast<size_t>(open) < limits_.streams;
}

void HttpServer::Listener::make_room(const Session& session) {
  const std::string& origin = session.origin();
  const size_t most = session.of_others() ? limits_.connections_of_others : limits_.connections_of_peer;
  const auto of_origin = std::count_if(sessions_.begin(), sessions_.end(),
                                       [&](const Session* open) { return open->origin() == origin; });
  if (static_cast<size_t>(of_origin) >= most)
    longest_silent(&origin)->close();
  else if (sessions_.size() >= limits_.connections)
    longest_silent(nullptr)->close();
}

void HttpServer::Listener::accept() {
  if (closed_) return;
  acceptor_.async_accept([self = shared_from_this()](const error_code& error, HttpSocket socket) {
    if (self->closed_) return;
    if (!error) {
      try {
        const auto session = std::make_shared<Session>(std::move(socket), self);
        self->make_room(*session);
        self->sessions_.push_back(session.get());
        session->begin();
      } catch (const std::exception& failed) {  // no memory: for this connection, or for its TLS
        log_error("a connection is lost", {{"why", failed.what()}});
      }
      return self->accept();
    }
    // Out of descriptors, for example: asking again at once would only burn time.
    if (Session* session = self->longest_silent(nullptr)) session->close();
    self->retry_.expires_after(kAcceptAgain);
    self->retry_.async_wait([self](const error_code& cancelled) {
      if (!cancelled) self->accept();
    });
  });
}

HttpServer::HttpServer(asio::io_context& io, const std::filesystem::path& socket, Handler handler,
                       const HttpLimits& limits)
    : listener_(std::make_shared<Listener>(io, listen_on(io, socket), socket, std::move(handler), limits,
                                           plain_wire)) {
  listener_->accept();
}

HttpServer::HttpServer(asio::io_context& io, const TcpEndpoint& endpoint, Handler handler,
                       const HttpLimits& limits, MakeWire make_wire)
    : listener_(std::make_shared<Listener>(io, listen_on(io, endpoint), std::filesystem::path(),
                                           std::move(handler), limits, std::move(make_wire))) {
  listener_->accept();
}

HttpServer::~HttpServer() {
  listener_->close();
}

}  // namespace linimo
