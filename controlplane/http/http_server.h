// HTTP/1.1 over a Unix socket or over TCP or TLS. On the Unix socket root, this process's user and the group
// `linimo` may do all, everybody else on the machine may read (`may_only_read` of a request).
//
//   HttpServer server(io, "/run/linimo/control.sock", [](const HttpRequest& request, Respond respond) {
//     respond({200, "{}"});
//   });
//
// Nothing that arrives is parsed before it is bounded: 8 KiB of header (431), 64 KiB of body, or none at all,
// with its length said beforehand (411, 413), so that there are no chunks, chunk extensions and trailers. 10
// s for a request, between two, and for taking the answer. 64 connections, fewer from one address: where
// there are too many, the one that has been silent for longest gives way, so that a crowd of idle ones keeps
// nobody out. A stream has no end, but each piece of it is to be taken within 10 s.
//
// A web page that changes something is refused (403): a browser that can reach this server, by a tunnel that
// its user has made, would else do so for any page that he visits.
//
// Lives on the thread of its event loop, which is not the one that decides (serving_thread.h).
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "controlplane/config/tcp_endpoint.h"
#include "controlplane/http/wire.h"

namespace linimo {

/// A body whose end nobody knows beforehand, made piece by piece: the next one is asked for once the one
/// before has been taken, so that a slow reader costs no memory.
class HttpStream {
 public:
  struct Piece {
    std::shared_ptr<const std::string> bytes;
    bool last = false;
  };
  using Give = std::function<void(Piece)>;

  virtual ~HttpStream() = default;
  /// `give` is to be called once, at once or later, on the server's thread; not once the stream is gone,
  /// which it is when its reader is.
  virtual void next(Give give) = 0;
};

struct HttpRequest {
  std::string method;
  std::string path;   // without the query
  std::string query;  // what stands behind the '?'
  std::string body;
  std::string last_event_id;  // of a reader of events who comes again
  std::string by;  // who asks, for a log: the process at the other end of a Unix socket, or the name in the
                   // certificate; empty over TCP
  std::string client;         // that name
  std::string may_only_read;  // why the asker is to change nothing and see no secrets; empty: no limit
};

struct HttpResponse {
  HttpResponse(unsigned with_status, std::string with_body, const char* of_type = "application/json")
      : HttpResponse(with_status, std::make_shared<const std::string>(std::move(with_body)), of_type) {}
  HttpResponse(unsigned with_status, std::shared_ptr<const std::string> with_body, const char* of_type)
      : status(with_status), body(std::move(with_body)), content_type(of_type) {}

  unsigned status;
  std::shared_ptr<const std::string> body;  // one page may be on its way to many
  const char* content_type;
  const char* more_headers = "";       // whole lines
  std::shared_ptr<HttpStream> stream;  // in the body's place: the connection ends with it
};

struct HttpLimits {
  uint64_t body_bytes = 64 << 10;
  size_t connections = 64;
  size_t streams = 16;               // of those connections
  size_t connections_of_peer = 64;   // of one address (IPv6: of its /64); of one user over a Unix socket
  size_t connections_of_others = 8;  // of all there who may only read: fewer than there are streams
};

class HttpServer {
 public:
  /// To be called once, on the server's thread, at once or later.
  using Respond = std::function<void(HttpResponse)>;
  using Handler = std::function<void(const HttpRequest&, Respond)>;
  using MakeWire = std::function<std::unique_ptr<Wire>(HttpSocket)>;

  /// Takes the place of a socket that an earlier process left. Throws std::system_error when it cannot
  /// listen.
  HttpServer(boost::asio::io_context& io, const std::filesystem::path& socket, Handler handler,
             const HttpLimits& limits = {});

  /// On an address of this machine. Throws in the same way.
  HttpServer(boost::asio::io_context& io, const TcpEndpoint& endpoint, Handler handler,
             const HttpLimits& limits = {}, MakeWire make_wire = plain_wire);
  ~HttpServer();  // removes the socket, and ends all connections

 private:
  class Listener;
  class Session;
  std::shared_ptr<Listener> listener_;
};

}  // namespace linimo
