#include "controlplane/trace/account.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "maglev/address.h"
#include "maglev/counters.h"
#include "maglev/names.h"
#include "maglev/rules/choice.h"
#include "maglev/rules/flow_entry.h"
#include "maglev/rules/judge.h"
#include "maglev/rules/next_hop.h"

namespace linimo {
namespace {

using nlohmann::json;

/// Of every outcome there is one.
const char* meaning_of(linimo_outcome outcome) {
  switch (outcome) {
    case LINIMO_OUTCOME_forwarded:
      return "goes to the backend";
    case LINIMO_OUTCOME_kernel:
      return "is not Linimo's: goes to the host's kernel";
    case LINIMO_OUTCOME_kernel_control:
      return "is not Linimo's: goes to the host's kernel, ahead of other traffic";
    case LINIMO_OUTCOME_echo_reply:
      return "is answered: VIPs answer pings themselves";
    case LINIMO_OUTCOME_icmp_error:
      return "goes to the backend of the flow that it quotes";
    case LINIMO_OUTCOME_too_big_reply:
      return "does not fit into the tunnel: its sender is told of a smaller MTU. Raise the MTU on the way to "
             "the backend, or lower advmss there";
    case LINIMO_OUTCOME_fragment_passed:
      return "goes to the node of the fleet that handles the fragments of its datagram: trace it there";
    case LINIMO_OUTCOME_reject_reply:
      return "is rejected, since no backend is up: see `linimo backend list`";
    case LINIMO_OUTCOME_no_service:
      return "is dropped: the VIP has no service of that protocol and port";
    case LINIMO_OUTCOME_malformed:
      return "is dropped: its headers contradict each other or its length";
    case LINIMO_OUTCOME_bad_checksum:
      return "is dropped: the checksum of its IPv4 header is wrong";
    case LINIMO_OUTCOME_not_allowed:
      return "is dropped: the service's allow_sources does not hold its source";
    case LINIMO_OUTCOME_martian:
      return "is dropped: nobody may have its source address";
    case LINIMO_OUTCOME_no_backend:
      return "is dropped: no backend of the pool is up. See `linimo backend list`";
    case LINIMO_OUTCOME_no_route:
      return "is dropped: the kernel has no route to the backend";
    case LINIMO_OUTCOME_no_nexthop:
      return "is dropped: the next hop does not answer ARP or neighbour discovery";
    case LINIMO_OUTCOME_wrong_egress:
      return "is dropped: the route to the backend leaves by an interface that Linimo does not have. Change "
             "the route, or add the interface to [node] interfaces";
    case LINIMO_OUTCOME_too_big:
      return "is dropped: it does not fit into the tunnel, and its sender may not be told";
    case LINIMO_OUTCOME_fragment_unmatched:
      return "is dropped: the first fragment of its datagram has not come";
    case LINIMO_OUTCOME_rate_limited:
      return "is dropped: too many such answers were sent this second ([node] reply_rate)";
    case LINIMO_OUTCOME_tx_full:
      return "is dropped: there was no room to build what would leave";
    case LINIMO_OUTCOME_fragmented_frame:
      return "is dropped: it lies in several buffers, or is longer than one, and the engine cannot do this "
             "with it";
    case LINIMO_OUTCOME_from_kernel:
      return "is sent by the host";
    case LINIMO_OUTCOME_kernel_full:
      return "is dropped: the host's kernel does not keep up with what is handed to it";
    case LINIMO_OUTCOME_COUNT:
      return "waits, for a little while, for the first fragment of its datagram";
  }
  return "";
}

std::string mac_text(const uint8_t* mac) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4],
                     mac[5]);
}

