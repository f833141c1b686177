#include "controlplane/cli/openings.h"

#include <optional>
#include <span>
#include <vector>

#include "maglev/rules/protocols.h"

namespace linimo {
namespace {

constexpr size_t kMostFlows = 100'000;
constexpr uint64_t kAgainNs =
    200'000'000;  // sooner is a network that doubles packets, not a client that waits

using Bytes = std::span<const uint8_t>;

std::vector<uint8_t> bytes_of(const std::string& hex) {
  std::vector<uint8_t> bytes;
  const auto digit = [](char c) { return static_cast<uint8_t>(c <= '9' ? c - '0' : c - 'a' + 10); };
  for (size_t at = 0; at + 1 < hex.size(); at += 2)
    bytes.push_back(static_cast<uint8_t>(digit(hex[at]) << 4 | (digit(hex[at + 1]) & 15)));
  return bytes;
}

uint16_t word_at(Bytes bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

struct Segment {
  Bytes addresses;  // both
  Bytes tcp;        // as much of it as the capture has
  size_t length;    // of the whole

  /// By addresses, ports and sequence number.
  std::string key() const {
    std::string key(addresses.begin(), addresses.end());
    return key.append(tcp.begin(), tcp.begin() + 8);
  }
};

constexpr size_t kEthernet = 14, kTag = 4, kTcp = 20, kIpv4 = 20, kIpv6 = 40;

std::optional<Segment> segment_in(Bytes frame) {
  size_t at = kEthernet;
  if (frame.size() < kEthernet + kTag) return {};
  uint16_t type = word_at(frame, 12);
  while ((type == 0x8100 || type == 0x88a8) && frame.size() >= at + kTag) {
    type = word_at(frame, at + 2);
    at += kTag;
  }
  const Bytes packet = frame.subspan(at);
  Segment segment;
  if (type == 0x0800 && packet.size() >= kIpv4) {
    const size_t header = size_t{4} * (packet[0] & 15U), total = word_at(packet, 2);
    if (header < kIpv4 || total < header || header > packet.size() || packet[9] != LINIMO_TCP) return {};
    segment = {packet.subspan(12, 8), packet.subspan(header), total - header};
  } else if (type == 0x86dd && packet.size() >= kIpv6) {
    const size_t length = word_at(packet, 4);
    if (packet[6] != LINIMO_TCP) return {};
    segment = {packet.subspan(8, 32), packet.subspan(kIpv6), length};
  } else {
    return {};
  }
  if (segment.tcp.size() > segment.length) segment.tcp = segment.tcp.first(segment.length);  // padding
  if (segment.tcp.size() < kTcp) return {};
  return segment;
}

bool is_whole_syn(const Segment& segment) {
  return segment.tcp.size() == segment.length && (segment.tcp[13] & (LINIMO_SYN | LINIMO_ACK)) == LINIMO_SYN;
}

/// A kernel that leaves the checksum to its NIC puts the pseudo header's sum into the field, not its
/// complement. By chance a finished one looks like that once in 65,536.
bool is_unfinished(const Segment& syn) {
  uint32_t sum = LINIMO_TCP + static_cast<uint32_t>(syn.tcp.size());
  for (size_t at = 0; at < syn.addresses.size(); at += 2) sum += word_at(syn.addresses, at);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return sum == word_at(syn.tcp, 16);
}

}  // namespace

bool RepeatedSegment::again(uint64_t now_ns) {
  if (repeated || now_ns < time_ns + kAgainNs) return false;
  repeated = true;
  return true;
}

void OpeningWatch::take(const nlohmann::json& packet) {
  const std::vector<uint8_t> frame = bytes_of(packet.at("in").at("bytes").get<std::string>());
  const auto syn = segment_in(frame);
  if (!syn || !is_whole_syn(*syn)) return;
  const std::string key = syn->key();
  const auto time_ns = packet.at("time_ns").get<uint64_t>();
  const std::string backend = packet.at("backend").is_string() ? packet["backend"].get<std::string>() : "";
  Openings::OfBackend* const of_backend = backend.empty() ? nullptr : &seen_.backends[backend];
  if (const auto known = flows_.find(key); known != flows_.end()) {
    if (of_backend != nullptr && known->second.again(time_ns)) ++of_backend->repeated;
    return;
  }
  if (flows_.size() >= kMostFlows) return;
  flows_[key] = {.time_ns = time_ns};
  ++seen_.begun;
  if (of_backend != nullptr) ++of_backend->begun;
  if (is_unfinished(*syn) && seen_.unfinished++ == 0) {
    seen_.unfinished_packet = packet.at("packet").get<std::string>();
    seen_.unfinished_interface = packet.at("in").at("interface").get<std::string>();
  }
}

// The first must have been answered, of the others not each is.
void TooBigWatch::take(const nlohmann::json& packet) {
  const std::string outcome = packet.at("outcome").get<std::string>();
  if (outcome != "too_big_reply" && outcome != "rate_limited") return;
  const std::vector<uint8_t> frame = bytes_of(packet.at("in").at("bytes").get<std::string>());
  const auto segment = segment_in(frame);
  if (!segment) return;
  const std::string key = segment->key() + std::to_string(segment->length);
  const auto time_ns = packet.at("time_ns").get<uint64_t>();
  if (const auto known = segments_.find(key); known != segments_.end()) {
    if (known->second.again(time_ns) && seen_.again++ == 0)
      seen_.packet = packet.at("packet").get<std::string>();
    return;
  }
  if (outcome != "too_big_reply" || segments_.size() >= kMostFlows) return;
  segments_[key] = {.time_ns = time_ns};
  ++seen_.told;
}

}  // namespace linimo
