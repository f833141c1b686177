#include "dataplane/nexthop/path_mtu.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

namespace linimo {
namespace {

constexpr auto kRemembered = std::chrono::minutes(10);  // RFC 1191, 6.3; RFC 8201, 4
constexpr uint16_t kLeast4 = 576, kLeast6 = 1280;
constexpr size_t kIcmpHeader = 8;
constexpr size_t kMostHeard = 65536;  // more addresses than that are no backends'
constexpr int kMostAtOnce = 64;

bool is_tunnel(uint8_t protocol) {
  return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6 || protocol == IPPROTO_GRE ||
         protocol == IPPROTO_UDP;
}

bool checksum_right(std::span<const uint8_t> bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) sum += i % 2 == 0 ? bytes[i] << 8 : bytes[i];
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return sum == 0xffff;
}

uint32_t big_endian32(std::span<const uint8_t> at) {
  return uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | at[3];
}

}  // namespace

std::optional<TooBigMessage> too_big_message4(std::span<const uint8_t> packet) {
  if (packet.size() < 20) return std::nullopt;
  const size_t header = size_t{packet[0] & 0xfU} * 4;
  if (header < 20 || packet.size() < header + kIcmpHeader + 20) return std::nullopt;
  const auto icmp = packet.subspan(header);
  if (icmp[0] != ICMP_DEST_UNREACH || icmp[1] != ICMP_FRAG_NEEDED || !checksum_right(icmp))
    return std::nullopt;
  const auto quote = icmp.subspan(kIcmpHeader);
  if (quote[0] >> 4 != 4 || !is_tunnel(quote[9])) return std::nullopt;
  uint32_t destination = 0;
  std::memcpy(&destination, &quote[16], 4);
  return TooBigMessage{Address::v4(destination), static_cast<uint16_t>(icmp[6] << 8 | icmp[7])};
}

std::optional<TooBigMessage> too_big_message6(std::span<const uint8_t> message) {
  if (message.size() < kIcmpHeader + 40 || message[0] != ICMP6_PACKET_TOO_BIG) return std::nullopt;
  const auto quote = message.subspan(kIcmpHeader);
  if (quote[0] >> 4 != 6 || !is_tunnel(quote[6])) return std::nullopt;
  TooBigMessage heard{};
  std::copy_n(&quote[24], 16, heard.tunnel_destination.bytes.begin());
  heard.mtu = static_cast<uint16_t>(std::min<uint32_t>(big_endian32(message.subspan(4)), 0xffff));
  return heard;
}

bool PathMtuCache::lower(const TooBigMessage& message, Time now) {
  const uint16_t mtu = std::max(message.mtu, message.tunnel_destination.is_v4() ? kLeast4 : kLeast6);
  const auto known = heard_.find(message.tunnel_destination);
  if (known == heard_.end()) {
    if (heard_.size() >= kMostHeard) return false;
    heard_[message.tunnel_destination] = {mtu, now + kRemembered};
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

PathMtu::PathMtu(EventLoop& loop, std::function<bool(const Address&)> wanted, std::function<void()> changed,
                 std::function<void()> lowered)
    : wanted_(std::move(wanted)), changed_(std::move(changed)), lowered_(std::move(lowered)) {
  listen(loop, AF_INET);
  listen(loop, AF_INET6);
  loop.every(std::chrono::seconds(1), [this] {
    if (cache_.expire(std::chrono::steady_clock::now())) changed_();
  });
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
    const ssize_t length = recv(fd, buffer, sizeof buffer, 0);
    if (length < 0) break;
    const std::span<const uint8_t> bytes(buffer, static_cast<size_t>(length));
    const auto heard = family == AF_INET ? too_big_message4(bytes) : too_big_message6(bytes);
    if (!heard || !wanted_(heard->tunnel_destination)) continue;
    if (!cache_.lower(*heard, std::chrono::steady_clock::now())) continue;
    any = true;
    lowered_();
    spdlog::info("the way to {} takes packets of {} bytes, a router says",
                 heard->tunnel_destination.to_string(), *cache_.mtu(heard->tunnel_destination));
  }
  if (any) changed_();
}

}  // namespace linimo
