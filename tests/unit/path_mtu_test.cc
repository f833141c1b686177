// What routers say about the size of packets is believed as far as it does no harm, and for ten minutes.

#include "dataplane/nexthop/path_mtu.h"

#include <vector>

#include <gtest/gtest.h>

namespace linimo {
namespace {

using namespace std::chrono_literals;
using Bytes = std::vector<uint8_t>;

constexpr uint8_t kIpip = 4, kIpv6 = 41, kGre = 47, kUdp = 17, kTcp = 6;
const Address kBackend4 = *Address::parse("10.0.1.2");
const Address kBackend6 = *Address::parse("2001:db8:1::2");

uint16_t checksum(const Bytes& bytes, size_t from) {
  uint32_t sum = 0;
  for (size_t i = from; i < bytes.size(); i += 2)
    sum += bytes[i] << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

/// "Fragmentation needed" as it comes from a raw socket: the router's IPv4 header, ICMP, a quote of 28 bytes.
Bytes message4(uint16_t mtu, uint8_t quoted_protocol = kIpip, size_t options = 0) {
  Bytes bytes(20 + options + 8 + 28);
  bytes[0] = static_cast<uint8_t>(0x45 + options / 4);
  const size_t icmp = 20 + options;
  bytes[icmp] = 3;
  bytes[icmp + 1] = 4;
  bytes[icmp + 6] = static_cast<uint8_t>(mtu >> 8);
  bytes[icmp + 7] = static_cast<uint8_t>(mtu);
  const size_t quote = icmp + 8;
  bytes[quote] = 0x45;
  bytes[quote + 9] = quoted_protocol;
  std::copy_n(kBackend4.bytes.begin() + 12, 4, bytes.begin() + static_cast<ptrdiff_t>(quote) + 16);
  const uint16_t sum = checksum(bytes, icmp);
  bytes[icmp + 2] = static_cast<uint8_t>(sum >> 8);
  bytes[icmp + 3] = static_cast<uint8_t>(sum);
  return bytes;
}

Bytes message6(uint32_t mtu, uint8_t quoted_protocol = kIpv6) {
  Bytes bytes(8 + 48);
  bytes[0] = 2;
  for (size_t i = 0; i < 4; ++i) bytes[4 + i] = static_cast<uint8_t>(mtu >> (24 - 8 * i));
  bytes[8] = 0x60;
  bytes[8 + 6] = quoted_protocol;
  std::copy_n(kBackend6.bytes.begin(), 16, bytes.begin() + 8 + 24);
  return bytes;
}

TEST(TooBigMessage, NamesTheTunnelsEndAndTheMtu) {
  for (const uint8_t protocol : {kIpip, kIpv6, kGre, kUdp}) {
    const auto heard = too_big_message4(message4(1400, protocol));
    ASSERT_TRUE(heard);
    EXPECT_EQ(heard->tunnel_destination, kBackend4);
    EXPECT_EQ(heard->mtu, 1400);
    const auto heard6 = too_big_message6(message6(1400, protocol));
    ASSERT_TRUE(heard6);
    EXPECT_EQ(heard6->tunnel_destination, kBackend6);
    EXPECT_EQ(heard6->mtu, 1400);
  }
  EXPECT_TRUE(too_big_message4(message4(1400, kIpip, 8))) << "with IP options";
  EXPECT_EQ(too_big_message6(message6(0xffffffff))->mtu, 0xffff);
}

TEST(TooBigMessage, IsRefusedAboutAnythingButATunnel) {
  EXPECT_FALSE(too_big_message4(message4(1400, kTcp)));
  EXPECT_FALSE(too_big_message6(message6(1400, kTcp)));
  Bytes other = message6(1400);
  other[0] = 1;
  EXPECT_FALSE(too_big_message6(other));
}

/// No raw socket checks the checksum of ICMP over IPv4.
TEST(TooBigMessage, IsRefusedWhenAnyByteOfItIsDamaged) {
  const Bytes whole = message4(1400);
  for (size_t i = 20; i < whole.size(); ++i) {
    Bytes damaged = whole;
    damaged[i] ^= 0x40;
    EXPECT_FALSE(too_big_message4(damaged)) << "byte " << i;
  }
}

TEST(TooBigMessage, IsRefusedCutShortAnywhere) {
  const Bytes whole4 = message4(1400);
  constexpr size_t kQuoteKnown = 48;  // the quote's own header ends there; what is behind it does not matter
  for (size_t length = 0; length < kQuoteKnown; ++length)
    EXPECT_FALSE(too_big_message4(std::span(whole4).first(length))) << length;
  const Bytes whole6 = message6(1400);
  for (size_t length = 0; length < kQuoteKnown; ++length)
    EXPECT_FALSE(too_big_message6(std::span(whole6).first(length))) << length;
  Bytes header_beyond_the_end = whole4;
  header_beyond_the_end[0] = 0x4f;
  EXPECT_FALSE(too_big_message4(header_beyond_the_end));
}

TEST(PathMtuCache, OnlyEverLowersUntilItForgets) {
  PathMtuCache cache;
  const PathMtuCache::Time start{};
  EXPECT_FALSE(cache.mtu(kBackend4));
  EXPECT_TRUE(cache.lower({kBackend4, 1400}, start));
  EXPECT_FALSE(cache.lower({kBackend4, 1450}, start + 1min)) << "said of an older packet";
  EXPECT_TRUE(cache.lower({kBackend4, 1300}, start + 2min));
  EXPECT_FALSE(cache.lower({kBackend4, 1300}, start + 3min)) << "nothing new, but remembered for longer";
  EXPECT_EQ(cache.mtu(kBackend4), 1300);
  EXPECT_FALSE(cache.expire(start + 12min));
  EXPECT_TRUE(cache.expire(start + 13min));
  EXPECT_FALSE(cache.mtu(kBackend4));
}

TEST(PathMtuCache, DoesNotGoBelowWhatEveryNetworkCarries) {
  PathMtuCache cache;
  cache.lower({kBackend4, 0}, {});
  cache.lower({kBackend6, 68}, {});
  EXPECT_EQ(cache.mtu(kBackend4), 576);
  EXPECT_EQ(cache.mtu(kBackend6), 1280);
}

}  // namespace
}  // namespace linimo
