#include "controlplane/api/routes.h"

#include <optional>

#include <nlohmann/json.hpp>

#include "controlplane/api/views.h"
#include "controlplane/metrics/metrics.h"

namespace linimo {
namespace {

using nlohmann::json;

HttpResponse reply(unsigned status, const json& content) {
  // Texts from the data plane or from a file name need not be UTF-8; a view must not fail over them.
  return {status, content.dump(-1, ' ', false, json::error_handler_t::replace)};
}

HttpResponse reload(const HttpRequest& request, Controller& controller) {
  const auto reloaded = controller.reload(request.by);
  if (!reloaded) return reply(422, {{"error", reloaded.error()}});
  return reply(200, {{"reloaded", true}, {"restart_needed", controller.restart_needed()}});
}

/// {"pool": "web", "backend": "10.0.1.1"}
std::optional<BackendKey> named_backend(const std::string& body) {
  const json named = json::parse(body, nullptr, false);
  if (!named.is_object() || !named.value("pool", json()).is_string() ||
      !named.value("backend", json()).is_string())
    return std::nullopt;
  const auto address = Address::parse(named["backend"].get<std::string>());
  if (!address) return std::nullopt;
  return BackendKey{named["pool"].get<std::string>(), *address};
}

HttpResponse drain(const HttpRequest& request, Controller& controller, bool wanted) {
  const auto backend = named_backend(request.body);
  if (!backend) return reply(400, {{"error", R"(say which: {"pool": "NAME", "backend": "ADDRESS"})"}});
  if (const auto done = controller.drain(*backend, wanted, request.by); !done)
    return reply(422, {{"error", done.error()}});
  return reply(200, {{"pool", backend->pool}, {"backend", backend->address.to_string()}, {"drain", wanted}});
}

HttpResponse drain_node(const HttpRequest& request, Controller& controller, bool wish) {
  const auto done =
      wish ? controller.announcer().drain(request.by) : controller.announcer().undrain(request.by);
  if (!done) return reply(422, {{"error", done.error()}});
  return reply(200, {{"state", drain_phase_name(controller.announcer().phase())}});
}

struct Route {
  const char* path;
  json (*view)(const Controller&);
};
constexpr Route kViews[] = {{"/v1/status", status_view},
                            {"/v1/services", services_view},
                            {"/v1/backends", backends_view},
                            {"/v1/pools", pools_view}};

}  // namespace

HttpResponse answer(const HttpRequest& request, Controller& controller) {
  for (const Route& route : kViews) {
    if (request.path != route.path) continue;
    if (request.method != "GET") return reply(405, {{"error", "use GET"}});
    return reply(200, route.view(controller));
  }
  if (request.path == "/metrics") {
    if (request.method != "GET") return reply(405, {{"error", "use GET"}});
    return {200, metrics_page(controller), kMetricsContentType};
  }
  if (request.path == "/v1/reload") {
    if (request.method != "POST") return reply(405, {{"error", "use POST"}});
    return reload(request, controller);
  }
  if (request.path == "/v1/drain" || request.path == "/v1/undrain") {
    if (request.method != "POST") return reply(405, {{"error", "use POST"}});
    return drain(request, controller, request.path == "/v1/drain");
  }
  if (request.path == "/v1/node/drain" || request.path == "/v1/node/undrain") {
    if (request.method != "POST") return reply(405, {{"error", "use POST"}});
    return drain_node(request, controller, request.path == "/v1/node/drain");
  }
  return reply(404, {{"error",
                      "no such path; there are /v1/status, /v1/services, /v1/backends, /v1/pools, "
                      "/v1/reload, /v1/drain, /v1/undrain, /v1/node/drain, /v1/node/undrain, /metrics"}});
}

}  // namespace linimo
