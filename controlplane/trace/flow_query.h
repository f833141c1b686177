// Which tracked flows somebody asks for.
//
//   service=web&backend=web/10.0.1.1&client=198.51.100.0/28     each narrows; limit, after may follow
//   protocol=tcp&from=198.51.100.7:4242&to=203.0.113.10:443     one flow
//
// To clear them: at least one of these, or all=1.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "maglev/protocol.h"

namespace linimo {

/// What names stand for; nothing: there is no such.
struct FlowIds {
  std::function<std::optional<uint32_t>(const std::string& name)> service;
  std::function<std::optional<uint32_t>(std::string_view pool_and_address)> backend;
};

/// Of a URL's query. The error says what was expected.
tl::expected<protocol::FindFlows, std::string> flow_query(std::string_view query, const FlowIds& ids,
                                                          bool clears);

}  // namespace linimo
