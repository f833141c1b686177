#include "controlplane/api/dry_run.h"

#include <nlohmann/json.hpp>

#include "maglev/names.h"

namespace linimo {
namespace {

using nlohmann::json;

HttpResponse reply(unsigned status, const json& content) {
  return {status, content.dump(-1, ' ', false, json::error_handler_t::replace)};
}

json view(const Disruption& told) {
  json pools = json::array(), services = json::array();
  for (const PoolDisruption& pool : told.pools) {
    pools.push_back({{"name", pool.pool},
                     {"slots", pool.slots},
                     {"slots_moved", pool.slots_moved},
                     {"share_moved", pool.share_moved},
                     {"share_leaving", pool.share_leaving},
                     {"flows", pool.flows},
                     {"flows_breaking", pool.flows_breaking}});
  }
  for (const ServiceDisruption& service : told.services) {
    services.push_back({{"name", service.service},
                        {"pool", service.pool},
                        {"tracking", kTrackingNames[service.tracking]},
                        {"share_breaking", service.share_breaking}});
  }
  return {{"pools", std::move(pools)}, {"services", std::move(services)}};
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

HttpResponse dry_run(const HttpRequest& request, Controller& controller) {
  const json wish = json::parse(request.body, nullptr, false);
  tl::expected<Disruption, std::string> told = tl::unexpected<std::string>("");
  if (wish.is_object() && wish.contains("config") && wish["config"].is_string()) {
    told = controller.foresee(wish["config"].get<std::string>());
  } else if (wish.is_object() && wish.contains("revision") && wish["revision"].is_string()) {
    const std::string file = text_of(wish, "file");
    told = controller.foresee_revision(wish["revision"].get<std::string>(), file.empty() ? "revision" : file);
  } else if (const auto address = wish.is_object() ? Address::parse(text_of(wish, "backend")) : std::nullopt;
             address && wish.contains("drain") && wish["drain"].is_boolean()) {
    told = controller.foresee({text_of(wish, "pool"), *address}, wish["drain"].get<bool>());
  } else {
    return reply(400, {{"error", R"(say what: {"config": "TEXT"}, {"revision": "TEXT", "file": "NAME"} or )"
                                 R"({"pool": "NAME", "backend": "ADDRESS", "drain": true})"}});
  }
  return told ? reply(200, view(*told)) : reply(422, {{"error", told.error()}});
}

}  // namespace linimo
