#include "controlplane/trace/query.h"

#include <algorithm>

namespace linimo {
namespace {

/// Browsers and libraries send ":" as "%3A". What is no such thing stays, and is refused by whoever reads it.
std::string unescaped(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digits = text.substr(i + 1, 2);
    uint8_t byte = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    const bool escape =
        text[i] == '%' && digits.size() == 2 && error == std::errc() && end == digits.data() + 2;
    plain += escape ? static_cast<char>(byte) : text[i];
    if (escape) i += 2;
  }
  return plain;
}

}  // namespace

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
    found[unescaped(part.substr(0, equals))] = unescaped(part.substr(std::min(equals + 1, part.size())));
  }
  return found;
}

}  // namespace linimo
