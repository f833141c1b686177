#include "controlplane/cli/capture.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pcap/pcap.h>
#include <unistd.h>

#include "controlplane/cli/client.h"
#include "controlplane/cli/pcapng.h"
#include "maglev/program.h"
#include "maglev/protocol.h"

namespace linimo {
namespace {

using nlohmann::json;

volatile std::sig_atomic_t asked_to_end = 0;

std::vector<uint8_t> bytes_of(const std::string& hex) {
  std::vector<uint8_t> bytes;
  bytes.reserve(hex.size() / 2);
  const auto digit = [](char c) { return static_cast<uint8_t>(c <= '9' ? c - '0' : c - 'a' + 10); };
  for (size_t at = 0; at + 1 < hex.size(); at += 2)
    bytes.push_back(static_cast<uint8_t>(digit(hex[at]) << 4 | (digit(hex[at + 1]) & 15)));
  return bytes;
}

std::string text_or(const json& value, const char* otherwise) {
  return value.is_string() ? value.get<std::string>() : otherwise;
}

/// Follows a capture until its end, one of its limits, or Ctrl-C.
class Capturing {
 public:
  using Show = std::function<void(const json& packet, const std::string& raw)>;

  /// `begins`: is called once it does. `goes_on`: what shows can show more.
  Capturing(uint64_t count, uint64_t seconds, std::function<void()> begins, Show show,
            std::function<bool()> goes_on)
      : count_(count), begins_(std::move(begins)), show_(std::move(show)), goes_on_(std::move(goes_on)) {
    if (seconds != 0) until_ = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  }

  /// The exit code; says on standard error how many packets there were.
  int run(const std::string& socket, const std::string& path) {
    struct sigaction action {};
    action.sa_handler = [](int) { asked_to_end = 1; };
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
    const auto reply =
        follow(socket, "POST", path, "", [this](std::string_view bytes) { return take(bytes); });
    if (reply && reply->status == 0) return 0;  // ended before it began
    if (reply && reply->status != 200) {
      const json refusal = json::parse(reply->body, nullptr, false);
      return fail(refusal.is_object() ? text_or(refusal.value("error", json()), "refused") : "refused");
    }
    if (reply) begin();
    std::cerr << fmt::format("linimo: {} packets captured, {} missed\n", shown_, missed_);
    if (!goes_on_()) return fail("what was captured cannot be written");
    if (is_over()) return 0;
    return fail(!reply ? reply.error() : why_.empty() ? "the capture ended" : why_);
  }

 private:
  bool is_over() const {
    return asked_to_end != 0 || (count_ != 0 && shown_ >= count_) ||
           (until_ && std::chrono::steady_clock::now() >= *until_);
  }

  void begin() {
    if (std::exchange(begun_, true)) return;
    begins_();
    std::cerr << "linimo: capturing; Ctrl-C ends it\n";
  }

  bool take(std::string_view bytes) {
    reader_.take(bytes, [this](const StreamedEvent& event) {
      const json data = json::parse(event.data, nullptr, false);
      if (!data.is_object()) return;
      begin();
      if (event.type == "tally") {
        missed_ = data.value("missed", uint64_t{0});
      } else if (event.type == "end") {
        why_ = data.value("reason", "");
      } else if (!is_over()) {
        show_(data, event.data);
        ++shown_;
      }
    });
    return goes_on_() && !is_over();
  }

