#include "dataplane/nexthop/path_mtu.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include "dataplane/packet/checksum.h"
#include "maglev/rules/tunnel.h"

namespace linimo {
namespace {

constexpr auto kRemembered = std::chrono::minutes(10);  // RFC 1191, 6.3; RFC 8201, 4
constexpr uint16_t kLeast4 = 576, kLeast6 = 1280;
constexpr size_t kIcmpHeader = 8, kQuote4 = 20, kQuote6 = 40, kQuotedPorts = 8;
constexpr int kMostAtOnce = 64;
constexpr uint16_t kAnyMtu = 0xffff;

uint16_t big_endian16(std::span<const uint8_t> at) {
  return static_cast<uint16_t>(at[0] << 8 | at[1]);
}

uint32_t big_endian32(std::span<const uint8_t> at) {
  return uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | at[3];
}

/// Do the first `bits` of the 128-bit form agree?
bool within(const Address& address, const Address& prefix, uint32_t bits) {
  const size_t bytes = bits / 8;
  if (!std::equal(address.bytes.begin(), address.bytes.begin() + static_cast<ptrdiff_t>(bytes),
                  prefix.bytes.begin()))
    return false;
  const auto mask = static_cast<uint8_t>(0xff00 >> bits % 8);
  return bits % 8 == 0 || ((address.bytes[bytes] ^ prefix.bytes[bytes]) & mask) == 0;
}

bool is_of(uint8_t encapsulation, uint8_t protocol) {
  return protocol == linimo_tunnel_protocol(encapsulation, 0) ||
         protocol == linimo_tunnel_protocol(encapsulation, 1);
}

bool is_tunnel(uint8_t protocol) {
  for (uint8_t encapsulation = 0; encapsulation < LINIMO_ENCAP_COUNT; ++encapsulation) {
    if (is_of(encapsulation, protocol)) return true;
  }
  return false;
}

/// Of an IPv4 error, whatever it quotes.
bool is_fragmentation_needed(std::span<const uint8_t> packet) {
  const size_t header = packet.empty() ? 0 : size_t{packet[0] & 0xfU} * 4;
  return packet.size() > header + 1 && packet[header] == ICMP_DEST_UNREACH &&
         packet[header + 1] == ICMP_FRAG_NEEDED;
}

std::string and_others(uint64_t kept_out) {
  return kept_out == 0 ? "" : fmt::format("; {} more such words since the last line", kept_out);
}

void count(uint64_t& counter) {
  __atomic_store_n(&counter, counter + 1, __ATOMIC_RELAXED);
}

}  // namespace

std::optional<TooBigMessage> too_big_message4(std::span<const uint8_t> packet) {
  if (packet.size() < 20) return std::nullopt;
  const size_t header = size_t{packet[0] & 0xfU} * 4;
  if (header < 20 || packet.size() < header + kIcmpHeader + 20) return std::nullopt;
  const auto icmp = packet.subspan(header);
  if (icmp[0] != ICMP_DEST_UNREACH || icmp[1] != ICMP_FRAG_NEEDED ||
      !packet::checksum_holds(icmp.data(), icmp.size()))
    return std::nullopt;
  auto heard = quoted_tunnel4(icmp.subspan(kIcmpHeader));
  if (heard) heard->mtu = big_endian16(icmp.subspan(6));
  return heard;
}

std::optional<TooBigMessage> quoted_tunnel4(std::span<const uint8_t> quote) {
  // An outer header has no options, and what is cut off before its ports is no quote (RFC 792).
  if (quote.size() < kQuote4 + kQuotedPorts || quote[0] != 0x45 || !is_tunnel(quote[9])) return std::nullopt;
  uint32_t source = 0, destination = 0;
  std::memcpy(&source, &quote[12], 4);
  std::memcpy(&destination, &quote[16], 4);
  const uint16_t port = quote[9] == IPPROTO_UDP ? big_endian16(quote.subspan(kQuote4 + 2)) : uint16_t{0};
  return TooBigMessage{Address::v4(source), Address::v4(destination), quote[9], port, kAnyMtu};
}

std::optional<TooBigMessage> too_big_message6(std::span<const uint8_t> message) {
  if (message.size() < kIcmpHeader + 40 || message[0] != ICMP6_PACKET_TOO_BIG) return std::nullopt;
  auto heard = quoted_tunnel6(message.subspan(kIcmpHeader));
  if (heard)
    heard->mtu = static_cast<uint16_t>(std::min<uint32_t>(big_endian32(message.subspan(4)), kAnyMtu));
  return heard;
}

std::optional<TooBigMessage> quoted_tunnel6(std::span<const uint8_t> quote) {
  if (quote.size() < kQuote6) return std::nullopt;
  TooBigMessage heard{};
  heard.mtu = kAnyMtu;
  heard.protocol = quote[6];
  size_t ports = kQuote6;
  if (heard.protocol == IPPROTO_FRAGMENT) {  // of a tunnel that is longer than the way takes: its first one
    constexpr size_t kFragmentHeader = 8;
    if (quote.size() < ports + kFragmentHeader || (big_endian16(quote.subspan(ports + 2)) & 0xfff8) != 0)
      return std::nullopt;
    heard.protocol = quote[ports];
    ports += kFragmentHeader;
  }
  if (quote[0] >> 4 != 6 || !is_tunnel(heard.protocol) || quote.size() < ports + kQuotedPorts)
    return std::nullopt;
  if (heard.protocol == IPPROTO_UDP) heard.port = big_endian16(quote.subspan(ports + 2));
  std::copy_n(&quote[8], 16, heard.tunnel_source.bytes.begin());
  std::copy_n(&quote[24], 16, heard.tunnel_destination.bytes.begin());
  return heard;
}

Tunnels::Tunnels(const SnapshotView& snapshot)
    : source4_(Address::from_abi(snapshot.header().encap_source4)),
      source6_(Address::from_abi(snapshot.header().encap_source6)),
      prefix4_(snapshot.header().encap_prefix4),
      prefix6_(snapshot.header().encap_prefix6) {
  for (const linimo_pool& pool : snapshot.pools()) {
    for (const linimo_backend& backend :
         snapshot.backends().subspan(pool.backend_first, pool.backend_count)) {
      auto& kinds = backends_[Address::from_abi(backend.address)];
      const Kind kind{pool.encapsulation, pool.gue_port};
      if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
    }
  }
}

bool Tunnels::may_be_meant(const TooBigMessage& message) const {
  const bool v4 = message.tunnel_destination.is_v4();
  if (message.tunnel_source.is_v4() != v4 || message.mtu < (v4 ? kLeast4 : kLeast6)) return false;
  if (!within(message.tunnel_source, v4 ? source4_ : source6_, v4 ? prefix4_ : prefix6_)) return false;
  const auto found = backends_.find(message.tunnel_destination);
  return found != backends_.end() &&
         std::any_of(found->second.begin(), found->second.end(), [&](const Kind& kind) {
           return is_of(kind.encapsulation, message.protocol) &&
                  (kind.encapsulation != LINIMO_ENCAP_GUE || kind.gue_port == message.port);
         });
}

bool PathMtuCache::lower(const Address& address, uint16_t mtu, Time now) {
  const auto known = heard_.find(address);
  if (known == heard_.end()) {
    heard_[address] = {mtu, now + kRemembered};
    return true;
  }
  if (mtu > known->second.mtu) return false;  // an older packet's
  known->second.until = now + kRemembered;
  return std::exchange(known->second.mtu, mtu) != mtu;
}

bool PathMtuCache::expire(Time now) {
  return std::erase_if(heard_, [&](const auto& entry) { return entry.second.until <= now; }) != 0;
}

std::optional<uint16_t> PathMtuCache::mtu(const Address& address) const {
  const auto known = heard_.find(address);
  return known == heard_.end() ? std::nullopt : std::optional(known->second.mtu);
}

PathMtu::PathMtu(EventLoop& loop, CountersBlock& counters, std::function<void()> changed, Other other)
    : counters_(counters), changed_(std::move(changed)), other_(std::move(other)) {
  count_lowered();  // a predecessor's word is forgotten
  listen(loop, AF_INET);
  listen(loop, AF_INET6);
  loop.every(std::chrono::seconds(1), [this] {
    if (!cache_.expire(std::chrono::steady_clock::now())) return;
    count_lowered();
    changed_();
  });
}

void PathMtu::count_lowered() {
  __atomic_store_n(&counters_.path_mtus_lowered_now, cache_.size(), __ATOMIC_RELAXED);
}

void PathMtu::listen(EventLoop& loop, int family) {
  const bool v4 = family == AF_INET;
  UniqueFd fd(socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6));
  bool filtered = false;
  if (fd && v4) {
    const icmp_filter filter{~(1U << ICMP_DEST_UNREACH)};
    filtered = setsockopt(fd.get(), SOL_RAW, ICMP_FILTER, &filter, sizeof filter) == 0;
  } else if (fd) {
    icmp6_filter filter;
    ICMP6_FILTER_SETBLOCKALL(&filter);
    ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter);
    ICMP6_FILTER_SETPASS(ICMP6_DST_UNREACH, &filter);
    ICMP6_FILTER_SETPASS(ICMP6_PARAM_PROB, &filter);
    filtered = setsockopt(fd.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter) == 0;
  }
  if (!filtered) {
    spdlog::warn("IPv{}: what routers say about the size of packets will not be heard: {}", v4 ? 4 : 6,
                 std::strerror(errno));
    return;
  }
  loop.add(fd.get(), [this, family, raw = fd.get()] { receive(family, raw); });
  sockets_[v4 ? 0 : 1] = std::move(fd);
}

