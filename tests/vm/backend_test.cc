// What a backend must do with a tunnel that comes from Linimo, on a kernel as Debian ships it: the datagram
// inside reaches a socket on the VIP. Shown for linimo-decap, in both modes, and for the kernel's own tunnel
// devices, set up as docs/install.md says. All in a network namespace of the test's own, over a veth.

#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include "maglev/unique_fd.h"

namespace linimo {
namespace {

using Bytes = std::vector<uint8_t>;

enum class Encapsulation { kIpip, kGre, kGue };

constexpr uint16_t kGuePort = 6080;
constexpr uint16_t kVipPort = 8080;
constexpr int kTruth_ms = 2000;  // by when a datagram that comes has come
constexpr int kNever_ms = 100;   // after how long one that must not come is taken not to

struct Ends {
  const char* source;
  const char* destination;
};
constexpr Ends kOuter4{"10.0.0.11", "10.0.1.1"}, kOuter6{"2001:db8::11", "2001:db8:1::1"};
constexpr Ends kInner4{"192.0.2.2", "203.0.113.10"}, kInner6{"2001:db8:c::2", "2001:db8:f::10"};

void append(Bytes& to, const Bytes& more) {
  to.insert(to.end(), more.begin(), more.end());
}

void append16(Bytes& to, size_t value) {
  append(to, {static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)});
}

/// RFC 1071, over an even or odd number of bytes.
uint16_t checksum(const Bytes& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) sum += i % 2 == 0 ? bytes[i] << 8 : bytes[i];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

Bytes address(int family, const char* text) {
  Bytes bytes(family == AF_INET ? 4 : 16);
  EXPECT_EQ(inet_pton(family, text, bytes.data()), 1);
  return bytes;
}

Bytes ip_packet(int family, const Ends& ends, uint8_t protocol, const Bytes& payload) {
  Bytes packet;
  if (family == AF_INET) {
    packet = {0x45, 0};
    append16(packet, 20 + payload.size());
    append(packet, {0, 0, 0x40, 0, 64, protocol, 0, 0});
  } else {
    packet = {0x60, 0, 0, 0};
    append16(packet, payload.size());
    append(packet, {protocol, 64});
  }
  append(packet, address(family, ends.source));
  append(packet, address(family, ends.destination));
  if (family == AF_INET) {
    const uint16_t sum = checksum(packet);
    packet[10] = static_cast<uint8_t>(sum >> 8);
    packet[11] = static_cast<uint8_t>(sum);
  }
  append(packet, payload);
  return packet;
}

Bytes udp(int family, const Ends& ends, uint16_t source_port, uint16_t port, const Bytes& payload) {
  Bytes datagram;
  for (const size_t value : {size_t{source_port}, size_t{port}, 8 + payload.size(), size_t{0}})
    append16(datagram, value);
  append(datagram, payload);
  Bytes summed = address(family, ends.source);
  append(summed, address(family, ends.destination));
  append16(summed, IPPROTO_UDP);
  append16(summed, datagram.size());
  append(summed, datagram);
  const uint16_t sum = checksum(summed);
  datagram[6] = static_cast<uint8_t>(sum >> 8);
  datagram[7] = static_cast<uint8_t>(sum);
  return datagram;
}

/// A tunnel's kind and the families of its two IP headers.
struct Kind {
  Encapsulation encapsulation;
  int outer, inner;
  std::string name;
};

std::vector<Kind> kinds() {
  std::vector<Kind> all;
  for (const Encapsulation encapsulation : {Encapsulation::kIpip, Encapsulation::kGre, Encapsulation::kGue}) {
    const char* name = std::array{"IPIP", "GRE", "GUE"}[static_cast<size_t>(encapsulation)];
    for (const int outer : {AF_INET, AF_INET6}) {
      for (const int inner : {AF_INET, AF_INET6}) {
        all.push_back({encapsulation, outer, inner,
                       std::string(name) + (inner == AF_INET ? " of IPv4" : " of IPv6") +
                           (outer == AF_INET ? " over IPv4" : " over IPv6")});
      }
    }
  }
  return all;
}

Bytes tunnel(const Kind& kind, const Bytes& text, uint16_t gue_port) {
  const Ends& ends = kind.inner == AF_INET ? kInner4 : kInner6;
  const Bytes inner = ip_packet(kind.inner, ends, IPPROTO_UDP, udp(kind.inner, ends, 4000, kVipPort, text));
  const Ends& outer = kind.outer == AF_INET ? kOuter4 : kOuter6;
  switch (kind.encapsulation) {
    case Encapsulation::kIpip:
      return ip_packet(kind.outer, outer, kind.inner == AF_INET ? IPPROTO_IPIP : IPPROTO_IPV6, inner);
    case Encapsulation::kGre: {
      Bytes gre = {0, 0};
      append16(gre, kind.inner == AF_INET ? ETHERTYPE_IP : ETHERTYPE_IPV6);
      append(gre, inner);
      return ip_packet(kind.outer, outer, IPPROTO_GRE, gre);
    }
    case Encapsulation::kGue:
      return ip_packet(kind.outer, outer, IPPROTO_UDP, udp(kind.outer, outer, 50000, gue_port, inner));
  }
  return {};
}

void command(const std::string& line) {
  ASSERT_EQ(std::system(line.c_str()), 0) << line;
}

class BackendTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0)
        << std::strerror(errno);  // the one before goes with all that was in it
    for (const char* name : {"all", "default"}) {
      command(std::string("echo 0 > /proc/sys/net/ipv4/conf/") + name + "/rp_filter");
    }
    command("ip link set lo up");
    command("ip link add eth0 mtu 1600 type veth peer name wire mtu 1600");
    command("ip link set eth0 up && ip link set wire up");
    command("ip addr add 10.0.1.1/24 dev eth0 && ip addr add 2001:db8:1::1/64 dev eth0 nodad");
    command("ip addr add 203.0.113.10/32 dev lo && ip -6 addr add 2001:db8:f::10/128 dev lo nodad");
    wire_ = UniqueFd(socket(AF_PACKET, SOCK_DGRAM, 0));
    v4_ = listen_on_vip(AF_INET);
    v6_ = listen_on_vip(AF_INET6);
  }

  bool arrives(const Kind& kind, int within_ms = kTruth_ms, uint16_t gue_port = kGuePort) {
    const Bytes text = {'n', 'o', '.', static_cast<uint8_t>(++sent_)};  // none is taken for another
    const Bytes packet = tunnel(kind, text, gue_port);
    sockaddr_ll to = {};
    to.sll_family = AF_PACKET;
    to.sll_protocol = htons(kind.outer == AF_INET ? ETHERTYPE_IP : ETHERTYPE_IPV6);
    to.sll_ifindex = static_cast<int>(if_nametoindex("wire"));
    to.sll_halen = ETH_ALEN;
    std::memcpy(to.sll_addr, mac_of_eth0().data(), ETH_ALEN);
    const auto* target = reinterpret_cast<const sockaddr*>(&to);
    EXPECT_EQ(sendto(wire_.get(), packet.data(), packet.size(), 0, target, sizeof to),
              static_cast<ssize_t>(packet.size()))
        << std::strerror(errno);
    const int socket = (kind.inner == AF_INET ? v4_ : v6_).get();
    const timeval limit{.tv_sec = within_ms / 1000, .tv_usec = long{within_ms} % 1000 * 1000};
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    Bytes got(2048);
    const ssize_t length = recv(socket, got.data(), got.size(), 0);
    if (length < 0) return false;
    got.resize(static_cast<size_t>(length));
    EXPECT_EQ(got, text);
    return true;
  }

  void expect_all_arrive() {
    for (const Kind& kind : kinds()) EXPECT_TRUE(arrives(kind)) << kind.name;
  }

  void expect_none_arrives() {
    for (const Kind& kind : kinds()) EXPECT_FALSE(arrives(kind, kNever_ms)) << kind.name;
  }

 private:
  static UniqueFd listen_on_vip(int family) {
    UniqueFd listening(socket(family, SOCK_DGRAM, 0));
    sockaddr_in v4 = {};
    sockaddr_in6 v6 = {};
    v4.sin_family = AF_INET;
    v6.sin6_family = AF_INET6;
    v4.sin_port = v6.sin6_port = htons(kVipPort);
    inet_pton(AF_INET, kInner4.destination, &v4.sin_addr);
    inet_pton(AF_INET6, kInner6.destination, &v6.sin6_addr);
    const int bound = family == AF_INET
                          ? bind(listening.get(), reinterpret_cast<const sockaddr*>(&v4), sizeof v4)
                          : bind(listening.get(), reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
    EXPECT_EQ(bound, 0) << std::strerror(errno);
    return listening;
  }

  std::array<uint8_t, ETH_ALEN> mac_of_eth0() const {
    sockaddr_ll own = {};
    socklen_t size = sizeof own;
    UniqueFd bound(socket(AF_PACKET, SOCK_DGRAM, 0));
    own.sll_family = AF_PACKET;
    own.sll_ifindex = static_cast<int>(if_nametoindex("eth0"));
    EXPECT_EQ(bind(bound.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own), 0);
    EXPECT_EQ(getsockname(bound.get(), reinterpret_cast<sockaddr*>(&own), &size), 0);
    std::array<uint8_t, ETH_ALEN> mac;
    std::memcpy(mac.data(), own.sll_addr, mac.size());
    return mac;
  }

  UniqueFd wire_, v4_, v6_;
  int sent_ = 0;
};

