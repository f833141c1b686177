#include "dataplane/nexthop/tunnel_errors.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>

#include "dataplane/packet/checksum.h"

namespace linimo {
namespace {

constexpr size_t kIcmpHeader = 8;
constexpr auto kTellingPeriod = std::chrono::seconds(1);

std::optional<TunnelError> error_of4(uint8_t type, uint8_t code) {
  if (type != ICMP_DEST_UNREACH) return std::nullopt;
  switch (code) {
    case ICMP_PROT_UNREACH:
      return TunnelError::kNoProtocol;
    case ICMP_PORT_UNREACH:
      return TunnelError::kNoPort;
    case ICMP_NET_ANO:
    case ICMP_HOST_ANO:
    case ICMP_PKT_FILTERED:
      return TunnelError::kProhibited;
    case ICMP_NET_UNREACH:
    case ICMP_HOST_UNREACH:
      return TunnelError::kNoHost;
    default:
      return std::nullopt;
  }
}

std::optional<TunnelError> error_of6(uint8_t type, uint8_t code) {
  if (type == ICMP6_PARAM_PROB && code == ICMP6_PARAMPROB_NEXTHEADER) return TunnelError::kNoProtocol;
  if (type != ICMP6_DST_UNREACH) return std::nullopt;
  switch (code) {
    case ICMP6_DST_UNREACH_NOPORT:
      return TunnelError::kNoPort;
    case ICMP6_DST_UNREACH_ADMIN:
      return TunnelError::kProhibited;
    case ICMP6_DST_UNREACH_NOROUTE:
    case ICMP6_DST_UNREACH_ADDR:
      return TunnelError::kNoHost;
    default:
      return std::nullopt;
  }
}

void raise(uint64_t& counter) {
  __atomic_store_n(&counter, counter + 1, __ATOMIC_RELAXED);
}

struct Words {
  std::string what, mend;
};

/// What an error of a backend means, and what mends it there.
Words words_of(const TunnelErrorMessage& message) {
  const bool v4 = message.tunnel.tunnel_destination.is_v4();
  const uint8_t protocol = message.tunnel.protocol;
  const std::string gue =
      fmt::format("modprobe fou; ip fou add port {} gue{}", message.tunnel.port, v4 ? "" : " -6");
  // A module's own device takes what no other device is for: tunl0, sit0, gre0, ip6tnl0, ip6gre0.
  const char* module = protocol == IPPROTO_GRE    ? (v4 ? "ip_gre" : "ip6_gre")
                       : !v4                      ? "ip6_tunnel"
                       : protocol == IPPROTO_IPIP ? "ipip"
                                                  : "sit";
  const char* device = protocol == IPPROTO_GRE    ? (v4 ? "gre0" : "ip6gre0")
                       : !v4                      ? "ip6tnl0"
                       : protocol == IPPROTO_IPIP ? "tunl0"
                                                  : "sit0";
  switch (message.error) {
    case TunnelError::kNoProtocol:
      return {
          "has no tunnel module: protocol unreachable",
          fmt::format("there: modprobe {}; ip link set {} up, or: linimo-decap attach DEV", module, device)};
    case TunnelError::kNoPort:
      if (protocol == IPPROTO_UDP)
        return {fmt::format("has nothing on GUE's port {}: port unreachable", message.tunnel.port),
                "there: " + gue};
      return {"has the tunnel's module, but no device that is up for us: port unreachable",
              fmt::format("there: ip link set {} up", device)};
    case TunnelError::kProhibited:
      return {"is behind a firewall that refuses the tunnel: prohibited",
              fmt::format("there: let protocol {} from us pass", protocol)};
    default:
      return {"cannot be reached, a router says", "see `ip route get` there"};
  }
}

}  // namespace

std::optional<TunnelErrorMessage> tunnel_error4(std::span<const uint8_t> packet) {
  if (packet.size() < 20) return std::nullopt;
  const size_t header = size_t{packet[0] & 0xfU} * 4;
  if (header < 20 || packet.size() < header + kIcmpHeader) return std::nullopt;
  const auto icmp = packet.subspan(header);
  const auto error = error_of4(icmp[0], icmp[1]);
  if (!error || !packet::checksum_holds(icmp.data(), icmp.size())) return std::nullopt;
  const auto tunnel = quoted_tunnel4(icmp.subspan(kIcmpHeader));
  if (!tunnel) return std::nullopt;
  uint32_t from = 0;
  std::memcpy(&from, &packet[12], sizeof from);
  return TunnelErrorMessage{*error, Address::v4(from) == tunnel->tunnel_destination, *tunnel};
}

std::optional<TunnelErrorMessage> tunnel_error6(std::span<const uint8_t> message, const Address& from) {
  if (message.size() < kIcmpHeader) return std::nullopt;
  const auto error = error_of6(message[0], message[1]);
  const auto tunnel = error ? quoted_tunnel6(message.subspan(kIcmpHeader)) : std::nullopt;
  if (!tunnel) return std::nullopt;
  return TunnelErrorMessage{*error, from == tunnel->tunnel_destination, *tunnel};
}

void TunnelErrors::hear(const TunnelErrorMessage& message, Time now) {
  const Address& backend = message.tunnel.tunnel_destination;
  const auto kind = static_cast<size_t>(message.error);
  raise(counters_.tunnel_errors[kind]);
  if (TunnelErrorCount* of_backend = count_of(backend)) raise(of_backend->errors[kind]);
  if (!heard_.contains(backend) && heard_.size() >= kMostBackends) return;
  Heard& heard = heard_[backend];
  heard.last = message;
  ++heard.count;
  heard.at = now;
  if (now - heard.told >= kTellingPeriod) tell(backend, heard, now);
}

/// Null: there is no room for another.
TunnelErrorCount* TunnelErrors::count_of(const Address& backend) {
  const std::span all(counters_.tunnel_errors_of);
  const auto used = std::min<size_t>(counters_.tunnel_error_backends, all.size());
  for (TunnelErrorCount& one : all.first(used)) {
    if (Address::from_abi(one.backend) == backend) return &one;
  }
  if (used == all.size()) return nullptr;
  all[used] = {.backend = backend.to_abi(), .errors = {}};
  __atomic_store_n(&counters_.tunnel_error_backends, used + 1, __ATOMIC_RELEASE);
  return &all[used];
}

void TunnelErrors::tell(const Address& backend, Heard& heard, Time now) {
  heard.told = now;
  const Words words = words_of(heard.last);
  board_.set("tunnel-accepted", backend.to_string(), ConditionState::kFails,
             fmt::format("{} {} ({} ICMP errors quote our tunnel to it{})", backend.to_string(), words.what,
                         heard.count, heard.last.from_backend ? "" : ", sent by a router"),
             words.mend);
}

void TunnelErrors::look(Time now) {
  for (auto& [backend, heard] : heard_) {
    if (now - heard.at > kRemembered) board_.forget("tunnel-accepted", backend.to_string());
  }
  std::erase_if(heard_, [&](const auto& entry) { return now - entry.second.at > kRemembered; });
}

}  // namespace linimo
