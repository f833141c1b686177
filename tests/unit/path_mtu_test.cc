// What routers say about the size of packets is believed as far as it does no harm, and for ten minutes.

#include "dataplane/nexthop/path_mtu.h"

#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "dataplane/nexthop/tunnel_errors.h"
#include "maglev/snapshot.h"

namespace linimo {
namespace {

using namespace std::chrono_literals;
using Bytes = std::vector<uint8_t>;

constexpr uint8_t kIpip = 4, kIpv6 = 41, kGre = 47, kUdp = 17, kTcp = 6;
constexpr uint16_t kGuePort = 6080;
const Address kSource4 = *Address::parse("10.0.0.11");
const Address kSource6 = *Address::parse("2001:db8::11");
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
  std::copy_n(kSource4.bytes.begin() + 12, 4, bytes.begin() + static_cast<ptrdiff_t>(quote) + 12);
  bytes[quote + 22] = kGuePort >> 8;
  bytes[quote + 23] = kGuePort & 0xff;
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
  std::copy_n(kSource6.bytes.begin(), 16, bytes.begin() + 8 + 8);
  std::copy_n(kBackend6.bytes.begin(), 16, bytes.begin() + 8 + 24);
  bytes[8 + 42] = kGuePort >> 8;
  bytes[8 + 43] = kGuePort & 0xff;
  return bytes;
}

/// The same about the first fragment of a tunnel, or a later one.
Bytes message6_about_fragment(uint8_t protocol, uint16_t offset) {
  Bytes bytes = message6(1400, 44);
  const Bytes header{protocol, 0, static_cast<uint8_t>(offset >> 8), static_cast<uint8_t>(offset), 0, 0,
                     0,        1};
  bytes.insert(bytes.begin() + 48, header.begin(), header.end());
  return bytes;
}

TEST(TooBigMessage, NamesTheTunnelsEndAndTheMtu) {
  for (const uint8_t protocol : {kIpip, kIpv6, kGre, kUdp}) {
    const auto heard = too_big_message4(message4(1400, protocol));
    ASSERT_TRUE(heard);
    EXPECT_EQ(heard->tunnel_source, kSource4);
    EXPECT_EQ(heard->tunnel_destination, kBackend4);
    EXPECT_EQ(heard->protocol, protocol);
    EXPECT_EQ(heard->port, protocol == kUdp ? kGuePort : 0);
    EXPECT_EQ(heard->mtu, 1400);
    const auto heard6 = too_big_message6(message6(1400, protocol));
    ASSERT_TRUE(heard6);
    EXPECT_EQ(heard6->tunnel_source, kSource6);
    EXPECT_EQ(heard6->tunnel_destination, kBackend6);
    EXPECT_EQ(heard6->protocol, protocol);
    EXPECT_EQ(heard6->port, protocol == kUdp ? kGuePort : 0);
    EXPECT_EQ(heard6->mtu, 1400);
    const auto about_first = too_big_message6(message6_about_fragment(protocol, 1));
    ASSERT_TRUE(about_first);
    EXPECT_EQ(about_first->protocol, protocol);
    EXPECT_EQ(about_first->port, protocol == kUdp ? kGuePort : 0);
    EXPECT_FALSE(too_big_message6(message6_about_fragment(protocol, 8))) << "has no ports";
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
  for (size_t length = 0; length < whole4.size(); ++length)
    EXPECT_FALSE(too_big_message4(std::span(whole4).first(length))) << length;
  const Bytes whole6 = message6(1400);
  for (size_t length = 0; length < whole6.size(); ++length)
    EXPECT_FALSE(too_big_message6(std::span(whole6).first(length))) << length;
  Bytes header_beyond_the_end = whole4;
  header_beyond_the_end[0] = 0x4f;
  EXPECT_FALSE(too_big_message4(header_beyond_the_end));
}

/// Of two pools that share their backends: one in IPIP, one in GUE.
std::vector<std::byte> snapshot(uint32_t prefix4 = 128, uint32_t prefix6 = 128) {
  SnapshotSpec spec;
  spec.encap_source4 = kSource4;
  spec.encap_source6 = kSource6;
  spec.encap_prefix4 = prefix4;
  spec.encap_prefix6 = prefix6;
  uint32_t id = 0;
  for (const linimo_encapsulation encapsulation : {LINIMO_ENCAP_IPIP, LINIMO_ENCAP_GUE}) {
    PoolSpec pool;
    pool.name = encapsulation == LINIMO_ENCAP_IPIP ? "ipip" : "gue";
    pool.encapsulation = encapsulation;
    pool.gue_port = encapsulation == LINIMO_ENCAP_GUE ? kGuePort : uint16_t{0};
    for (const Address& address : {kBackend4, kBackend6})
      pool.backends.push_back({.address = address, .id = id++});
    pool.table = make_pool_table(pool.backends, 11);
    spec.pools.push_back(std::move(pool));
  }
  return build_snapshot(spec);
}

TEST(Tunnels, AreMeantOnlyWhereAllThatIsQuotedIsOurs) {
  const auto bytes = snapshot();
  const Tunnels tunnels(*SnapshotView::validate(bytes));
  const TooBigMessage v4{kSource4, kBackend4, kIpip, 0, 1400}, v6{kSource6, kBackend6, kIpv6, 0, 1400};
  for (const TooBigMessage& sound : {v4, v6}) {
    EXPECT_TRUE(tunnels.may_be_meant(sound));
    const auto with = [&](auto change) {
      TooBigMessage changed = sound;
      change(changed);
      return tunnels.may_be_meant(changed);
    };
    EXPECT_TRUE(with([](TooBigMessage& m) { m.protocol = kIpip; }));
    EXPECT_TRUE(with([](TooBigMessage& m) { m.protocol = kUdp, m.port = kGuePort; }));
    EXPECT_FALSE(with([](TooBigMessage& m) { m.protocol = kUdp, m.port = kGuePort + 1; }));
    EXPECT_FALSE(with([](TooBigMessage& m) { m.protocol = kGre; })) << "no pool has it";
    EXPECT_FALSE(with([](TooBigMessage& m) { m.tunnel_source.bytes[15] ^= 1; })) << "somebody else's";
    EXPECT_FALSE(with([](TooBigMessage& m) { m.tunnel_destination.bytes[15] ^= 1; })) << "no backend";
    EXPECT_FALSE(with([](TooBigMessage& m) { std::swap(m.tunnel_source, m.tunnel_destination); }));
    const uint16_t least = sound.tunnel_source.is_v4() ? 576 : 1280;
    EXPECT_TRUE(with([&](TooBigMessage& m) { m.mtu = least; }));
    EXPECT_FALSE(with([&](TooBigMessage& m) { m.mtu = static_cast<uint16_t>(least - 1); }))
        << "of no network";
    EXPECT_FALSE(with([](TooBigMessage& m) { m.mtu = 0; }));
  }
}

TEST(Tunnels, BeginAnywhereInThePrefix) {
  const auto bytes = snapshot(96 + 10, 107);
  const Tunnels tunnels(*SnapshotView::validate(bytes));
  const auto meant = [&](const char* source, const Address& backend) {
    return tunnels.may_be_meant({*Address::parse(source), backend, kIpip, 0, 1400});
  };
  EXPECT_TRUE(meant("10.63.255.255", kBackend4));
  EXPECT_FALSE(meant("10.64.0.0", kBackend4));
  EXPECT_TRUE(meant("2001:db8::1f:ffff", kBackend6));
  EXPECT_FALSE(meant("2001:db8::20:0", kBackend6));
}

TEST(PathMtuCache, OnlyEverLowersUntilItForgets) {
  PathMtuCache cache;
  const PathMtuCache::Time start{};
  EXPECT_FALSE(cache.mtu(kBackend4));
  EXPECT_TRUE(cache.lower(kBackend4, 1400, start));
  EXPECT_FALSE(cache.lower(kBackend4, 1450, start + 1min)) << "said of an older packet";
  EXPECT_TRUE(cache.lower(kBackend4, 1300, start + 2min));
  EXPECT_FALSE(cache.lower(kBackend4, 1300, start + 3min)) << "nothing new, but remembered for longer";
  EXPECT_EQ(cache.mtu(kBackend4), 1300);
  EXPECT_EQ(cache.size(), 1U);
  EXPECT_FALSE(cache.expire(start + 12min));
  EXPECT_TRUE(cache.expire(start + 13min));
  EXPECT_FALSE(cache.mtu(kBackend4));
  EXPECT_EQ(cache.size(), 0U);
}

/// Another error than message4's, sent by the backend itself.
Bytes error4(uint8_t code, uint8_t quoted_protocol = kIpip, bool from_backend = true) {
  Bytes bytes = message4(0, quoted_protocol);
  if (from_backend) std::copy_n(kBackend4.bytes.begin() + 12, 4, bytes.begin() + 12);
  bytes[21] = code;
  bytes[22] = bytes[23] = 0;
  const uint16_t sum = checksum(bytes, 20);
  bytes[22] = static_cast<uint8_t>(sum >> 8);
  bytes[23] = static_cast<uint8_t>(sum);
  return bytes;
}

TEST(TunnelErrors, AreKnownByWhatTheyQuote) {
  const auto heard = tunnel_error4(error4(2));
  ASSERT_TRUE(heard);
  EXPECT_EQ(heard->error, TunnelError::kNoProtocol);
  EXPECT_TRUE(heard->from_backend);
  EXPECT_EQ(heard->tunnel.tunnel_destination, kBackend4);
  EXPECT_FALSE(tunnel_error4(error4(2, kIpip, false))->from_backend);
  EXPECT_EQ(tunnel_error4(error4(3, kUdp))->tunnel.port, kGuePort);
  EXPECT_EQ(tunnel_error4(error4(13))->error, TunnelError::kProhibited);
  EXPECT_EQ(tunnel_error4(error4(1))->error, TunnelError::kNoHost);
}

TEST(TunnelErrors, OthersAreNone) {
  EXPECT_FALSE(tunnel_error4(message4(1400)));  // the size of packets is another matter
  EXPECT_FALSE(tunnel_error4(error4(2, kTcp)));
  const Bytes whole = error4(2);
  for (size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(tunnel_error4(std::span(whole).first(length))) << length;
  Bytes damaged = whole;
  damaged[40] ^= 1;
  EXPECT_FALSE(tunnel_error4(damaged));
}

TEST(TunnelErrors, OverIpv6) {
  Bytes bytes = message6(0);
  std::copy_n(kBackend6.bytes.begin(), 16, bytes.begin() + 8 + 24);
  EXPECT_FALSE(tunnel_error6(bytes, kBackend6));  // too big
  bytes[0] = 4;
  bytes[1] = 1;
  ASSERT_TRUE(tunnel_error6(bytes, kBackend6));
  EXPECT_EQ(tunnel_error6(bytes, kBackend6)->error, TunnelError::kNoProtocol);
  EXPECT_TRUE(tunnel_error6(bytes, kBackend6)->from_backend);
  bytes[0] = 1;
  bytes[1] = 4;
  EXPECT_EQ(tunnel_error6(bytes, kSource6)->error, TunnelError::kNoPort);
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_FALSE(tunnel_error6(std::span(bytes).first(length), kBackend6)) << length;
}

TEST(TunnelErrors, AreToldOfForAWhileAndCounted) {
  ConditionBoard board;
  CountersBlock counters{};
  TunnelErrors errors(board, counters);
  const TunnelErrors::Time start{};
  const auto entry = [&] { return board.entries().find({"tunnel-accepted", "10.0.1.2"}); };
  const auto at = start + 100s;
  errors.hear(*tunnel_error4(error4(2)), at);
  ASSERT_NE(entry(), board.entries().end());
  EXPECT_EQ(entry()->second.state, ConditionState::kFails);
  EXPECT_NE(entry()->second.mend.find("modprobe ipip; ip link set tunl0 up"), std::string::npos);
  errors.hear(*tunnel_error4(error4(3)), at + 5s);
  EXPECT_NE(entry()->second.mend.find("ip link set tunl0 up"), std::string::npos);
  EXPECT_EQ(entry()->second.mend.find("modprobe"), std::string::npos);
  errors.hear(*tunnel_error4(error4(3, kUdp)), at + 10s);
  EXPECT_NE(entry()->second.mend.find("ip fou add port 6080 gue"), std::string::npos);
  errors.look(at + 20s);
  EXPECT_NE(entry(), board.entries().end());
  errors.look(at + 30s);
  EXPECT_EQ(entry(), board.entries().end());
  EXPECT_EQ(counters.tunnel_errors[0], 1u);
  EXPECT_EQ(counters.tunnel_errors[1], 2u);
  ASSERT_EQ(counters.tunnel_error_backends, 1u);
  EXPECT_EQ(Address::from_abi(counters.tunnel_errors_of[0].backend).to_string(), "10.0.1.2");
  EXPECT_EQ(counters.tunnel_errors_of[0].errors[0], 1u);
  EXPECT_EQ(counters.tunnel_errors_of[0].errors[1], 2u);
}

TEST(TunnelErrors, CountsApartAsManyBackendsAsThereIsRoomForAndTheRestTogether) {
  ConditionBoard board;
  CountersBlock counters{};
  TunnelErrors errors(board, counters);
  const size_t room = std::size(counters.tunnel_errors_of);
  TunnelErrorMessage message = *tunnel_error4(error4(2));
  for (uint32_t number = 0; number < room + 3; ++number) {
    message.tunnel.tunnel_destination = Address::v4(htonl(0x0a00'0200 + number));
    errors.hear(message, TunnelErrors::Time{} + 100s);
    errors.hear(message, TunnelErrors::Time{} + 100s);
  }
  EXPECT_EQ(counters.tunnel_errors[0], 2 * (room + 3));
  ASSERT_EQ(counters.tunnel_error_backends, room);
  for (const TunnelErrorCount& one : counters.tunnel_errors_of) EXPECT_EQ(one.errors[0], 2u);
}

}  // namespace
}  // namespace linimo
