// What is wrong with arguments, found out before anybody is asked: such are wrong usage (program.h), and what
// the control plane refuses is a failure.
#pragma once

#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <tl/expected.hpp>

#include "maglev/address.h"

namespace linimo {

/// For CLI11's check(): empty where the text can be a backend.
inline std::string backend_mistake(const std::string& text) {
  const size_t slash = text.find('/');
  if (slash != std::string::npos && slash != 0 && Address::parse(text.substr(slash + 1))) return {};
  return fmt::format("\"{}\" names no backend; expected POOL/ADDRESS, as in web/10.0.1.1", text);
}

/// For a command's callback, of arguments that only make sense, or none, together.
template <typename Value>
void require(const tl::expected<Value, std::string>& read) {
  if (!read) throw CLI::ValidationError(read.error());
}

}  // namespace linimo
