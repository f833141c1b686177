#include "controlplane/cli/trace.h"

#include <algorithm>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <pcap/pcap.h>

#include "controlplane/cli/arguments.h"
#include "controlplane/trace/trial_packet.h"

namespace linimo {
namespace {

using nlohmann::json;

/// Frames of a capture file, pcap or pcapng.
tl::expected<std::vector<std::string>, std::string> frames_of(const std::string& file) {
  char error[PCAP_ERRBUF_SIZE] = {};
  const std::unique_ptr<pcap_t, decltype(&pcap_close)> opened(pcap_open_offline(file.c_str(), error),
                                                              pcap_close);
  if (!opened) return tl::unexpected(fmt::format("{}", error));
  if (pcap_datalink(opened.get()) != DLT_EN10MB)
    return tl::unexpected(fmt::format("{}: not captured on Ethernet (tcpdump -i DEVICE, not any)", file));
  std::vector<std::string> frames;
  pcap_pkthdr* header = nullptr;
  const u_char* bytes = nullptr;
  int read = 0;
  while ((read = pcap_next_ex(opened.get(), &header, &bytes)) == 1) {
    if (header->caplen != header->len)
      return tl::unexpected(fmt::format("{}: frame {} is cut short (tcpdump -s 0)", file, frames.size() + 1));
    std::string hex;
    for (uint32_t i = 0; i < header->caplen; ++i) hex += fmt::format("{:02x}", bytes[i]);
    frames.push_back(std::move(hex));
  }
  if (read == PCAP_ERROR) return tl::unexpected(fmt::format("{}: {}", file, pcap_geterr(opened.get())));
  if (frames.empty()) return tl::unexpected(fmt::format("{}: no frames", file));
  return frames;
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                       std::string_view(".:[]-_/").find(c) != std::string_view::npos;
    result += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return result;
}

CLI::App* TraceOptions::add_to(CLI::App& app) {
  auto* command = app.add_subcommand(
      "trace", "what the data plane would do with a packet, step by step; changes and sends nothing");
  command->add_option("PROTOCOL", protocol, "tcp, udp or icmp")->check(CLI::IsMember({"tcp", "udp", "icmp"}));
  command->add_option("FROM", from, "ADDRESS:PORT of the client; for icmp its address");
  command->add_option("TO", to, "ADDRESS:PORT of the VIP; for icmp its address");
  command->add_option("--flags", flags,
                      "TCP's, of the letters FSRPAU (default: S, which begins a connection)");
  command->add_option("--size", size, "bytes of the IP packet (default: headers alone)");
  command->add_option("--quic-id", quic_id, "a QUIC connection id in hexadecimal digits");
  command->add_option("--interface", interface,
                      "by which it comes in (default: the first of [node] interfaces)");
  command->add_option("--pcap", pcap, "real frames instead, out of a file of tcpdump or Wireshark");
  command->add_option("--live", live,
                      "instead, what becomes of real packets, a line each: which, as for tcpdump");
  command->add_option("--count", count, "end after so many")->check(CLI::Range(1, 1'000'000'000));
  command->footer("Example: linimo trace tcp 198.51.100.7:4242 203.0.113.10:443");
  command->callback([this] {
    if (!live && pcap.empty() && !to.empty()) require(trial_packet(query()));
  });
  return command;
}

std::string TraceOptions::query() const {
  std::string query = fmt::format("protocol={}&from={}&to={}", protocol, escaped(from), escaped(to));
  if (!flags.empty()) query += "&flags=" + escaped(flags);
  if (size != 0) query += fmt::format("&size={}", size);
  if (!quic_id.empty()) query += "&quic_id=" + escaped(quic_id);
  return query;
}

tl::expected<std::vector<json>, std::string> trace(const TraceOptions& options, const FetchPath& fetch) {
  const std::string by = options.interface.empty() ? "" : "&interface=" + escaped(options.interface);
  std::vector<std::string> questions;
  if (!options.pcap.empty()) {
    const auto frames = frames_of(options.pcap);
    if (!frames) return tl::unexpected(frames.error());
    for (const std::string& frame : *frames) questions.push_back(fmt::format("frame={}{}", frame, by));
  } else {
    questions.push_back(options.query() + by);
  }
  std::vector<json> answers;
  for (const std::string& question : questions) {
    auto answer = fetch("/v1/trace?" + question);
    if (!answer) return tl::unexpected(answer.error());
    answers.push_back(std::move(*answer));
  }
  return answers;
}

std::string render_trace(const json& answer) {
  constexpr size_t kColumn = 10;
  std::string text;
  for (const json& step : answer.at("steps"))
    text += fmt::format("{:<{}}{}\n", step.at("step").get<std::string>(), kColumn,
                        step.at("says").get<std::string>());
  for (const json& command : answer.at("check"))
    text += fmt::format("{:<{}}{}\n", "check:", kColumn, command.get<std::string>());
  return text;
}

}  // namespace linimo
