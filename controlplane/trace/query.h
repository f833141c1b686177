// What the queries of packets and flows have in common.
#pragma once

#include <charconv>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "maglev/address.h"

namespace linimo {

/// By name; of several of one name the last. Percent signs with two digits are undone.
using QueryParameters = std::map<std::string, std::string, std::less<>>;

QueryParameters query_parameters(std::string_view query);

template <typename Number>
std::optional<Number> number_in(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

struct Endpoint {
  Address address;
  uint16_t port = 0;
};

/// "198.51.100.7:4242", "[2001:db8::7]:4242"; without a port where the protocol has none.
std::optional<Endpoint> endpoint_in(std::string_view text, bool has_port);

}  // namespace linimo
