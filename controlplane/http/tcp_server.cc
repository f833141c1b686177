#include "controlplane/http/tcp_server.h"

#include <stdexcept>

#include "controlplane/log.h"

namespace linimo {
namespace {

constexpr std::chrono::seconds kRetry{5};

}  // namespace

void TcpServer::serve(const TcpEndpoint& where, Make make) {
  stop();
  where_ = where;
  make_ = std::move(make);
  open();
}

void TcpServer::stop() {
  retry_.cancel();
  make_ = nullptr;  // the timer may have expired already, and its handler wait
  server_.reset();
  tell_("");
}

void TcpServer::open() {
  try {
    server_ = make_();
    tell_("");
    log_info("serving " + what_, {{"listen", where_.to_string()}});
  } catch (const std::runtime_error& error) {
    tell_(error.what());
    log_error(what_ + ": not served, trying again", {{"listen", where_.to_string()}, {"why", error.what()}});
    retry_.expires_after(kRetry);
    retry_.async_wait([this](const boost::system::error_code& cancelled) {
      if (!cancelled && make_ && !server_) open();
    });
  }
}

}  // namespace linimo
