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

struct Syn {
  Bytes addresses;  // both
  Bytes tcp;        // the segment
};

constexpr size_t kEthernet = 14, kTag = 4, kTcp = 20, kIpv4 = 20, kIpv6 = 40;

std::optional<Syn> syn_in(Bytes frame) {
  size_t at = kEthernet;
  if (frame.size() < kEthernet + kTag) return {};
  uint16_t type = word_at(frame, 12);
  while ((type == 0x8100 || type == 0x88a8) && frame.size() >= at + kTag) {
    type = word_at(frame, at + 2);
    at += kTag;
  }
  const Bytes packet = frame.subspan(at);
  Syn syn;
  if (type == 0x0800 && packet.size() >= kIpv4) {
    const size_t header = size_t{4} * (packet[0] & 15U), total = word_at(packet, 2);
    if (header < kIpv4 || total < header || total > packet.size() || packet[9] != LINIMO_TCP) return {};
    syn = {packet.subspan(12, 8), packet.subspan(header, total - header)};
  } else if (type == 0x86dd && packet.size() >= kIpv6) {
    const size_t length = word_at(packet, 4);
    if (length > packet.size() - kIpv6 || packet[6] != LINIMO_TCP) return {};
    syn = {packet.subspan(8, 32), packet.subspan(kIpv6, length)};
  } else {
    return {};
  }
  if (syn.tcp.size() < kTcp || (syn.tcp[13] & (LINIMO_SYN | LINIMO_ACK)) != LINIMO_SYN) return {};
  return syn;
}

/// A kernel that leaves the checksum to its NIC puts the pseudo header's sum into the field, not its
/// complement. By chance a finished one looks like that once in 65,536.
bool is_unfinished(const Syn& syn) {
  uint32_t sum = LINIMO_TCP + static_cast<uint32_t>(syn.tcp.size());
  for (size_t at = 0; at < syn.addresses.size(); at += 2) sum += word_at(syn.addresses, at);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return sum == word_at(syn.tcp, 16);
}

}  // namespace

void OpeningWatch::take(const nlohmann::json& packet) {
  const std::vector<uint8_t> frame = bytes_of(packet.at("in").at("bytes").get<std::string>());
  const auto syn = syn_in(frame);
  if (!syn) return;
  std::string key(syn->addresses.begin(), syn->addresses.end());
  key.append(syn->tcp.begin(), syn->tcp.begin() + 8);
  const auto time_ns = packet.at("time_ns").get<uint64_t>();
  const std::string backend = packet.at("backend").is_string() ? packet["backend"].get<std::string>() : "";
  Openings::OfBackend* const of_backend = backend.empty() ? nullptr : &seen_.backends[backend];
  if (const auto known = flows_.find(key); known != flows_.end()) {
    First& first = known->second;
    if (of_backend == nullptr || first.repeated || time_ns < first.time_ns + kAgainNs) return;
    first.repeated = true;
    ++of_backend->repeated;
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

}  // namespace linimo