std::string hex(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

/// Of a route to a backend.
std::string gateway_of(const protocol::Traced& traced) {
  Address address;
  std::copy(std::begin(traced.gateway.bytes), std::end(traced.gateway.bytes), address.bytes.begin());
  return address.is_zero() ? "" : address.to_string();
}

class Account {
 public:
  Account(const TrialPacket& packet, const protocol::Traced& traced, const TraceNames& names)
      : packet_(packet), traced_(traced), told_(traced.told), names_(names) {}

  json steps() {
    arrives();
    if (told_.reached >= LINIMO_TRACE_TO_VIP) judged();
    if (told_.reached >= LINIMO_TRACE_SOUND) served();
    if (told_.table_size != 0) tracked();
    if (told_.reached >= LINIMO_TRACE_CHOSEN) leads();
    say("outcome",
        fmt::format("{}: the packet {}", outcome_text(told_.outcome), outcome_meaning(told_.outcome)));
    return steps_;
  }

 private:
  void say(const char* step, std::string says) {
    steps_.push_back({{"step", step}, {"says", std::move(says)}});
  }
  bool came(linimo_trace_step step) const { return told_.reached >= static_cast<uint32_t>(step); }
  std::string entry_backend() const { return names_.backend(linimo_flow_backend(told_.entry)); }

  void arrives() {
    say("packet", fmt::format("{}, in by {}", packet_.text, protocol::text_of(traced_.interface)));
    if (told_.generation == 0) return say("tables", "none are live yet: all frames are the kernel's");
    say("tables", fmt::format("generation {} is live", told_.generation));
    if (!came(LINIMO_TRACE_LOCATED)) return say("frame", "no IP packet, or cut short");
    if (!came(LINIMO_TRACE_ADDRESSED))
      return say("frame", fmt::format("not addressed to the interface, whose MAC address is {}",
                                      mac_text(traced_.mac)));
    if (told_.passed != 0)
      say("passed on", "by another node of the fleet, in a tunnel: judged as if it had come by itself");
    if (!came(LINIMO_TRACE_TO_VIP)) return say("vip", "its destination is no VIP, nor within one");
    say("vip", told_.vip_bits == 128
                   ? "its destination is a VIP"
                   : fmt::format("its destination is within a prefix of VIPs that leaves {} bits open",
                                 128 - told_.vip_bits));
  }

  void judged() {
    if (told_.verdict == LINIMO_VERDICT_MALFORMED)
      return say("headers", "contradict each other, or the frame's length");
    if (told_.verdict == LINIMO_VERDICT_BAD_CHECKSUM)
      return say("headers", "the IPv4 header's checksum is wrong");
    if (told_.source == LINIMO_TRACE_SOURCE_MARTIAN)
      return say("source", "an address that nobody may send from (martian)");
    if (told_.source == LINIMO_TRACE_SOURCE_OWN)
      return say("source", "an address of a VIP or of this node: forged");
    say("headers", "sound, and from a source that may be");
  }

  void served() {
    if (told_.icmp == LINIMO_TRACE_ICMP_ECHO) return say("icmp", "an echo request, which any VIP answers");
    if (told_.icmp == LINIMO_TRACE_ICMP_NEIGHBOUR)
      return say("icmp", "neighbour discovery, which is the kernel's");
    if (told_.icmp == LINIMO_TRACE_ICMP_OTHER) return say("icmp", "nothing that Linimo does anything with");
    if (told_.icmp == LINIMO_TRACE_ICMP_ERROR)
      say("icmp", "an error, which belongs to the flow that it quotes");
    if (told_.verdict == LINIMO_VERDICT_LATER_FRAGMENT) {
      return say("fragment", told_.decider == LINIMO_TRACE_BY_FRAGMENT
                                 ? "not its datagram's first, whose backend is remembered"
                             : told_.decider == LINIMO_TRACE_BY_HANDLER
                                 ? "not its datagram's first, which another node handles"
                                 : "not its datagram's first, and nothing is known of that");
    }
    if (!came(LINIMO_TRACE_SERVICE)) {
      return say("service", told_.outcome == LINIMO_OUTCOME_no_service
                                ? "none of that protocol and port"
                                : "none of that protocol and port; but the host has the address itself");
    }
    linimo_rule rule{};
    std::memcpy(&rule, &told_.rule, sizeof rule);
    const char* protocol = rule.protocol == 6 ? "tcp" : "udp";
    say("service", fmt::format("{}, by its rule for {} {}", names_.service(told_.service), protocol,
                               rule.port_first == rule.port_last
                                   ? fmt::format("port {}", rule.port_first)
                                   : fmt::format("ports {} to {}", rule.port_first, rule.port_last)));
    if (!came(LINIMO_TRACE_ALLOWED)) say("source", "not in the service's allow_sources");
  }

  void tracked() {
    say("flow", fmt::format("hash {:016x}: slot {} of {}, {}", told_.hash, told_.slot, told_.table_size,
                            told_.unsettled != 0 ? "whose backend changed lately (unsettled)" : "settled"));
    if (told_.icmp == LINIMO_TRACE_ICMP_ERROR) return;
    if (told_.tracked == 0) return say("tracking", "this flow needs none: the table is its memory");
    if (told_.entry == 0) return say("tracking", "no entry" + keeps());
    constexpr const char* kStates[] = {"empty", "embryonic", "established", "closing"};
    constexpr const char* kUses[] = {"followed", "its backend cannot be used any more: the flow moves",
                                     "its connection has ended: this is another one"};
    say("tracking", fmt::format("entry of {} {}: {}, {}, last packet {:.1f} s ago; {}{}", names_.memory,
                                told_.row, entry_backend(), kStates[linimo_flow_state(told_.entry)],
                                told_.entry_age / 1000.0, kUses[std::min(told_.entry_use - 1, 2U)], keeps()));
  }

  std::string keeps() const {
    switch (told_.memory) {
      case LINIMO_TRACE_KEEPS_NEW:
        return "; a real packet would make one";
      case LINIMO_TRACE_NO_ROOM:
        return "; there is no room for one: the next packet is asked anew";
      default:
        return "";
    }
  }

  void destination() {
    if (told_.decider == LINIMO_TRACE_BY_HANDLER)
      return say("node", fmt::format("{} handles fragments from its source to its destination",
                                     names_.backend_address(told_.backend)));
    const std::string scheduler =
        fmt::format("by the service's scheduler ({})", names_.scheduler(told_.service));
    const char* const by[] = {"",
                              "named by the QUIC connection id",
                              "by the flow's entry",
                              "where the slot's flows went before its change",
                              "by the pool's table",
                              scheduler.c_str(),
                              "with its datagram's first fragment",
                              "where a node of the fleet has said that the flow goes"};
    say("backend", fmt::format("{}, {}; it is {}{}", names_.backend(told_.backend),
                               by[std::min<size_t>(told_.decider, std::size(by) - 1)],
                               names_.backend_state(told_.backend),
                               told_.keeps_only != 0 ? ", and gets no new flows" : ""));
  }

  void leads() {
    destination();
    const auto state = linimo_next_hop_state_of(told_.way);
    const std::string gateway = gateway_of(traced_);
    const auto device = protocol::text_of(traced_.device);
    const std::string route =
        device.empty() ? std::string("no route") : fmt::format("{} on {}", gateway, device);
    if (!came(LINIMO_TRACE_WAY)) {
      return say("next hop", state == LINIMO_NEXT_HOP_NO_ROUTE ? std::string("the kernel has no route to it")
                             : state == LINIMO_NEXT_HOP_WRONG_EGRESS
                                 ? fmt::format("{}, which is none of Linimo's interfaces", route)
                                 : fmt::format("{}, which does not answer", route));
    }
    say("next hop", fmt::format("{}, {}", route, mac_text(reinterpret_cast<const uint8_t*>(&told_.way))));
    const uint32_t outer = told_.inner_length + told_.header_length;
    say("tunnel", fmt::format("{}: {} + {} = {} bytes, MTU {}: {}", encapsulation_text(told_.encapsulation),
                              told_.inner_length, told_.header_length, outer, told_.mtu,
                              outer <= told_.mtu ? "fits"
                              : told_.pieces > 1 ? fmt::format("leaves in {} fragments", told_.pieces)
                                                 : "does not fit"));
    if (came(LINIMO_TRACE_SENT)) say("leaves", fmt::format("by {}", protocol::text_of(traced_.leaves_by)));
  }

  const TrialPacket& packet_;
  const protocol::Traced& traced_;
  const linimo_trace& told_;
  const TraceNames& names_;
  json steps_ = json::array();
};

/// The kernel's own answers, for whoever wants to check.
json commands(const protocol::Traced& traced, const TraceNames& names) {
  json lines = json::array();
  if (traced.told.reached < LINIMO_TRACE_CHOSEN) return lines;
  const std::string address = names.backend_address(traced.told.backend);
  if (!address.empty()) lines.push_back("ip route get " + address);
  const std::string gateway = gateway_of(traced);
  if (!gateway.empty())
    lines.push_back(fmt::format("ip neigh get {} dev {}", gateway, protocol::text_of(traced.device)));
  return lines;
}

}  // namespace