  uint64_t count_, shown_ = 0, missed_ = 0;
  bool begun_ = false;
  std::optional<std::chrono::steady_clock::time_point> until_;
  std::function<void()> begins_;
  Show show_;
  std::function<bool()> goes_on_;
  EventStreamReader reader_;
  std::string why_;
};

}  // namespace

CLI::App* CaptureOptions::add_to(CLI::App& app) {
  auto* command = app.add_subcommand(
      "capture", "copy packets to a pcapng file, as they came and as they left, with what became of each");
  command->add_option("FILTER", filter, "which packets, as for tcpdump; none: all");
  command->add_option("-w,--write", file, "the file; - is standard output")->required();
  command->add_option("--count", count, "end after so many")->check(CLI::Range(1, 1'000'000'000));
  command->add_option("--seconds", seconds, "end after so long")->check(CLI::Range(1, 1'000'000));
  command->add_option("--snaplen", snap, "bytes to keep of each frame (default: all, up to 4096)")
      ->check(CLI::Range(1U, LINIMO_CAPTURE_SNAP));
  command
      ->add_option("--rate", rate, "packets a second of each worker or queue; more are missed, and counted")
      ->check(CLI::Range(10U, LINIMO_CAPTURE_RATE))
      ->capture_default_str();
  command->footer("Example: linimo capture host 198.51.100.7 and tcp port 443 -w web.pcapng");
  return command;
}

tl::expected<std::string, std::string> capture_path(const std::string& filter, uint32_t snap, uint32_t rate) {
  const std::unique_ptr<pcap_t, decltype(&pcap_close)> ethernet(
      pcap_open_dead(DLT_EN10MB, LINIMO_CAPTURE_SNAP), pcap_close);
  if (!ethernet) return tl::unexpected<std::string>("out of memory");
  bpf_program program{};
  if (pcap_compile(ethernet.get(), &program, filter.c_str(), 1, PCAP_NETMASK_UNKNOWN) != 0)
    return tl::unexpected(fmt::format("\"{}\" is no filter: {}", filter, pcap_geterr(ethernet.get())));
  const std::unique_ptr<bpf_program, decltype(&pcap_freecode)> owner(&program, pcap_freecode);
  if (program.bf_len > protocol::kMostFilterSteps) {
    return tl::unexpected(fmt::format("the filter is too long: {} steps when compiled, at most {} are taken",
                                      program.bf_len, protocol::kMostFilterSteps));
  }
  std::string path =
      fmt::format("/v1/capture?snap={}&rate={}&filter=", snap == 0 ? LINIMO_CAPTURE_SNAP : snap, rate);
  for (uint32_t i = 0; i < program.bf_len; ++i) {
    const bpf_insn& step = program.bf_insns[i];
    path += fmt::format("{:04x}{:02x}{:02x}{:08x}", step.code, step.jt, step.jf, step.k);
  }
  return path;
}

std::string packet_line(const json& packet) {
  const auto time_ns = packet.at("time_ns").get<uint64_t>();
  std::tm local{};
  const auto seconds = static_cast<std::time_t>(time_ns / 1'000'000'000);
  localtime_r(&seconds, &local);
  std::string line =
      fmt::format("{:%H:%M:%S}.{:06} {}: {}", local, time_ns / 1000 % 1'000'000,
                  packet.at("packet").get<std::string>(), packet.at("outcome").get<std::string>());
  if (packet.at("backend").is_string())
    line += fmt::format(", {}, {}", packet["backend"].get<std::string>(),
                        text_or(packet.at("encapsulation"), ""));
  return line;
}

std::string CaptureFile::begin() const {
  return pcapng::beginning("linimo " LINIMO_VERSION);
}

uint32_t CaptureFile::number_of(const std::string& name, std::string& bytes) {
  const auto found = std::ranges::find(interfaces_, name);
  const auto number = static_cast<uint32_t>(found - interfaces_.begin());
  if (found != interfaces_.end()) return number;
  interfaces_.push_back(name);
  bytes += pcapng::interface(name, LINIMO_CAPTURE_SNAP);
  return number;
}

std::string CaptureFile::add(const json& packet) {
  std::string bytes;
  const auto comment = packet.at("comment").get<std::string>();
  for (const auto& [which, direction] :
       {std::pair("in", pcapng::Direction::kIn), std::pair("out", pcapng::Direction::kOut)}) {
    const json& frame = packet.at(which);
    if (frame.is_null()) continue;
    const uint32_t interface =
        number_of(fmt::format("{} {}", frame.at("interface").get<std::string>(), which), bytes);
    const auto content = bytes_of(frame.at("bytes").get<std::string>());
    bytes += pcapng::packet({.interface = interface,
                             .time_ns = packet.at("time_ns").get<uint64_t>(),
                             .length = frame.at("length").get<uint32_t>(),
                             .direction = direction,
                             .bytes = content,
                             .comment = comment});
  }
  return bytes;
}

int capture(const std::string& socket, const CaptureOptions& options) {
  const auto path =
      capture_path(fmt::format("{}", fmt::join(options.filter, " ")), options.snap, options.rate);
  if (!path) {
    fail(path.error());
    return kUsage;
  }
  if (options.file == "-" && isatty(STDOUT_FILENO) != 0)
    return fail("standard output is a terminal: linimo capture -w - | tshark -r -");
  std::ofstream file;
  if (options.file != "-") {  // what it holds goes only once there is something to put in its place
    file.open(options.file, std::ios::binary | std::ios::app);
    if (!file) return fail(fmt::format("{}: {}", options.file, std::strerror(errno)));
  }
  std::ostream& to = options.file == "-" ? std::cout : file;
  CaptureFile packets;
  Capturing capturing(
      options.count, options.seconds,
      [&] {
        std::error_code not_a_file;  // a device or a pipe, which has no length
        if (options.file != "-") std::filesystem::resize_file(options.file, 0, not_a_file);
        to << packets.begin() << std::flush;
      },
      [&](const json& packet, const std::string&) { to << packets.add(packet); },
      [&] { return to.flush().good(); });
  return capturing.run(socket, *path);
}

int trace_live(const std::string& socket, const std::string& filter, uint64_t count, bool as_json) {
  constexpr uint32_t kHeaders = 128, kRate = 1000;
  const auto path = capture_path(filter, kHeaders, kRate);
  if (!path) {
    fail(path.error());
    return kUsage;
  }
  Capturing capturing(
      count, 0, [] {},
      [as_json](const json& packet, const std::string& raw) {
        std::cout << (as_json ? raw : packet_line(packet)) << '\n';
      },
      [] { return std::cout.flush().good(); });
  return capturing.run(socket, *path);
}

}  // namespace linimo
