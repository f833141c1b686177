// HTTP/1.1 over a Unix socket, for programs on the same machine that may open it (mode 0600), or over TCP.
//
//   HttpServer server(io, "/run/linimo/control.sock", [](const HttpRequest& request) { return
//   HttpResponse{...}; });
//
// Whatever arrives is bounded: 64 connections, 8 KiB of header, 64 KiB of body, 10 s for a request or between
// two. The handler runs on the event loop's thread and must not block. Requests that are no HTTP get no
// further than the parser.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "controlplane/config/tcp_endpoint.h"

namespace linimo {

struct HttpRequest {
  std::string method;
  std::string path;  // without the query
  std::string body;
  std::string by;  // who asks, for a log: the process at the other end of a Unix socket; empty over TCP
};

struct HttpResponse {
  unsigned status = 200;
  std::string body;
  const char* content_type = "application/json";
};

class HttpServer {
 public:
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  /// Takes the place of a socket that an earlier process left. Throws std::system_error when it cannot
  /// listen.
  HttpServer(boost::asio::io_context& io, std::filesystem::path socket, Handler handler);

  /// On an address of this machine. Throws in the same way.
  HttpServer(boost::asio::io_context& io, const TcpEndpoint& endpoint, Handler handler);
  ~HttpServer();  // removes the socket

 private:
  class Listener;
  std::shared_ptr<Listener> listener_;
};

}  // namespace linimo
