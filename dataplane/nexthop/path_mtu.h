// What routers between here and the backends say about the size of packets: "fragmentation needed" (RFC 792
// as RFC 1191 has it) and "packet too big" (RFC 4443) that quote a tunnel of ours.
//
// They are addressed to the tunnel's source, so they come by way of the kernel, and a raw socket sees them.
// Anyone can send one who knows or guesses an address of ours and a backend's. What that can do is bounded:
// no MTU falls below the smallest that every network carries, and each word is forgotten after ten minutes.
// With encap_source_prefix they are addressed to hosts of that prefix, which the machine must hold to hear
// them (`ip route add local PREFIX dev lo`).
//
// Control thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>

#include "dataplane/event_loop.h"
#include "maglev/address.h"
#include "maglev/unique_fd.h"

namespace linimo {

struct TooBigMessage {
  Address tunnel_destination;
  uint16_t mtu;  // as it was said
};

/// From an IPv4 packet with its header, or an ICMPv6 message without one, whose checksum the kernel has
/// checked. Nothing if it is no such message, is cut short or damaged, or quotes no tunnel.
std::optional<TooBigMessage> too_big_message4(std::span<const uint8_t> packet);
std::optional<TooBigMessage> too_big_message6(std::span<const uint8_t> message);

/// The MTUs that were heard of. Time is given from outside.
class PathMtuCache {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// True if the MTU to this address has become smaller.
  bool lower(const TooBigMessage& message, Time now);
  /// Forgets what was heard too long ago; true if there was any.
  bool expire(Time now);
  std::optional<uint16_t> mtu(const Address& address) const;

 private:
  struct Heard {
    uint16_t mtu;
    Time until;
  };
  std::map<Address, Heard> heard_;
};

class PathMtu {
 public:
  /// `wanted`: whether an address is a backend's; `changed`: the MTU to an address may be another now;
  /// `lowered`: counts. Without the privilege for raw sockets nothing is heard, and a warning says so.
  PathMtu(EventLoop& loop, std::function<bool(const Address&)> wanted, std::function<void()> changed,
          std::function<void()> lowered);

  std::optional<uint16_t> mtu(const Address& address) const { return cache_.mtu(address); }

 private:
  void listen(EventLoop& loop, int family);
  void receive(int family, int fd);

  std::function<bool(const Address&)> wanted_;
  std::function<void()> changed_;
  std::function<void()> lowered_;
  PathMtuCache cache_;
  UniqueFd sockets_[2];
};

}  // namespace linimo