std::string outcome_meaning(uint32_t outcome) {
  return outcome <= LINIMO_OUTCOME_COUNT ? meaning_of(static_cast<linimo_outcome>(outcome)) : "";
}

std::string outcome_text(uint32_t outcome) {
  return outcome < LINIMO_OUTCOME_COUNT ? outcome_name(static_cast<linimo_outcome>(outcome)) : "held";
}

std::string encapsulation_text(uint32_t encapsulation) {
  std::string name(kEncapsulationNames[std::min<uint32_t>(encapsulation, LINIMO_ENCAP_COUNT - 1)]);
  for (char& letter : name) letter = static_cast<char>(std::toupper(letter));
  return name;
}

json trace_account(const TrialPacket& packet, const protocol::Traced& traced, const TraceNames& names) {
  const linimo_trace& told = traced.told;
  const bool chosen = told.reached >= LINIMO_TRACE_CHOSEN, served = told.reached >= LINIMO_TRACE_SERVICE;
  Account account(packet, traced, names);
  json steps = account.steps();
  const size_t length = std::min<size_t>(traced.length, sizeof traced.frame);
  return {{"packet", packet.text},
          {"interface", protocol::text_of(traced.interface)},
          {"generation", told.generation},
          {"service", served ? json(names.service(told.service)) : json()},
          {"hash", told.hash == 0 ? json() : json(fmt::format("{:016x}", told.hash))},
          {"slot", told.table_size == 0 ? json() : json(told.slot)},
          {"tracked", told.tracked != 0},
          {"entry", told.entry != 0},
          {"backend", chosen ? json(names.backend(told.backend)) : json()},
          {"mtu", told.reached >= LINIMO_TRACE_WAY ? json(told.mtu) : json()},
          {"leaves_by", length == 0 ? json() : json(protocol::text_of(traced.leaves_by))},
          {"outcome", outcome_text(told.outcome)},
          {"meaning", outcome_meaning(told.outcome)},
          {"steps", std::move(steps)},
          {"check", commands(traced, names)},
          {"pieces", told.pieces},
          {"frame", hex({traced.frame, length})}};
}

}  // namespace linimo
