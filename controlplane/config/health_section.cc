#include <algorithm>
#include <cctype>
#include <charconv>
#include <fstream>

#include <arpa/nameser.h>
#include <fmt/format.h>

#include "controlplane/config/sections.h"
#include "controlplane/config/values.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;

/// Which keys say something to which checks; those that are not listed say something to all.
struct KeyUse {
  std::string_view key;
  std::initializer_list<CheckType> checks;
};
const KeyUse kKeyUses[] = {
    {"port",
     {CheckType::kTcp, CheckType::kHttp, CheckType::kTls, CheckType::kHttps, CheckType::kGrpc,
      CheckType::kUdp, CheckType::kDns, CheckType::kExec}},
    {"path", {CheckType::kHttp, CheckType::kHttps}},
    {"status", {CheckType::kHttp, CheckType::kHttps}},
    {"body", {CheckType::kHttp, CheckType::kHttps}},
    {"drain_header", {CheckType::kHttp, CheckType::kHttps}},
    {"through_tunnel",
     {CheckType::kTcp, CheckType::kHttp, CheckType::kTls, CheckType::kHttps, CheckType::kGrpc}},
    {"host", {CheckType::kHttp, CheckType::kTls, CheckType::kHttps, CheckType::kGrpc}},
    {"tls", {CheckType::kGrpc}},
    {"verify", {CheckType::kTls, CheckType::kHttps, CheckType::kGrpc}},
    {"ca_file", {CheckType::kTls, CheckType::kHttps, CheckType::kGrpc}},
    {"service", {CheckType::kGrpc}},
    {"send", {CheckType::kUdp}},
    {"send_hex", {CheckType::kUdp}},
    {"expect", {CheckType::kUdp, CheckType::kDns}},
    {"expect_hex", {CheckType::kUdp}},
    {"query", {CheckType::kDns}},
    {"record", {CheckType::kDns}},
    {"program", {CheckType::kExec}},
};

void refuse_keys_of_other_checks(const TomlTable& table, CheckType type) {
  for (const KeyUse& use : kKeyUses) {
    const TomlValue* given = table.find(use.key);
    if (given == nullptr || std::find(use.checks.begin(), use.checks.end(), type) != use.checks.end())
      continue;
    std::string types;
    for (const CheckType check : use.checks) {
      types += fmt::format("{}\"{}\"", types.empty() ? "" : " or ", kCheckTypeNames[static_cast<int>(check)]);
    }
    given->place().attempt([&] {
      given->fail(fmt::format("\"{}\" means nothing to a check of type {}", use.key,
                              kCheckTypeNames[static_cast<int>(type)]),
                  fmt::format("it with type = {} only", types));
    });
  }
}

std::string read_url_path(const TomlValue& value) {
  constexpr std::string_view kExpected = "a path such as \"/healthz\", printable and without spaces";
  const std::string& path = value.string(kExpected);
  const auto allowed = [](char c) { return c > ' ' && c < 0x7f && c != '#'; };
  if (!path.starts_with('/') || path.size() > 1024 || !std::all_of(path.begin(), path.end(), allowed)) {
    value.fail("not a path", kExpected);
  }
  return path;
}

/// `extra`: characters that may stand in it besides letters and digits.
std::string read_host(const TomlValue& value, std::string_view extra, std::string_view expected) {
  const std::string& host = value.string(expected);
  const auto allowed = [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || extra.find(c) != std::string_view::npos;
  };
  if (host.empty() || host.size() > 255 || !std::all_of(host.begin(), host.end(), allowed)) {
    value.fail("not a host name", expected);
  }
  return host;
}

std::vector<StatusRange> read_status_set(const TomlValue& value) {
  constexpr std::string_view kExpected =
      "statuses from 100 to 599 and ranges of them, such as \"200-299,304\"";
  std::string_view text = value.string(kExpected);
  std::vector<StatusRange> ranges;
  while (true) {
    StatusRange range;
    const char* const end = text.data() + text.size();
    auto [rest, error] = std::from_chars(text.data(), end, range.first);
    range.last = range.first;
    if (error == std::errc{} && rest != end && *rest == '-') {
      const std::from_chars_result last = std::from_chars(rest + 1, end, range.last);
      rest = last.ptr;
      error = last.ec;
    }
    if (error != std::errc{} || range.first < 100 || range.last > 599 || range.last < range.first ||
        (rest != end && *rest != ',')) {
      value.fail("not a set of statuses", kExpected);
    }
    ranges.push_back(range);
    if (rest == end) return ranges;
    text = std::string_view(rest + 1, static_cast<size_t>(end - rest - 1));
  }
}

std::vector<StatusRange> read_statuses(const TomlValue& value) {
  if (value.is_integer()) {
    const auto status = static_cast<uint16_t>(value.integer(100, 599));
    return {{status, status}};
  }
  if (value.is_string()) return read_status_set(value);
  constexpr std::string_view kExpected =
      "a status such as 200, a range [first, last] such as [200, 399], or a set such as \"200-299,304\"";
  const TomlValue::Array& ends = value.array(kExpected);
  if (ends.size() != 2) value.fail("not two numbers", kExpected);
  const auto first = static_cast<uint16_t>(ends[0].integer(100, 599));
  return {{first, static_cast<uint16_t>(ends[1].integer(first, 599))}};
}

