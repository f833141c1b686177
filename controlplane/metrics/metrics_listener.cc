#include "controlplane/metrics/metrics_listener.h"

#include "controlplane/log.h"
#include "controlplane/metrics/metrics.h"

namespace linimo {
namespace {

constexpr std::chrono::seconds kRetry{5};
constexpr const char* kPlainText = "text/plain; charset=utf-8";

HttpResponse answer_metrics(const HttpRequest& request, const Controller& controller) {
  if (request.path != "/metrics") return {404, "there is /metrics\n", kPlainText};
  if (request.method != "GET") return {405, "use GET\n", kPlainText};
  return {200, metrics_page(controller), kMetricsContentType};
}

}  // namespace

MetricsListener::MetricsListener(boost::asio::io_context& io, const Controller& controller)
    : io_(io), controller_(controller), retry_(io) {}

void MetricsListener::follow(const MetricsConfig& config) {
  if (config == config_) return;
  config_ = config;
  retry_.cancel();
  server_.reset();  // first: the new address may be the old one under another name
  open();
}

void MetricsListener::open() {
  if (!config_.listen) return;
  try {
    server_.emplace(io_, *config_.listen,
                    [this](const HttpRequest& request) { return answer_metrics(request, controller_); });
    log_info("serving metrics", {{"listen", config_.listen->to_string()}});
  } catch (const std::system_error& error) {
    log_error("metrics are not served, trying again", {{"why", error.what()}});
    retry_.expires_after(kRetry);
    retry_.async_wait([this](const boost::system::error_code& cancelled) {
      if (!cancelled) open();
    });
  }
}

}  // namespace linimo
