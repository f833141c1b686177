// The text exposition format 0.0.4, written straight into one string: a page has a quarter of a million lines
// where there are 20,000 backends, which prometheus-cpp's families of maps of strings take most of a second
// for.
//
//   TextPage page;
//   page.family("linimo_packets_total", "counter", "Packets by what became of them.");
//   page.add(labels({{"outcome", "forwarded"}}), uint64_t{7});
#pragma once

#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

namespace linimo {

/// `name="value",...`, with what would end a value escaped.
inline std::string labels(std::initializer_list<std::pair<std::string_view, std::string_view>> pairs) {
  std::string text;
  for (const auto& [name, value] : pairs) {
    if (!text.empty()) text += ',';
    text.append(name).append("=\"");
    for (const char c : value) {
      if (c == '\\' || c == '"') text += '\\';
      if (c == '\n')
        text += "\\n";
      else
        text += c;
    }
    text += '"';
  }
  return text;
}

class TextPage {
 public:
  /// What is added from here on belongs to it. `help` is one line without a backslash.
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    fmt::format_to(std::back_inserter(text_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }

  /// Prometheus computes in doubles, which are exact up to 2^53: at a hundred million packets a second that
  /// lasts for three years.
  template <typename Number>
  void add(std::string_view with_labels, Number value) {
    text_ += name_;
    if (!with_labels.empty()) text_.append("{").append(with_labels).append("}");
    if constexpr (std::is_integral_v<Number>) {
      const fmt::format_int digits(value);
      text_.append(" ").append(digits.data(), digits.size()).append("\n");
    } else {
      fmt::format_to(std::back_inserter(text_), " {}\n", value);
    }
  }

  /// Of a family whose lines have names of their own: `_bucket`, `_sum`, `_count`.
  template <typename Number>
  void add_part(std::string_view part, std::string_view with_labels, Number value) {
    fmt::format_to(std::back_inserter(text_), "{}{}{{{}}} {}\n", name_, part, with_labels, value);
  }

  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  std::string name_;
};

}  // namespace linimo