std::string read_text(const TomlValue& value, size_t longest) {
  const std::string expected = fmt::format("a text of 1 to {} bytes", longest);
  const std::string& text = value.string(expected);
  if (text.empty() || text.size() > longest) value.fail("empty or too long", expected);
  return text;
}

/// Bytes given as text under `key` or in hexadecimal under `key`_hex.
std::string read_bytes(const TomlTable& table, const char* key, const char* hex_key) {
  constexpr size_t kLongest = 1024;  // fits any datagram
  const TomlValue* text = table.find(key);
  const TomlValue* hex = table.find(hex_key);
  if (text != nullptr && hex != nullptr) hex->fail(fmt::format("{} and {}", key, hex_key), "one of the two");
  if (text != nullptr) return read_text(*text, kLongest);
  if (hex == nullptr) return {};
  constexpr std::string_view kExpected = "1 to 1024 bytes in hexadecimal, such as \"0a1b\"";
  const std::string& digits = hex->string(kExpected);
  const auto is_hex = [](unsigned char c) { return std::isxdigit(c) != 0; };
  if (digits.empty() || digits.size() % 2 != 0 || digits.size() > 2 * kLongest ||
      !std::all_of(digits.begin(), digits.end(), is_hex)) {
    hex->fail("not bytes in hexadecimal", kExpected);
  }
  std::string bytes;
  for (size_t i = 0; i < digits.size(); i += 2)
    bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  return bytes;
}

void read_http(const TomlTable& table, HealthCheckConfig& health) {
  table.with("path", [&](const TomlValue& value) { health.path = read_url_path(value); });
  table.with("status", [&](const TomlValue& value) { health.statuses = read_statuses(value); });
  table.with("body", [&](const TomlValue& value) { health.body = read_text(value, 1024); });
  table.with("drain_header", [&](const TomlValue& value) {
    health.drain_header = read_host(value, "-_", "the name of a header, such as \"X-Drain\"");
  });
}

void read_tls(const TomlTable& table, HealthCheckConfig& health) {
  table.with("verify", [&](const TomlValue& value) {
    health.verify = value.boolean();
    if (health.verify && table.find("host") == nullptr)
      value.fail("there is no name to verify", "host = \"...\" too");
  });
  table.with("ca_file", [&](const TomlValue& value) {
    constexpr std::string_view kExpected = "the absolute path of a file of certificates (PEM)";
    health.ca_file = value.string(kExpected);
    if (!health.ca_file.starts_with('/') || health.ca_file.find('\0') != std::string::npos)
      value.fail("not an absolute path", kExpected);
    if (!health.verify) value.fail("nothing is verified", "verify = true too");
    if (!std::ifstream(health.ca_file)) value.fail("not a file that can be read", kExpected);
  });
}

void read_grpc(const TomlTable& table, HealthCheckConfig& health) {
  table.with("tls", [&](const TomlValue& value) { health.tls = value.boolean(); });
  // The length of such a name is one byte in the request (grpc_health.h).
  table.with("service", [&](const TomlValue& value) { health.service = value.name(127); });
  for (const char* key : {"verify", "ca_file"}) {
    table.with(key, [&](const TomlValue& value) {
      if (!health.tls) value.fail(fmt::format("\"{}\" without TLS", key), "tls = true too");
    });
  }
}

void read_udp(const TomlTable& table, HealthCheckConfig& health) {
  table.place().attempt([&] { health.send = read_bytes(table, "send", "send_hex"); });
  table.place().attempt([&] { health.expect = read_bytes(table, "expect", "expect_hex"); });
  if (table.find("send") == nullptr && table.find("send_hex") == nullptr) {
    table.place().fail("\"send\" is missing", "send = \"...\" (or send_hex), what the backend is asked");
  }
}

void read_dns(const TomlTable& table, HealthCheckConfig& health) {
  constexpr std::string_view kQuery = "query = \"...\", a name such as \"example.org\"";
  table.with_required("query", kQuery,
                      [&](const TomlValue& value) { health.query = read_host(value, "-._", kQuery); });
  constexpr uint16_t kRecords[] = {ns_t_a, ns_t_aaaa, ns_t_ns, ns_t_soa, ns_t_txt};
  table.with("record", [&](const TomlValue& value) {
    health.record = kRecords[value.one_of({"A", "AAAA", "NS", "SOA", "TXT"})];
  });
  table.with("expect", [&](const TomlValue& value) {
    constexpr std::string_view kExpected = "an address of the record's family, A or AAAA";
    const auto address = Address::parse(value.string(kExpected));
    if (!address || health.record != (address->is_v4() ? ns_t_a : ns_t_aaaa))
      value.fail("not an address that the answer may have", kExpected);
    health.expect_address = address;
  });
}

