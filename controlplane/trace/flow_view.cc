#include "controlplane/trace/flow_view.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "maglev/address.h"
#include "maglev/rules/flow_entry.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr const char* kStates[] = {"empty", "embryonic", "established", "closing"};

/// Of the ids that are there alone: a pool may have very many backends.
struct Names {
  std::map<uint32_t, std::string> services, backends;

  Names(std::span<const protocol::FoundFlow> flows, const std::optional<SnapshotView>& live) {
    for (const protocol::FoundFlow& flow : flows) {
      const uint32_t service = linimo_flow_service(flow.word), backend = linimo_flow_backend(flow.word);
      services.try_emplace(service, fmt::format("service {}", service));
      backends.try_emplace(backend, fmt::format("backend {}", backend));
    }
    if (!live) return;
    for (const linimo_service& service : live->services()) {
      if (const auto found = services.find(service.id); found != services.end()) found->second = service.name;
    }
    for (const linimo_pool& pool : live->pools()) {
      for (const linimo_backend& backend : live->backends(pool)) {
        if (const auto found = backends.find(backend.id); found != backends.end())
          found->second = fmt::format("{}/{}", pool.name, Address::from_abi(backend.address).to_string());
      }
    }
  }
};

json endpoint(const linimo_addr& raw, uint16_t port) {
  const Address address = Address::from_abi(raw);
  if (address.is_zero()) return nullptr;
  if (port == 0) return address.to_string();
  const bool v4 = address.is_v4();
  return fmt::format("{}{}{}:{}", v4 ? "" : "[", address.to_string(), v4 ? "" : "]", port);
}

json next(const protocol::FoundFlows& found) {
  return found.cursor == 0 ? json() : json(std::to_string(found.cursor));
}

/// How many of them belong to others, as is to be expected.
double mistaken(const protocol::FoundFlows& found) {
  return static_cast<double>(found.rivals) / (1 << (64 - LINIMO_FLOW_FINGERPRINT_SHIFT));
}

}  // namespace

json flows_view(const protocol::FoundFlows& found, const std::optional<SnapshotView>& live,
                const std::string& memory) {
  const auto told = std::span(found.flows).first(std::min<size_t>(found.count, std::size(found.flows)));
  const Names names(told, live);
  json flows = json::array();
  for (const protocol::FoundFlow& flow : told) {
    flows.push_back({{"service", names.services.at(linimo_flow_service(flow.word))},
                     {"backend", names.backends.at(linimo_flow_backend(flow.word))},
                     {"state", kStates[linimo_flow_state(flow.word)]},
                     {"idle_s", flow.idle_s},
                     {"left_s", flow.left_s},
                     {"row", flow.row},
                     {"from", endpoint(flow.client, flow.client_port)},
                     {"to", endpoint(flow.vip, flow.vip_port)}});
  }
  return {{"flows", std::move(flows)},
          {"memory", memory},
          {"matched", found.matched},
          {"mistaken", mistaken(found)},
          {"next", next(found)}};
}

json cleared_view(const protocol::FoundFlows& found) {
  return {{"cleared", found.cleared}, {"mistaken", mistaken(found)}, {"next", next(found)}};
}

}  // namespace linimo
