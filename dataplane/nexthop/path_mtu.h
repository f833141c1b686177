// What routers between here and the backends say about the size of packets: "fragmentation needed" (RFC 792
// as RFC 1191 has it) and "packet too big" (RFC 4443) that quote a tunnel of ours.
//
// They are addressed to the tunnel's source, so they come by way of the kernel, and a raw socket sees them.
// Anyone can send one who knows or guesses an address of ours and a backend's. What that can do is bounded:
// what is quoted must be a tunnel that there is, to the byte as far as it is known; an MTU that no network
// has is believed of none; each word is forgotten after ten minutes; and all of it is counted. With
// encap_source_prefix they are addressed to hosts of that prefix, which the machine must hold to hear them
// (`ip route add local PREFIX dev lo`).
//
// Control thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/event_loop.h"
#include "dataplane/link/log_limit.h"
#include "maglev/address.h"
#include "maglev/counters.h"
#include "maglev/snapshot.h"
#include "maglev/unique_fd.h"

namespace linimo {

struct TooBigMessage {
  Address tunnel_source, tunnel_destination;  // of the packet that is quoted
  uint8_t protocol;                           // IPPROTO_IPIP, _IPV6, _GRE or _UDP
  uint16_t port;                              // UDP's destination, else 0
  uint16_t mtu;                               // as it was said
};

/// From an IPv4 packet with its header, or an ICMPv6 message without one, whose checksum the kernel has
/// checked. Nothing if it is no such message, is cut short or damaged, or quotes no tunnel.
std::optional<TooBigMessage> too_big_message4(std::span<const uint8_t> packet);
std::optional<TooBigMessage> too_big_message6(std::span<const uint8_t> message);

/// What an ICMP error quotes, if that is a tunnel; with an MTU that any network may have.
std::optional<TooBigMessage> quoted_tunnel4(std::span<const uint8_t> quote);
std::optional<TooBigMessage> quoted_tunnel6(std::span<const uint8_t> quote);

/// The tunnels of a snapshot: whether a message can be about one of them.
class Tunnels {
 public:
  Tunnels() = default;
  explicit Tunnels(const SnapshotView& snapshot);

  /// The source is ours, the destination a backend's, with its pool's encapsulation (and GUE's port), and the
  /// MTU one that a network may have.
  bool may_be_meant(const TooBigMessage& message) const;

 private:
  struct Kind {
    uint8_t encapsulation;
    uint16_t gue_port;

    auto operator<=>(const Kind&) const = default;
  };

  Address source4_, source6_;
  uint32_t prefix4_ = 128, prefix6_ = 128;
  std::map<Address, std::vector<Kind>> backends_;
};

/// The MTUs that were heard of. Time is given from outside.
class PathMtuCache {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// True if the MTU to this address has become smaller.
  bool lower(const Address& address, uint16_t mtu, Time now);
  /// Forgets what was heard too long ago; true if there was any.
  bool expire(Time now);
  std::optional<uint16_t> mtu(const Address& address) const;
  size_t size() const { return heard_.size(); }

 private:
  struct Heard {
    uint16_t mtu;
    Time until;
  };
  std::map<Address, Heard> heard_;
};

class PathMtu {
 public:
  /// `changed`: the MTU to an address may be another now. Without the privilege for raw sockets nothing is
  /// heard, and a warning says so.
  /// `other`: gets other errors, an IPv4 packet with its header or an ICMPv6 message, and who sent it.
  using Other = std::function<void(int family, std::span<const uint8_t> bytes, const Address& from)>;
  PathMtu(EventLoop& loop, CountersBlock& counters, std::function<void()> changed, Other other);

  /// The live snapshot's, from now on.
  void follow(Tunnels tunnels) { tunnels_ = std::move(tunnels); }
  std::optional<uint16_t> mtu(const Address& address) const { return cache_.mtu(address); }
  bool may_be_meant(const TooBigMessage& message) const { return tunnels_.may_be_meant(message); }

 private:
  void listen(EventLoop& loop, int family);
  void receive(int family, int fd);
  void count_lowered();

  CountersBlock& counters_;
  std::function<void()> changed_;
  Other other_;
  Tunnels tunnels_;
  PathMtuCache cache_;
  LogLimit lowered_log_, ignored_log_;
  UniqueFd sockets_[2];
};

}  // namespace linimo