void read_exec(const TomlTable& table, HealthCheckConfig& health) {
  const TomlValue& program =
      table.require("program", fmt::format("program = \"...\", the name of a file in {}", kChecksFolder));
  health.program = program.name(255);
  if (health.program.starts_with('.'))
    program.fail("a hidden file", fmt::format("the name of a program in {}", kChecksFolder));
}

void read_times(const TomlTable& table, HealthCheckConfig& health) {
  table.with("interval", [&](const TomlValue& value) {
    health.interval = read_duration(value, milliseconds(50), std::chrono::hours(1));
    health.timeout = std::min(health.timeout, health.interval);
  });
  table.with("timeout", [&](const TomlValue& value) {
    // One check must end before the next begins: only then is the time to notice a failure bounded.
    health.timeout = read_duration(value, milliseconds(10), health.interval);
  });
  health.rise = static_cast<uint32_t>(table.integer_or("rise", health.rise, 1, 100));
  health.fall = static_cast<uint32_t>(table.integer_or("fall", health.fall, 1, 100));
  health.down_interval = 2 * health.interval;
  table.with("fast_retry", [&](const TomlValue& value) {
    health.fast_retry = read_duration(value, milliseconds(50), health.interval);
  });
  table.with("down_interval", [&](const TomlValue& value) {
    health.down_interval = read_duration(value, health.interval, std::chrono::hours(1));
  });
}

void read_conclusions(const TomlTable& table, HealthCheckConfig& health) {
  table.with("detector", [&](const TomlValue& value) {
    health.detector = static_cast<Detector>(value.one_of(kDetectorNames));
  });
  table.with("phi_threshold", [&](const TomlValue& value) {
    if (health.detector != Detector::kPhi)
      value.fail("phi_threshold means nothing here", "it with detector = \"phi\" only");
    health.phi_threshold = static_cast<double>(value.integer(1, 16));
  });
  health.panic = static_cast<uint32_t>(table.integer_or("panic", health.panic, 0, 100));
  table.with("slow_start", [&](const TomlValue& value) {
    health.slow_start = read_duration(value, milliseconds(0), std::chrono::hours(1));
  });
  table.with("flap_half_life", [&](const TomlValue& value) {
    health.flap_half_life = read_duration(value, milliseconds(0), std::chrono::hours(1));
  });
}

void read_port(const TomlTable& table, HealthCheckConfig& health) {
  if (health.type == CheckType::kDns) health.port = NS_DEFAULTPORT;
  const bool needed =
      health.type != CheckType::kDns && health.type != CheckType::kIcmp && health.type != CheckType::kExec;
  if (needed || table.find("port") != nullptr) {
    table.with_required("port", "the port to check", [&](const TomlValue& value) {
      health.port = static_cast<uint16_t>(value.integer(1, 65535));
    });
  }
}

/// What is of one type's own.
void read_type(const TomlTable& table, HealthCheckConfig& health) {
  switch (health.type) {
    case CheckType::kHttps:
    case CheckType::kHttp:
      read_http(table, health);
      break;
    case CheckType::kGrpc:
      read_grpc(table, health);
      break;
    case CheckType::kUdp:
      read_udp(table, health);
      break;
    case CheckType::kDns:
      read_dns(table, health);
      break;
    case CheckType::kExec:
      read_exec(table, health);
      break;
    case CheckType::kTcp:
    case CheckType::kTls:
    case CheckType::kIcmp:
      break;
  }
}

}  // namespace

HealthCheckConfig read_health(const TomlValue& value) {
  const TomlTable table =
      value.table({"type",          "port",         "interval",   "timeout",        "rise",
                   "fall",          "path",         "status",     "body",           "host",
                   "tls",           "verify",       "ca_file",    "service",        "send",
                   "send_hex",      "expect",       "expect_hex", "query",          "record",
                   "program",       "drain_header", "fast_retry", "down_interval",  "detector",
                   "phi_threshold", "panic",        "slow_start", "flap_half_life", "through_tunnel"});
  HealthCheckConfig health;
  health.type = static_cast<CheckType>(
      table.require("type", "type = \"tcp\", \"http\" or another in health").one_of(kCheckTypeNames));
  refuse_keys_of_other_checks(table, health.type);
  read_port(table, health);
  table.with("host", [&](const TomlValue& value) {
    health.host = health.type == CheckType::kHttp
                      ? read_host(value, "-._:[]", "the value of a Host header, such as \"www.example.org\"")
                      : read_host(value, "-._", "a host name such as \"www.example.org\"");
  });
  table.place().attempt([&] { read_type(table, health); });
  read_tls(table, health);
  table.with("through_tunnel", [&](const TomlValue& value) {
    if (value.boolean()) health.tunnel.emplace();  // the rest is for who knows the whole
  });
  read_times(table, health);
  read_conclusions(table, health);
  return health;
}

}  // namespace linimo
