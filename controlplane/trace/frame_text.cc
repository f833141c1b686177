#include "controlplane/trace/frame_text.h"

#include <algorithm>

#include <fmt/format.h>
#include <netinet/in.h>

#include "maglev/address.h"

namespace linimo {
namespace {

constexpr size_t kMacs = 12, kTag = 4, kIpv4 = 20, kIpv6 = 40;
constexpr uint16_t kTypeIpv4 = 0x0800, kTypeArp = 0x0806, kTypeVlan = 0x8100, kTypeServiceVlan = 0x88a8,
                   kTypeIpv6 = 0x86dd;
constexpr std::string_view kFlags = "FSRPAU";  // from the lowest bit on

uint16_t word(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

std::string protocol_text(uint8_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "tcp";
    case IPPROTO_UDP:
      return "udp";
    case IPPROTO_ICMP:
      return "icmp";
    case IPPROTO_ICMPV6:
      return "icmp6";
    default:
      return fmt::format("protocol {}", protocol);
  }
}

/// `l4`: behind the IP header; empty where there are no ports to be read.
std::string packet_text(const Address& from, const Address& to, uint8_t protocol, uint32_t bytes,
                        std::span<const uint8_t> l4) {
  const bool has_ports = (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) && l4.size() >= 4;
  const auto endpoint = [&](const Address& address, size_t at) {
    if (!has_ports) return address.to_string();
    const bool v4 = address.is_v4();
    return fmt::format("{}{}{}:{}", v4 ? "" : "[", address.to_string(), v4 ? "" : "]", word(l4, at));
  };
  std::string text = fmt::format("{} {} -> {}, {} bytes", protocol_text(protocol), endpoint(from, 0),
                                 endpoint(to, 2), bytes);
  if (protocol != IPPROTO_TCP || l4.size() < 14) return text;
  text += ", flags ";
  for (size_t bit = 0; bit < kFlags.size(); ++bit) {
    if ((l4[13] >> bit & 1) != 0) text += kFlags[bit];
  }
  return text;
}

Address address_at(std::span<const uint8_t> bytes, size_t at, size_t length) {
  Address address;  // zero
  if (length == 4) address.bytes[10] = address.bytes[11] = 0xff;
  std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(at), length,
              address.bytes.end() - static_cast<ptrdiff_t>(length));
  return address;
}

}  // namespace

std::string frame_text(std::span<const uint8_t> frame, uint32_t length) {
  std::string unknown = fmt::format("a frame of {} bytes", length);
  size_t at = kMacs;
  uint16_t type = 0;
  for (int tags = 0;; ++tags, at += kTag) {
    if (frame.size() < at + 2) return unknown;
    type = word(frame, at);
    if ((type != kTypeVlan && type != kTypeServiceVlan) || tags == 2) break;
  }
  if (type == kTypeArp) return "arp";
  const auto ip = frame.subspan(at + 2);
  if (type == kTypeIpv4 && ip.size() >= kIpv4) {
    const size_t header = std::min<size_t>(size_t{4} * (ip[0] & 15U), ip.size());
    const bool later = (word(ip, 6) & 0x1fff) != 0;
    return packet_text(address_at(ip, 12, 4), address_at(ip, 16, 4), ip[9], word(ip, 2),
                       later ? std::span<const uint8_t>() : ip.subspan(header)) +
           (later ? ", a later fragment" : "");
  }
  if (type == kTypeIpv6 && ip.size() >= kIpv6)
    return packet_text(address_at(ip, 8, 16), address_at(ip, 24, 16), ip[6], kIpv6 + word(ip, 4),
                       ip.subspan(kIpv6));
  return unknown;
}

}  // namespace linimo
