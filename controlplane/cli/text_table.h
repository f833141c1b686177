// Aligned columns for a terminal.
//
//   TextTable table({"BACKEND", "STATE", ">PACKETS"});     // '>': aligned to the right
//   table.add({"10.0.1.1", "up", "1,234"});
//   std::cout << table.render();
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace linimo {

class TextTable {
 public:
  explicit TextTable(const std::vector<std::string>& headings);

  /// As many cells as there are headings.
  void add(std::vector<std::string> cells);
  std::string render() const;

 private:
  std::vector<bool> right_;
  std::vector<size_t> widths_;
  std::vector<std::vector<std::string>> rows_;
};

/// Of an answer: a string as it is, "-" for null, anything else as JSON.
std::string text_of(const nlohmann::json& value);

std::string list_of(const nlohmann::json& values, std::string_view between = ", ");

/// 1234567 as "1,234,567".
std::string grouped(uint64_t number);

/// Bytes with a binary unit: "1.2 GiB".
std::string bytes_text(uint64_t bytes);

}  // namespace linimo
