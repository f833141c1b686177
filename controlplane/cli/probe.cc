#include "controlplane/cli/probe.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include "controlplane/cli/arguments.h"
#include "controlplane/cli/text_table.h"
#include "maglev/address.h"
#include "maglev/unique_fd.h"

namespace linimo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostRead = size_t{64} * 1024;  // of an answer
constexpr size_t kLongestName = 80;

struct Target {
  Address address;
  uint16_t port;
};

std::optional<Target> target_in(std::string text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [parsed, error] = std::from_chars(text.data() + colon + 1, end, port);
  std::string address = text.substr(0, colon);
  if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
  const auto found = Address::parse(address);
  if (!found || error != std::errc() || parsed != end || port == 0) return std::nullopt;
  return Target{*found, port};
}

tl::expected<void, std::string> mistake_in(const ProbeOptions& options) {
  if (!target_in(options.target))
    return tl::unexpected(fmt::format("\"{}\" is no ADDRESS:PORT, as in 203.0.113.10:80", options.target));
  if (!options.path.empty() &&
      (options.path.front() != '/' || options.path.find_first_of("\r\n ") != std::string::npos))
    return tl::unexpected(std::string("--http takes a path, as in /"));
  if (options.netns.find('/') != std::string::npos)
    return tl::unexpected(std::string("--netns takes a name of `ip netns`"));
  return {};
}

tl::expected<void, std::string> enter(const std::string& netns) {
  if (netns.empty()) return {};
  const UniqueFd fd(open(("/run/netns/" + netns).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || setns(fd.get(), CLONE_NEWNET) != 0)
    return tl::unexpected(fmt::format("network namespace {}: {}", netns, std::strerror(errno)));
  return {};
}

/// One connection, and what it was asked. The error is the reason as it is shown.
class Attempt {
 public:
  Attempt(const Target& target, const ProbeOptions& options)
      : target_(target),
        options_(options),
        until_(Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                  std::chrono::duration<double>(options.timeout_s))) {}

  tl::expected<std::string, std::string> run() {
    if (auto connected = connect_to(); !connected) return tl::unexpected(connected.error());
    if (options_.path.empty()) return std::string();
    const bool v4 = target_.address.is_v4();
    const std::string host = v4 ? target_.address.to_string() : '[' + target_.address.to_string() + ']';
    const std::string request =
        fmt::format("GET {} HTTP/1.0\r\nHost: {}\r\nUser-Agent: linimo-probe\r\n\r\n", options_.path, host);
    if (send(fd_.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
      return tl::unexpected(reason("request"));
    auto answer = read_all();
    if (!answer) return answer;
    const size_t space = answer->find(' ');
    const std::string status = space == std::string::npos ? "" : answer->substr(space + 1, 3);
    if (!answer->starts_with("HTTP/")) return tl::unexpected(std::string("the answer is no HTTP"));
    if (!status.starts_with('2') && !status.starts_with('3')) return tl::unexpected("HTTP status " + status);
    return backend_named_by(*answer, options_.header);
  }

 private:
  static std::string reason(const char* what) { return fmt::format("{}: {}", what, std::strerror(errno)); }

  bool wait(short event) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until_ - Clock::now()).count();
    pollfd waited{fd_.get(), event, 0};
    if (left > 0 && poll(&waited, 1, static_cast<int>(left)) > 0) return true;
    errno = ETIMEDOUT;
    return false;
  }

  tl::expected<void, std::string> connect_to() {
    const Address& address = target_.address;
    sockaddr_in v4{.sin_family = AF_INET, .sin_port = htons(target_.port), .sin_addr = {}, .sin_zero = {}};
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(target_.port);
    if (address.is_v4())
      v4.sin_addr.s_addr = address.v4_network_order();
    else
      std::memcpy(&v6.sin6_addr, address.bytes.data(), sizeof v6.sin6_addr);
    const auto* to =
        address.is_v4() ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
    fd_ = UniqueFd(socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const socklen_t size = address.is_v4() ? sizeof v4 : sizeof v6;
    if (!fd_ || (connect(fd_.get(), to, size) != 0 && errno != EINPROGRESS))
      return tl::unexpected(reason("connect"));
    int error = 0;
    socklen_t length = sizeof error;
    if (!wait(POLLOUT)) return tl::unexpected(reason("connect"));
    getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    errno = error;
    if (error != 0) return tl::unexpected(reason("connect"));
    return {};
  }

  tl::expected<std::string, std::string> read_all() {
    std::string answer;
    char buffer[4096];
    while (answer.size() < kMostRead) {
      if (!wait(POLLIN)) return tl::unexpected(reason("answer"));
      const ssize_t length = recv(fd_.get(), buffer, sizeof buffer, 0);
      if (length < 0) return tl::unexpected(reason("answer"));
      if (length == 0) break;
      answer.append(buffer, static_cast<size_t>(length));
    }
    return answer;
  }

  const Target& target_;
  const ProbeOptions& options_;
  const Clock::time_point until_;
  UniqueFd fd_;
};

/// Printable, and no longer than a name.
std::string name_in(std::string_view text) {
  std::string name;
  for (const char c : text.substr(0, text.find_first_of("\r\n"))) {
    if (name.size() < kLongestName && std::isprint(static_cast<unsigned char>(c)) != 0) name += c;
  }
  const size_t first = name.find_first_not_of(' ');
  return first == std::string::npos ? "" : name.substr(first, name.find_last_not_of(' ') - first + 1);
}

double at_quantile(std::vector<double> sorted, double quantile) {
  std::ranges::sort(sorted);
  return sorted[static_cast<size_t>(std::lround(quantile * static_cast<double>(sorted.size() - 1)))];
}

uint32_t answers_of(const ProbeReport& report) {
  return std::accumulate(
      report.answered_ms.begin(), report.answered_ms.end(), 0U,
      [](uint32_t sum, const auto& one) { return sum + static_cast<uint32_t>(one.second.size()); });
}

}  // namespace