TEST_F(BackendTest, DecapTakesEveryTunnelOffInTheDriver) {
  expect_none_arrives();
  command("linimo-decap attach eth0 --mode native");
  expect_all_arrive();
  command("linimo-decap detach eth0");
  expect_none_arrives();
}

TEST_F(BackendTest, DecapTakesEveryTunnelOffInTheStack) {
  command("linimo-decap attach eth0 --mode generic");
  expect_all_arrive();
}

TEST_F(BackendTest, DecapListensOnAnotherGuePort) {
  const Kind gue{Encapsulation::kGue, AF_INET, AF_INET, "GUE"};
  command("linimo-decap attach eth0");
  command("linimo-decap attach eth0 --gue-port 7000");
  EXPECT_TRUE(arrives(gue, kTruth_ms, 7000));
  EXPECT_FALSE(arrives(gue, kNever_ms, kGuePort));
}

TEST_F(BackendTest, TheKernelsOwnTunnelDevicesTakeEveryTunnelOff) {
  ASSERT_NE(if_nametoindex("tunl0"), 0u) << "this kernel has no tunnel devices";
  for (const char* device : {"tunl0", "sit0", "gre0", "ip6tnl0", "ip6gre0"}) {
    command(std::string("ip link set ") + device + " up");
    command(std::string("echo 0 > /proc/sys/net/ipv4/conf/") + device + "/rp_filter");
  }
  command("ip -6 tunnel change ip6tnl0 mode any");  // without it, IPv6 in IPv6 alone
  command("ip fou add port 6080 gue && ip -6 fou add port 6080 gue");
  expect_all_arrive();
}

}  // namespace
}  // namespace linimo
