#include "controlplane/trace/capture_view.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/trace/account.h"
#include "controlplane/trace/frame_text.h"
#include "controlplane/trace/query.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr size_t kStepDigits = 16;
constexpr uint32_t kDefaultRate = 1000;

template <typename Number>
bool read_hex(std::string_view digits, Number& number) {
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  return error == std::errc() && end == digits.data() + digits.size();
}

bool read_filter(std::string_view hex, protocol::Capture& question) {
  if (hex.empty() || hex.size() % kStepDigits != 0 || hex.size() > kStepDigits * protocol::kMostFilterSteps)
    return false;
  for (; !hex.empty(); hex.remove_prefix(kStepDigits)) {
    protocol::FilterStep& step = question.filter[question.steps++];
    if (!read_hex(hex.substr(0, 4), step.code) || !read_hex(hex.substr(4, 2), step.if_true) ||
        !read_hex(hex.substr(6, 2), step.if_false) || !read_hex(hex.substr(8, 8), step.k))
      return false;
  }
  return true;
}

std::string hex_of(const uint8_t* bytes, size_t count) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * count);
  for (size_t i = 0; i < count; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

std::string name_of(std::span<const std::string> interfaces, uint8_t port) {
  return port < interfaces.size() ? interfaces[port] : fmt::format("interface {}", port);
}

}  // namespace

tl::expected<protocol::Capture, std::string> capture_query(std::string_view query) {
  protocol::Capture question;
  question.snap = LINIMO_CAPTURE_SNAP;
  question.rate = kDefaultRate;
  for (const auto& [name, value] : query_parameters(query)) {
    if (name == "filter") {
      if (!read_filter(value, question)) {
        return tl::unexpected(
            fmt::format("filter is a program of classic BPF, {} steps at most of {} hexadecimal digits each",
                        protocol::kMostFilterSteps, kStepDigits));
      }
    } else if (name == "snap" || name == "rate") {
      const auto number = number_in<uint32_t>(value);
      const uint32_t least = name == "snap" ? 1 : 10;
      const uint32_t most = name == "snap" ? LINIMO_CAPTURE_SNAP : LINIMO_CAPTURE_RATE;
      if (!number || *number < least || *number > most)
        return tl::unexpected(fmt::format("{} is a number from {} to {}", name, least, most));
      (name == "snap" ? question.snap : question.rate) = *number;
    } else {
      return tl::unexpected(fmt::format("there is no parameter {}", name));
    }
  }
  if (question.steps == 0) return tl::unexpected<std::string>("say which packets: filter=...");
  return question;
}

json captured_view(const linimo_captured& captured, std::span<const std::string> interfaces,
                   const IdNames& names) {
  const bool chosen = captured.backend != LINIMO_CAPTURE_NONE;
  const std::string outcome = outcome_text(captured.outcome), meaning = outcome_meaning(captured.outcome);
  const std::string backend = chosen ? names.backend(captured.backend) : std::string();
  const std::string encapsulation = chosen ? encapsulation_text(captured.encapsulation) : std::string();
  std::string comment = fmt::format("{}: the packet {}", outcome, meaning);
  if (chosen) comment += fmt::format("; backend {}, {}", backend, encapsulation);
  if (captured.fragmented != 0) comment += ", in fragments";
  json out;
  if (captured.out_length != 0) {
    out = {{"interface", name_of(interfaces, captured.out_port)},
           {"length", captured.out_length},
           {"bytes", hex_of(captured.bytes + captured.in_kept, captured.out_kept)}};
  }
  return {{"time_ns", captured.time_ns},
          {"packet", frame_text({captured.bytes, captured.in_kept}, captured.in_length)},
          {"outcome", outcome},
          {"meaning", meaning},
          {"service", chosen ? json(names.service(captured.service)) : json()},
          {"backend", chosen ? json(backend) : json()},
          {"encapsulation", chosen ? json(encapsulation) : json()},
          {"fragmented", captured.fragmented != 0},
          {"comment", std::move(comment)},
          {"in",
           {{"interface", name_of(interfaces, captured.in_port)},
            {"length", captured.in_length},
            {"bytes", hex_of(captured.bytes, captured.in_kept)}}},
          {"out", std::move(out)}};
}

}  // namespace linimo
