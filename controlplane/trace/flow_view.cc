#include "controlplane/trace/flow_view.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/trace/id_names.h"
#include "maglev/address.h"
#include "maglev/rules/flow_entry.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr const char* kStates[] = {"empty", "embryonic", "established", "closing"};

IdNames names_of(std::span<const protocol::FoundFlow> flows, const std::optional<SnapshotView>& live) {
  IdNames names;
  for (const protocol::FoundFlow& flow : flows) {
    names.add_service(linimo_flow_service(flow.word));
    names.add_backend(linimo_flow_backend(flow.word));
  }
  names.name_by(live);
  return names;
}

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
  const IdNames names = names_of(told, live);
  json flows = json::array();
  for (const protocol::FoundFlow& flow : told) {
    flows.push_back({{"service", names.service(linimo_flow_service(flow.word))},
                     {"backend", names.backend(linimo_flow_backend(flow.word))},
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
