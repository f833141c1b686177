// From a frame to what forwarding needs to know of it: where its IP packet lies, whom it is for, and, once it
// is known to be for a VIP, whether it is well formed and which flow it belongs to.
//
// Two steps, because only packets for a VIP may be judged; all others belong to the kernel whatever is wrong
// with them:
//   Frame frame;
//   if (locate(bytes, length, frame)) ...   // an IP packet whose addresses can be read
//   Flow flow; auto verdict = judge(frame, HeaderChecksum::kUnknown, flow);
//
// No function here reads outside [frame, frame + length), and none writes.
#pragma once

#include <cstdint>

#include "dataplane/packet/headers.h"
#include "maglev/abi.h"
#include "maglev/rules/judge.h"

namespace linimo::packet {

struct Frame {
  const uint8_t* ip;   // the IP header
  uint16_t available;  // bytes from there to the end of the frame
  uint16_t ip_offset;  // from the start of the frame
  bool is_v6;

  const Ipv4& v4() const { return *reinterpret_cast<const Ipv4*>(ip); }
  const Ipv6& v6() const { return *reinterpret_cast<const Ipv6*>(ip); }
};

/// Finds the IP header behind at most two VLAN tags. False: no IP, or cut before the addresses end.
bool locate(const uint8_t* bytes, uint32_t length, Frame& frame);

enum class Verdict : uint8_t {
  kFlow = LINIMO_VERDICT_FLOW,  // ports and flags are set
  kOther = LINIMO_VERDICT_OTHER,
  kIcmp = LINIMO_VERDICT_ICMP,
  kLaterFragment = LINIMO_VERDICT_LATER_FRAGMENT,
  kMalformed = LINIMO_VERDICT_MALFORMED,
  kBadChecksum = LINIMO_VERDICT_BAD_CHECKSUM,
  kMartian = LINIMO_VERDICT_MARTIAN,
};

enum class Fragment : uint8_t {
  kNone = LINIMO_WHOLE,
  kFirst = LINIMO_FIRST_FRAGMENT,
  kLater = LINIMO_LATER_FRAGMENT
};

struct Flow {
  uint16_t ip_length;    // of the whole IP packet, by its header: what lies behind is padding
  uint16_t l4_offset;    // from the IP header
  uint16_t source_port;  // network byte order
  uint16_t destination_port;
  uint8_t protocol;
  uint8_t tcp_flags;     // 0 for UDP
  Fragment fragment;     // an IPv6 packet that is its own only fragment (RFC 6946) is none
  bool on_its_way;       // an IPv6 routing header has segments left: the last destination is another
  uint32_t datagram_id;  // of a fragment: its identification as it lies on the wire
};

/// What the NIC has said of the IPv4 header's checksum.
enum class HeaderChecksum : uint8_t { kUnknown, kGood, kBad };

Verdict judge(const Frame& frame, HeaderChecksum checksum, Flow& flow);

/// Is it neighbour or router discovery (RFC 4861), from a neighbour? After `judge` said kIcmp.
bool is_neighbour_discovery(const Frame& frame, const Flow& flow);

/// Does an IPv4 header have a source route option (RFC 791, 3.1), done or not? After `judge`.
bool is_source_routed(const Frame& frame);

/// Does the host's control traffic need this frame (ARP, neighbour discovery, MLD, LLDP, BGP, BFD)?
/// `located`: where its IP header is; null: `locate` found none.
bool is_control(const uint8_t* bytes, uint32_t length, const Frame* located);

}  // namespace linimo::packet
