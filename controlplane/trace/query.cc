#include "controlplane/trace/query.h"

#include <algorithm>

namespace linimo {

std::optional<Endpoint> endpoint_in(std::string_view text, bool has_port) {
  std::string_view port;
  if (has_port) {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    port = text.substr(colon + 1);
    text = text.substr(0, colon);
    if (text.find(':') != std::string_view::npos && !text.starts_with('[')) return std::nullopt;
  }
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  const auto address = Address::parse(text);
  const auto number = has_port ? number_in<uint16_t>(port) : std::optional<uint16_t>(0);
  if (!address || !number || (has_port && *number == 0)) return std::nullopt;
  return Endpoint{*address, *number};
}

QueryParameters query_parameters(std::string_view query) {
  QueryParameters found;
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(part.size() + 1, query.size()));
    const size_t equals = std::min(part.find('='), part.size());
    found[std::string(part.substr(0, equals))] = part.substr(std::min(equals + 1, part.size()));
  }
  return found;
}

}  // namespace linimo