void PathMtu::receive(int family, int fd) {
  uint8_t buffer[2048];  // more than the most that such a message has
  bool any = false;
  for (int i = 0; i < kMostAtOnce; ++i) {
    sockaddr_in6 sender{};
    socklen_t sender_size = sizeof sender;
    const ssize_t length =
        recvfrom(fd, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&sender), &sender_size);
    if (length < 0) break;
    const std::span<const uint8_t> bytes(buffer, static_cast<size_t>(length));
    if (family == AF_INET ? !is_fragmentation_needed(bytes)
                          : bytes.empty() || bytes[0] != ICMP6_PACKET_TOO_BIG) {
      Address from;
      if (family == AF_INET6) std::memcpy(from.bytes.data(), &sender.sin6_addr, sizeof sender.sin6_addr);
      other_(family, bytes, from);
      continue;
    }
    const auto heard = family == AF_INET ? too_big_message4(bytes) : too_big_message6(bytes);
    const auto now = std::chrono::steady_clock::now();
    if (!heard || !tunnels_.may_be_meant(*heard)) {
      count(counters_.path_mtus_ignored);
      if (const auto kept_out = ignored_log_.pass(now))
        spdlog::info(
            "a router's word that a packet was too big was ignored: it is about no tunnel of Linimo's{}",
            and_others(*kept_out));
      continue;
    }
    if (!cache_.lower(heard->tunnel_destination, heard->mtu, now)) continue;
    any = true;
    count(counters_.path_mtus_lowered);
    if (const auto kept_out = lowered_log_.pass(now))
      spdlog::info("the way to {} takes packets of {} bytes, a router says{}",
                   heard->tunnel_destination.to_string(), heard->mtu, and_others(*kept_out));
  }
  if (!any) return;
  count_lowered();
  changed_();
}

}  // namespace linimo
