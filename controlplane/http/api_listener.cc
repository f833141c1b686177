#include "controlplane/http/api_listener.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include <fmt/chrono.h>

#include "controlplane/log.h"

namespace linimo {
namespace {

using std::chrono::system_clock;

constexpr std::chrono::minutes kLook{1};
constexpr std::chrono::days kSoon{7};  // certificates are renewed by people, too

/// Those that renew themselves live for days, and are renewed when two thirds of that are over.
bool ends_soon(const TlsIdentity::Validity& validity) {
  const auto soon = std::min<std::chrono::seconds>(kSoon, (validity.end - validity.begin) / 3);
  return validity.end < std::chrono::floor<std::chrono::seconds>(system_clock::now()) + soon;
}

}  // namespace

ApiListener::ApiListener(boost::asio::io_context& io, HttpServer::Handler answer, uint64_t body_bytes,
                         TcpServer::Tell tell)
    : io_(io),
      answer_(std::move(answer)),
      limits_{.body_bytes = body_bytes, .connections = 64, .streams = 16, .connections_of_peer = 16},
      tell_(std::move(tell)),
      server_(io, "API",
              [this](const std::string& why) {
                unserved_ = why;
                look();
              }),
      next_look_(io) {}

void ApiListener::follow(const std::optional<ApiConfig>& config) {
  const bool stays = config == config_ && server_.serves();
  config_ = config;
  refused_files_.clear();
  if (!config_) return server_.stop();
  if (!stays) return server_.serve(config_->listen, [this] { return make(); });
  try {
    load_identity();
  } catch (const std::runtime_error& error) {
    refused_files_ = fmt::format("the earlier certificates stay: {}", error.what());
    log_error("API: the earlier certificates stay", {{"why", error.what()}});
  }
  look();
}

void ApiListener::look() {
  std::string why = !unserved_.empty() ? unserved_ : refused_files_;
  if (why.empty() && server_.serves() && ends_soon(identity_->validity()))
    why = fmt::format("{} expires at {:%Y-%m-%d %H:%M} UTC", config_->cert_file.string(),
                      fmt::gmtime(identity_->validity().end.time_since_epoch().count()));
  tell_(why);
  next_look_.expires_after(kLook);
  next_look_.async_wait([this](const boost::system::error_code& cancelled) {
    if (!cancelled) look();
  });
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
      [this](HttpRequest request, const HttpServer::Respond& respond) {
        request.may_only_read = why_only_reads(request.client);
        answer_(request, respond);
      },
      limits_, [this](HttpSocket socket) { return identity_->wire(std::move(socket)); });
}

std::string ApiListener::why_only_reads(const std::string& client) const {
  const auto& operators = config_->operators;
  if (std::find(operators.begin(), operators.end(), client) != operators.end()) return {};
  return fmt::format("the certificate {} may only read: [api] operators does not name it", client);
}

}  // namespace linimo
