// Backends that send our tunnel packets back: ICMP errors that quote one of them say that a backend has no
// tunnel module, no device or port for it, or a firewall in front. Traffic and checks through the tunnel
// vanish then, and nothing else says why.
//
//   TunnelErrors errors(board);
//   errors.hear(error_message4(packet), tunnels, now);      // whatever ICMP error comes
//   every second: errors.look(now);
//
// Keeps the condition `tunnel-accepted` of each such backend. Control thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>

#include "dataplane/conditions.h"
#include "dataplane/nexthop/path_mtu.h"

namespace linimo {

enum class TunnelError : uint8_t { kNoProtocol, kNoPort, kProhibited, kNoHost, kCount };

struct TunnelErrorMessage {
  TunnelError error;
  bool from_backend;     // itself, and no router before it
  TooBigMessage tunnel;  // what is quoted; its MTU says nothing
};

/// From an IPv4 packet with its header, or an ICMPv6 message without one and who sent it. Nothing if it is no
/// such error, is cut short or damaged, or quotes no tunnel.
std::optional<TunnelErrorMessage> tunnel_error4(std::span<const uint8_t> packet);
std::optional<TunnelErrorMessage> tunnel_error6(std::span<const uint8_t> message, const Address& from);

class TunnelErrors {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kRemembered{15};
  static constexpr size_t kMostBackends = 256;  // that are told of at a time

  TunnelErrors(ConditionBoard& board, CountersBlock& counters) : board_(board), counters_(counters) {}

  void hear(const TunnelErrorMessage& message, Time now);
  /// Forgets those that have not been heard of for a while.
  void look(Time now);

 private:
  struct Heard {
    TunnelErrorMessage last;
    uint64_t count = 0;
    Time at{};
    Time told{};
  };
  TunnelErrorCount* count_of(const Address& backend);
  void tell(const Address& backend, Heard& heard, Time now);

  ConditionBoard& board_;
  CountersBlock& counters_;
  std::map<Address, Heard> heard_;
};

}  // namespace linimo
