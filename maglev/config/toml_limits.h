// What a document may be before a parser sees it. TOML parsers recurse over nested values and over the parts
// of a dotted key: a small file with thousands of either would use up the stack of whoever reads it.
#pragma once

#include <string_view>

namespace linimo {

/// Many times what any configuration of ours needs.
inline constexpr unsigned kMaxTomlNesting = 8;   // arrays and inline tables within each other
inline constexpr unsigned kMaxTomlKeyParts = 8;  // a.b.c has 3

/// One pass, no memory: right about every part of a document that is valid up to there, and a parser stops
/// where it is not. Throws a ConfigError that names the place; `name` stands for the file.
void check_toml_limits(std::string_view text, std::string_view name);

}  // namespace linimo
