#include "controlplane/http/api_listener.h"

#include <algorithm>
#include <stdexcept>

#include "controlplane/log.h"

namespace linimo {
namespace {

// A configuration is to be applied whole, as on the control socket.
constexpr HttpLimits kLimits{
    .body_bytes = 4 << 20, .connections = 64, .streams = 16, .connections_of_peer = 16};

}  // namespace

ApiListener::ApiListener(boost::asio::io_context& io, HttpServer::Handler operate, HttpServer::Handler read)
    : io_(io), operate_(std::move(operate)), read_(std::move(read)), server_(io, "API") {}

void ApiListener::follow(const std::optional<ApiConfig>& config) {
  const bool stays = config == config_ && server_.serves();
  config_ = config;
  if (!config_) return server_.stop();
  if (!stays) return server_.serve(config_->listen, [this] { return make(); });
  try {
    load_identity();
  } catch (const std::runtime_error& error) {
    log_error("API: the earlier certificates stay", {{"why", error.what()}});
  }
}

void ApiListener::load_identity() {
  auto loaded = TlsIdentity::load({config_->cert_file, config_->key_file, config_->client_ca_file});
  if (!loaded) throw std::runtime_error(loaded.error());
  identity_ = std::move(*loaded);
}

std::unique_ptr<HttpServer> ApiListener::make() {
  load_identity();
  return std::make_unique<HttpServer>(
      io_, config_->listen,
      [this](const HttpRequest& request, const HttpServer::Respond& respond) {
        (may_change(request.client) ? operate_ : read_)(request, respond);
      },
      kLimits, [this](HttpSocket socket) { return identity_->wire(std::move(socket)); });
}

bool ApiListener::may_change(const std::string& client) const {
  const auto& operators = config_->operators;
  return std::find(operators.begin(), operators.end(), client) != operators.end();
}

}  // namespace linimo
