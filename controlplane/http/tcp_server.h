// A server at an address that the configuration names. One that cannot be had is logged, told of and tried
// again: who reads what it serves must not decide whether packets are forwarded.
//
// Lives on the serving thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "controlplane/http/http_server.h"

namespace linimo {

class TcpServer {
 public:
  /// Throws std::runtime_error if it cannot be.
  using Make = std::function<std::unique_ptr<HttpServer>()>;

  /// Why nothing is served that is to be; empty: it is, or is not to be. On the serving thread.
  using Tell = std::function<void(const std::string& why)>;

  /// `what`: that is served, for the log.
  TcpServer(boost::asio::io_context& io, std::string what, Tell tell)
      : what_(std::move(what)), tell_(std::move(tell)), retry_(io) {}

  /// In the place of what was served before, whose address may be the same.
  void serve(const TcpEndpoint& where, Make make);
  void stop();
  bool serves() const { return server_ != nullptr; }

 private:
  void open();

  std::string what_;
  Tell tell_;
  TcpEndpoint where_;
  Make make_;
  std::unique_ptr<HttpServer> server_;
  boost::asio::steady_timer retry_;
};

}  // namespace linimo