CLI::App* ProbeOptions::add_to(CLI::App& app) {
  auto* command = app.add_subcommand(
      "probe", "ask a VIP as a client does, ten times one after another: latency, failures, who answers");
  command->add_option("VIP:PORT", target, "such as 203.0.113.10:80 or [2001:db8:f::10]:80")->required();
  command->add_option("--count", count, "end after so many")->check(CLI::Range(1, 1'000'000'000));
  command->add_option("--http", path, "ask for this path, such as /; without: connections alone");
  command->add_option("--header", header,
                      "of the answer, which names the backend (default: the first line of its body)");
  command->add_option("--netns", netns, "the network namespace where the client is");
  command->add_option("--timeout", timeout_s, "of one connection, in seconds")
      ->check(CLI::Range(0.01, 60.0))
      ->capture_default_str();
  command->callback([this] { require(mistake_in(*this)); });
  return command;
}

std::string backend_named_by(const std::string& answer, const std::string& header) {
  const size_t body = answer.find("\r\n\r\n");
  if (body == std::string::npos) return "";
  if (header.empty()) return name_in(std::string_view(answer).substr(body + 4));
  const auto lower = [](std::string text) {
    std::ranges::transform(text, text.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
  };
  const std::string wanted = "\r\n" + lower(header) + ':';
  const size_t at = lower(answer.substr(0, body)).find(wanted);
  return at == std::string::npos ? "" : name_in(std::string_view(answer).substr(at + wanted.size()));
}

std::map<std::string, double> shares_between(const nlohmann::json& before, const nlohmann::json& after) {
  std::map<std::string, uint64_t> was;
  const auto name_of = [](const nlohmann::json& backend) {
    return fmt::format("{}/{}", backend.at("pool").get<std::string>(),
                       backend.at("address").get<std::string>());
  };
  for (const auto& backend : before) was[name_of(backend)] = backend.at("packets").get<uint64_t>();
  std::map<std::string, double> shares;
  double all = 0;
  for (const auto& backend : after) {
    const auto found = was.find(name_of(backend));
    const auto packets = backend.at("packets").get<uint64_t>();
    if (found == was.end() || packets <= found->second) continue;
    all += shares[found->first] = static_cast<double>(packets - found->second);
  }
  for (auto& [name, share] : shares) share /= all;
  return shares;
}

tl::expected<ProbeReport, std::string> probe(const ProbeOptions& options) {
  if (auto mistake = mistake_in(options); !mistake) return tl::unexpected(mistake.error());
  const auto target = target_in(options.target);
  if (auto entered = enter(options.netns); !entered) return tl::unexpected(entered.error());
  ProbeReport report;
  for (uint32_t i = 0; i < options.count; ++i) {
    const auto begun = Clock::now();
    const auto answered = Attempt(*target, options).run();
    const std::chrono::duration<double, std::milli> took = Clock::now() - begun;
    if (answered)
      report.answered_ms[*answered].push_back(took.count());
    else
      ++report.failures[answered.error()];
  }
  return report;
}

std::string render_probe(const ProbeReport& report) {
  const uint32_t answers = answers_of(report);
  TextTable table({"ANSWERED BY", ">ANSWERS", ">SHARE", ">MEDIAN", ">99 %", ">MAX"});
  for (const auto& [name, times] : report.answered_ms) {
    const auto ms = [&times = times](double quantile) {
      return fmt::format("{:.1f} ms", at_quantile(times, quantile));
    };
    table.add({name.empty() ? "(does not say)" : name, grouped(times.size()),
               fmt::format("{:.1f} %", 100.0 * static_cast<double>(times.size()) / answers), ms(0.5),
               ms(0.99), ms(1)});
  }
  std::string text = answers == 0 ? "" : table.render();
  for (const auto& [name, share] : report.estimated_shares)
    text += fmt::format("about {:.0f} % of the packets went to {} meanwhile\n", 100 * share, name);
  for (const auto& [reason, count] : report.failures) text += fmt::format("{} failed: {}\n", count, reason);
  return text;
}

nlohmann::json probe_json(const ProbeReport& report) {
  nlohmann::json answered = nlohmann::json::array();
  for (const auto& [name, times] : report.answered_ms) {
    answered.push_back({{"backend", name.empty() ? nlohmann::json() : nlohmann::json(name)},
                        {"answers", times.size()},
                        {"share", static_cast<double>(times.size()) / answers_of(report)},
                        {"median_ms", at_quantile(times, 0.5)},
                        {"p99_ms", at_quantile(times, 0.99)},
                        {"max_ms", at_quantile(times, 1)}});
  }
  nlohmann::json all = {
      {"answers", answers_of(report)}, {"answered_by", std::move(answered)}, {"failures", report.failures}};
  if (!report.estimated_shares.empty()) all["estimated_shares"] = report.estimated_shares;
  return all;
}

}  // namespace linimo
