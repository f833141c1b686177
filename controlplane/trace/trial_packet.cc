#include "controlplane/trace/trial_packet.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <fmt/format.h>
#include <netinet/in.h>

#include "controlplane/trace/query.h"
#include "maglev/address.h"
#include "maglev/protocol.h"

namespace linimo {
namespace {

constexpr size_t kEthernet = 14;
constexpr uint8_t kClientMac[] = {0x02, 0, 0, 0, 0, 0x01};  // whose it is does not matter
constexpr std::string_view kFlagLetters = "FSRPAUEC";       // from the lowest bit on

std::optional<std::vector<uint8_t>> bytes_in(std::string_view hex) {
  std::vector<uint8_t> bytes;
  if (hex.size() % 2 != 0) return std::nullopt;
  for (size_t i = 0; i < hex.size(); i += 2) {
    uint8_t byte = 0;
    const auto [end, error] = std::from_chars(hex.data() + i, hex.data() + i + 2, byte, 16);
    if (error != std::errc() || end != hex.data() + i + 2) return std::nullopt;
    bytes.push_back(byte);
  }
  return bytes;
}

std::optional<uint8_t> flags_in(std::string_view letters) {
  uint8_t flags = 0;
  for (const char letter : letters) {
    const size_t bit = kFlagLetters.find(letter);
    if (bit == std::string_view::npos) return std::nullopt;
    flags = static_cast<uint8_t>(flags | 1U << bit);
  }
  return flags;
}

void put16(std::vector<uint8_t>& bytes, size_t at, size_t value) {
  bytes[at] = static_cast<uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<uint8_t>(value);
}

uint16_t sum_of(std::span<const uint8_t> bytes, uint64_t sum) {
  for (size_t i = 0; i < bytes.size(); ++i) sum += i % 2 == 0 ? uint64_t{bytes[i]} << 8 : bytes[i];
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

struct Wanted {
  uint8_t protocol;
  Endpoint from, to;
  uint8_t flags = 0x02;
  size_t size = 0;  // of the IP packet; 0: as short as it can be
  std::vector<uint8_t> payload;
};

/// What is above IP.
std::vector<uint8_t> transport(const Wanted& wanted, size_t length) {
  std::vector<uint8_t> bytes(length);
  if (wanted.protocol == IPPROTO_TCP || wanted.protocol == IPPROTO_UDP) {
    put16(bytes, 0, wanted.from.port);
    put16(bytes, 2, wanted.to.port);
  }
  size_t header = 8, checksum = 2;
  if (wanted.protocol == IPPROTO_TCP) {
    bytes[12] = 0x50;
    bytes[13] = wanted.flags;
    put16(bytes, 14, 0xffff);
    header = 20;
    checksum = 16;
  } else if (wanted.protocol == IPPROTO_UDP) {
    put16(bytes, 4, length);
    checksum = 6;
  } else {
    bytes[0] = wanted.protocol == IPPROTO_ICMP ? 8 : 128;  // echo request
  }
  std::copy(wanted.payload.begin(), wanted.payload.end(), bytes.begin() + static_cast<long>(header));
  uint64_t pseudo = 0;
  if (wanted.protocol != IPPROTO_ICMP) {
    pseudo = wanted.protocol + length;
    for (const Address* address : {&wanted.from.address, &wanted.to.address}) {
      const bool v4 = address->is_v4();
      pseudo += static_cast<uint16_t>(~sum_of(std::span(address->bytes).subspan(v4 ? 12 : 0), 0));
    }
  }
  const uint16_t sum = sum_of(bytes, pseudo);
  put16(bytes, checksum, wanted.protocol == IPPROTO_UDP && sum == 0 ? 0xffff : sum);
  return bytes;
}

tl::expected<std::vector<uint8_t>, std::string> frame_of(const Wanted& wanted) {
  const bool v4 = wanted.to.address.is_v4();
  const size_t ip = v4 ? 20 : 40;
  const size_t least = ip + (wanted.protocol == IPPROTO_TCP ? 20 : 8) + wanted.payload.size();
  const size_t size = wanted.size == 0 ? least : wanted.size;
  if (size < least || kEthernet + size > protocol::kMaxTracedFrame) {
    return tl::unexpected(fmt::format("size is that of the IP packet: {} to {} bytes", least,
                                      protocol::kMaxTracedFrame - kEthernet));
  }
  std::vector<uint8_t> frame(kEthernet + ip);
  std::copy(std::begin(kClientMac), std::end(kClientMac), frame.begin() + 6);
  put16(frame, 12, v4 ? 0x0800 : 0x86dd);
  auto* header = frame.data() + kEthernet;
  if (v4) {
    header[0] = 0x45;
    put16(frame, kEthernet + 2, size);
    header[6] = 0x40;  // must not be fragmented
    header[8] = 64;
    header[9] = wanted.protocol;
    std::copy_n(wanted.from.address.bytes.begin() + 12, 4, header + 12);
    std::copy_n(wanted.to.address.bytes.begin() + 12, 4, header + 16);
    put16(frame, kEthernet + 10, sum_of({header, ip}, 0));
  } else {
    header[0] = 0x60;
    put16(frame, kEthernet + 4, size - ip);
    header[6] = wanted.protocol;
    header[7] = 64;
    std::copy_n(wanted.from.address.bytes.begin(), 16, header + 8);
    std::copy_n(wanted.to.address.bytes.begin(), 16, header + 24);
  }
  const std::vector<uint8_t> rest = transport(wanted, size - ip);
  frame.insert(frame.end(), rest.begin(), rest.end());
  return frame;
}

tl::expected<TrialPacket, std::string> real_frame(std::string_view hex, std::string interface) {
  auto bytes = bytes_in(hex);
  if (!bytes || bytes->size() < kEthernet || bytes->size() > protocol::kMaxTracedFrame) {
    return tl::unexpected(fmt::format("frame is a frame of {} to {} bytes in hexadecimal digits", kEthernet,
                                      protocol::kMaxTracedFrame));
  }
  std::string text = fmt::format("a frame of {} bytes", bytes->size());
  return TrialPacket{std::move(*bytes), false, std::move(interface), std::move(text)};
}

}  // namespace

tl::expected<TrialPacket, std::string> trial_packet(std::string_view query) {
  const QueryParameters given = query_parameters(query);
  const auto value = [&](std::string_view name) {
    const auto found = given.find(name);
    return found == given.end() ? std::string() : found->second;
  };
  for (const auto& [name, _] : given) {
    constexpr std::string_view kKnown[] = {"protocol", "from",    "to",        "flags",
                                           "size",     "quic_id", "interface", "frame"};
    if (std::ranges::find(kKnown, name) == std::end(kKnown))
      return tl::unexpected(fmt::format("there is no parameter {}", name));
  }
  if (given.contains("frame")) return real_frame(value("frame"), value("interface"));

  Wanted wanted{};
  const std::string protocol = value("protocol");
  if (protocol != "tcp" && protocol != "udp" && protocol != "icmp")
    return tl::unexpected<std::string>("protocol is tcp, udp or icmp");
  const bool has_ports = protocol != "icmp";
  const auto from = endpoint_in(value("from"), has_ports), to = endpoint_in(value("to"), has_ports);
  if (!from || !to) {
    return tl::unexpected<std::string>(
        has_ports ? "from and to are ADDRESS:PORT, as in 198.51.100.7:4242 or [2001:db8::7]:4242"
                  : "from and to are addresses, as in 198.51.100.7 or 2001:db8::7");
  }
  if (from->address.is_v4() != to->address.is_v4())
    return tl::unexpected<std::string>("from and to are of one family, IPv4 or IPv6");
  const bool v4 = to->address.is_v4();
  const int icmp = v4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6};
  wanted.protocol = static_cast<uint8_t>(protocol == "tcp"   ? IPPROTO_TCP
                                         : protocol == "udp" ? IPPROTO_UDP
                                                             : icmp);
  wanted.from = *from;
  wanted.to = *to;
  std::string how;
  if (given.contains("flags")) {
    const auto flags = flags_in(value("flags"));
    if (!flags || protocol != "tcp")
      return tl::unexpected(fmt::format("flags are TCP's, of the letters {}", kFlagLetters));
    wanted.flags = *flags;
  }
  if (protocol == "tcp") how = fmt::format(", flags {}", given.contains("flags") ? value("flags") : "S");
  if (given.contains("quic_id")) {
    auto id = bytes_in(value("quic_id"));
    if (!id || id->empty() || id->size() > LINIMO_MAX_CONNECTION_ID || protocol != "udp")
      return tl::unexpected<std::string>(
          "quic_id is a connection id of 1 to 20 bytes in hexadecimal digits, over udp");
    wanted.payload.push_back(0x40);  // a short header, RFC 9000, 17.3
    wanted.payload.insert(wanted.payload.end(), id->begin(), id->end());
    wanted.payload.resize(1 + LINIMO_MAX_CONNECTION_ID + 4);
    how += fmt::format(", QUIC connection id {}", value("quic_id"));
  }
  if (given.contains("size")) {
    const auto size = number_in<uint32_t>(value("size"));
    if (!size || *size == 0) return tl::unexpected<std::string>("size is a number of bytes");
    wanted.size = *size;
  }
  auto frame = frame_of(wanted);
  if (!frame) return tl::unexpected(frame.error());
  std::string text = fmt::format("{} {} -> {}, {} bytes{}", protocol, value("from"), value("to"),
                                 frame->size() - kEthernet, how);
  return TrialPacket{std::move(*frame), true, value("interface"), std::move(text)};
}

}  // namespace linimo
