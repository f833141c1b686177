// What lets nearly every packet be recognized without a search: services by exact address and port, and
// sources that need no closer look. Both may know too little, never anything wrong.

#include "dataplane/forward/service_table.h"

#include <gtest/gtest.h>

#include "dataplane/forward/suspect_sources.h"
#include "maglev/address.h"

namespace linimo {
namespace {

constexpr uint8_t kTcp = 6, kUdp = 17;

linimo_vip vip(const char* address, uint32_t length, uint32_t first, uint32_t count) {
  linimo_vip vip{};
  const Address parsed = *Address::parse(address);
  std::copy(parsed.bytes.begin(), parsed.bytes.end(), vip.address.bytes);
  vip.prefix_length = length;
  vip.rule_first = first;
  vip.rule_count = count;
  return vip;
}

linimo_rule rule(uint16_t first, uint16_t last, uint16_t protocol, uint16_t service) {
  linimo_rule rule{};
  rule.port_first = first;
  rule.port_last = last;
  rule.protocol = protocol;
  rule.service = service;
  return rule;
}

AddressWords words(const char* address) {
  return AddressWords::v6(Address::parse(address)->bytes.data());
}

uint32_t find(const ServiceTable& table, const char* address, uint16_t port, uint8_t protocol) {
  const Address parsed = *Address::parse(address);
  const uint16_t network_order = __builtin_bswap16(port);
  return parsed.is_v4() ? table.find_v4(parsed.v4_network_order(), network_order, protocol)
                        : table.find_v6(words(address), network_order, protocol);
}

TEST(ServiceTable, KnowsAddressesWithFewPorts) {
  const linimo_rule rules[] = {rule(80, 80, kTcp, 0),         rule(443, 450, kTcp, 1),
                               rule(53, 53, kUdp, 2),         rule(1000, 60'000, kUdp, 3),
                               rule(65'535, 65'535, kUdp, 4), rule(0, 65'535, kTcp, 5)};
  const linimo_vip vips[] = {vip("2001:db8::1", 128, 0, 1), vip("203.0.113.1", 128, 0, 5),
                             vip("203.0.113.0", 120, 5, 1)};
  const std::vector<linimo_service> services(8);
  const ServiceTable table(vips, rules, services);
  EXPECT_EQ(find(table, "203.0.113.1", 80, kTcp), 0U);
  EXPECT_EQ(find(table, "203.0.113.1", 443, kTcp), 1U);
  EXPECT_EQ(find(table, "203.0.113.1", 450, kTcp), 1U);
  EXPECT_EQ(find(table, "203.0.113.1", 53, kUdp), 2U);
  EXPECT_EQ(find(table, "203.0.113.1", 65'535, kUdp), 4U);
  EXPECT_EQ(find(table, "2001:db8::1", 80, kTcp), 0U);

  EXPECT_EQ(find(table, "203.0.113.1", 451, kTcp), ServiceTable::kNone);
  EXPECT_EQ(find(table, "203.0.113.1", 80, kUdp), ServiceTable::kNone);
  EXPECT_EQ(find(table, "203.0.113.1", 1000, kUdp), ServiceTable::kNone) << "of a wide range";
  EXPECT_EQ(find(table, "203.0.113.2", 80, kTcp), ServiceTable::kNone) << "of a prefix";
  EXPECT_EQ(find(table, "2001:db8::2", 80, kTcp), ServiceTable::kNone);
  EXPECT_EQ(table.find_v6(words("::ffff:203.0.113.1"), __builtin_bswap16(80), kTcp), ServiceTable::kNone)
      << "IPv6 on the wire that looks like the IPv4 VIP";
}

// Whose sources are to be compared, all packets are to be judged.
TEST(ServiceTable, LeavesOutServicesThatNotEveryoneMayUse) {
  const linimo_rule rules[] = {rule(80, 80, kTcp, 0), rule(443, 443, kTcp, 1)};
  const linimo_vip vips[] = {vip("203.0.113.1", 128, 0, 2)};
  linimo_service services[2] = {};
  services[1].source_count = 1;
  const ServiceTable table(vips, rules, services);
  EXPECT_EQ(find(table, "203.0.113.1", 80, kTcp), 0U);
  EXPECT_EQ(find(table, "203.0.113.1", 443, kTcp), ServiceTable::kNone);
}

TEST(ServiceTable, IsEmptyWithoutVips) {
  EXPECT_EQ(find(ServiceTable({}, {}, {}), "203.0.113.1", 80, kTcp), ServiceTable::kNone);
}

TEST(ServiceTable, LeavesOutWhatIsTooMuch) {
  std::vector<linimo_vip> vips;
  const linimo_rule rules[] = {rule(1, 64, kTcp, 7)};
  for (uint32_t i = 0; i < 3000; ++i) {
    vips.push_back(vip("10.0.0.0", 128, 0, 1));
    vips.back().address.bytes[14] = static_cast<uint8_t>(i >> 8);
    vips.back().address.bytes[15] = static_cast<uint8_t>(i);
  }
  const std::vector<linimo_service> services(8);
  const ServiceTable table(vips, rules, services);
  EXPECT_EQ(find(table, "10.0.0.1", 64, kTcp), 7U);
  EXPECT_EQ(find(table, "10.0.11.183", 64, kTcp), ServiceTable::kNone) << "the 3000th";
}

bool suspected(const SuspectSources& suspects, const char* address) {
  const Address parsed = *Address::parse(address);
  return parsed.is_v4() ? suspects.contains_v4(parsed.v4_network_order())
                        : suspects.contains_v6(words(address));
}

TEST(SuspectSources, AreMartiansAndVips) {
  const linimo_vip vips[] = {vip("203.0.113.1", 128, 0, 0), vip("10.16.0.0", 108, 0, 0),
                             vip("2001:db8:f::1", 128, 0, 0), vip("2001:db8:a::", 48, 0, 0)};
  const AddressWords own[] = {words("10.0.0.11"), words("2001:db8:a1::11")};
  const SuspectSources suspects(vips, own);
  for (const char* address :
       {"0.0.0.0", "0.255.255.255", "127.0.0.1", "127.255.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1",
        "255.255.255.255", "203.0.113.1", "10.16.0.0", "10.31.255.255", "::", "::1", "ff02::1", "ff0e::1:2",
        "2001:db8:f::1", "2001:db8:a:b::c", "10.0.0.11", "2001:db8:a1::11"})
    EXPECT_TRUE(suspected(suspects, address)) << address;
  // Whoever begins as a VIP or an address of the node is no suspect for that.
  for (const char* address : {"203.0.113.2", "203.0.0.1", "10.0.0.10", "10.0.11.0", "2001:db8:f::2",
                              "2001:db8:a1:1::11", "1.0.0.0", "10.15.255.255", "10.32.0.0", "126.0.0.1",
                              "128.0.0.1", "198.51.100.1", "223.255.255.255", "2001:db8:c::1", "fe80::1"})
    EXPECT_FALSE(suspected(suspects, address)) << address;
}

TEST(SuspectSources, AreAllBehindAShortPrefix) {
  const linimo_vip vips[] = {vip("2001:db8::", 32, 0, 0), vip("128.0.0.0", 97, 0, 0)};
  const SuspectSources suspects(vips, {});
  for (const char* address : {"2001:db8:ffff::1", "2001:db8::1", "128.0.0.1", "200.1.2.3", "223.255.255.255"})
    EXPECT_TRUE(suspected(suspects, address)) << address;
  EXPECT_FALSE(suspected(suspects, "126.255.255.255"));
}

}  // namespace
}  // namespace linimo
