// How the backends of a pool are checked: the `health = { ... }` of a pool.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "maglev/address.h"

namespace linimo {

/// What a check asks of a backend; each succeeds only within the timeout.
enum class CheckType {
  kTcp,    // a TCP connection opens
  kHttp,   // a GET is answered with one of the statuses, and with the body if one is asked for
  kTls,    // a TLS handshake succeeds
  kHttps,  // kHttp over TLS
  kGrpc,   // the gRPC health service says SERVING
  kUdp,    // a datagram is answered as expected, or at least not refused
  kDns,    // a query is answered with a record
  kIcmp,   // an echo request is answered
  kExec,   // a program of this machine's administrator exits with 0
};
inline constexpr std::string_view kCheckTypeNames[] = {"tcp", "http", "tls",  "https", "grpc",
                                                       "udp", "dns",  "icmp", "exec"};
static_assert(std::size(kCheckTypeNames) == static_cast<size_t>(CheckType::kExec) + 1,
              "each type has a name");

struct StatusRange {  // both ends included
  uint16_t first = 200;
  uint16_t last = 399;

  bool operator==(const StatusRange&) const = default;
};

/// What ends the time of a backend that is up: failures in a row, or a silence that its past makes
/// improbable.
enum class Detector { kCount, kPhi };
inline constexpr std::string_view kDetectorNames[] = {"count", "phi"};

/// Of a check through the tunnel: as a client, it asks the VIP, and the data plane brings it to the backend.
struct TunnelCheck {
  Address vip;
  Address source;  // zero: the kernel's choice
  linimo_encapsulation encapsulation = LINIMO_ENCAP_IPIP;
  uint16_t gue_port = LINIMO_GUE_PORT;
  std::filesystem::path routes;  // maglev/probes.h

  bool operator==(const TunnelCheck&) const = default;
};

struct HealthCheckConfig {
  CheckType type = CheckType::kTcp;
  uint16_t port = 0;                         // 0 where a check has none
  std::chrono::milliseconds interval{2000};  // from the start of one check to the start of the next
  std::chrono::milliseconds timeout{1000};   // at most the interval
  std::optional<TunnelCheck> tunnel;         // tcp, http, tls, https, grpc
  uint32_t rise = 2;                         // successes in a row that make a backend up
  uint32_t fall = 3;                         // failures in a row that make it down
  Detector detector = Detector::kCount;
  double phi_threshold = 8;
  std::chrono::milliseconds fast_retry{200};  // instead of the interval, while verdicts contradict the state
  std::chrono::milliseconds down_interval{4000};  // the same while it is down

  // What follows for the tables
  uint32_t panic = 50;                           // below so many percent up, all are used; 0: never
  std::chrono::milliseconds slow_start{30'000};  // from an eighth of the weight to all of it; 0: all at once
  std::chrono::milliseconds flap_half_life{60'000};  // of the penalty for coming and going; 0: none

  // http, https
  std::string path = "/";
  std::vector<StatusRange> statuses{StatusRange{}};
  std::string drain_header;  // status 503 with this header asks for no new flows; empty: no answer does
  std::string body;          // must be within the first 64 KiB of the answer's; empty: any body will do
  // http, https, tls, grpc: the Host header, and the name asked for in TLS; empty: the backend's address
  std::string host;
  // https, tls, grpc
  bool tls = false;     // of grpc: over TLS
  bool verify = false;  // the certificate must be valid for the host
  std::string ca_file;  // by one of these authorities; empty: by the system's
  // grpc
  std::string service;  // empty: the server as a whole
  // udp: bytes
  std::string send;
  std::string expect;  // must be in the answer; empty: silence will do
  // dns
  std::string query;
  uint16_t record = 1;                    // the type's number, RFC 1035, 3.2.2
  std::optional<Address> expect_address;  // must be among those of the answer
  // exec
  std::string program;  // a name in kChecksFolder

  bool operator==(const HealthCheckConfig&) const = default;
};

/// The only programs that a check may run: who may write to this folder decides, not who may write the
/// configuration.
inline constexpr const char* kChecksFolder = "/etc/linimo/checks.d";

}  // namespace linimo
