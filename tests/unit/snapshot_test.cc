// The snapshot: what is built validates and says what was meant; what is cut or changed is refused.

#include "maglev/snapshot.h"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "maglev/hash.h"
#include "tests/unit/snapshot_fixture.h"

namespace linimo {
namespace {

/// The service that rules give to a port of a VIP, by name; "" if none.
std::string match(const SnapshotView& view, const char* vip, uint8_t protocol, uint16_t port) {
  for (const linimo_vip& entry : view.vips()) {
    if (!Prefix{Address::from_abi(entry.address), entry.prefix_length}.contains(address(vip))) continue;
    for (const linimo_rule& rule : view.rules().subspan(entry.rule_first, entry.rule_count)) {
      if (rule.protocol == protocol && rule.port_first <= port && port <= rule.port_last) {
        return view.services()[rule.service].name;
      }
    }
    return "";
  }
  return "";
}

// Everything that was specified can be read back.
TEST(Snapshot, SaysWhatWasMeant) {
  const auto bytes = build_snapshot(two_services());
  const auto view = SnapshotView::validate(bytes);
  ASSERT_TRUE(view) << view.error();
  EXPECT_EQ(view->header().generation, 7U);
  EXPECT_EQ(view->header().hash_seed, 42U);
  ASSERT_EQ(view->services().size(), 2U);
  EXPECT_STREQ(view->services()[1].name, "dns");
  EXPECT_EQ(view->services()[1].id, 5U);
  EXPECT_EQ(view->services()[0].scheduler, LINIMO_SCHEDULER_MAGLEV);
  EXPECT_EQ(view->services()[1].scheduler, LINIMO_SCHEDULER_LEAST_CONNECTIONS);
  EXPECT_EQ(match(*view, "203.0.113.10", 6, 443), "web");
  EXPECT_EQ(match(*view, "203.0.113.10", 17, 443), "");
  EXPECT_EQ(match(*view, "203.0.113.11", 17, 53), "dns");
  ASSERT_EQ(view->backends().size(), 3U);
  EXPECT_EQ(view->backends()[2].state, uint32_t{LINIMO_BACKEND_DOWN});  // table members first
  EXPECT_EQ(view->members(view->pools()[0]).size(), 2U);
  for (const linimo_slot slot : view->slots(view->pools()[0])) EXPECT_LT(slot, 2U);
  const auto unsettled = view->unsettled(view->pools()[0]);
  ASSERT_EQ(unsettled.size(), 2U);
  EXPECT_EQ(unsettled[0].slot, 9U);
  EXPECT_EQ(unsettled[0].base, 0U);
  EXPECT_EQ(unsettled[1].base, 1U);
  EXPECT_EQ(unsettled[1].learning_s, 1U);
}

// The digest does not depend on the order of pools or backends, nor on generation, ids or seed; it does on
// weights.
TEST(Snapshot, DigestIsOfTheTablesAlone) {
  const SnapshotSpec spec = two_services();
  SnapshotSpec other = spec;
  std::reverse(other.pools[0].backends.begin(), other.pools[0].backends.end());
  for (auto& backend : other.pools[0].backends) backend.id += 100;
  other.pools[0].table = make_pool_table(other.pools[0].backends, 251);
  other.generation = 9;
  EXPECT_EQ(snapshot_digest(spec), snapshot_digest(other));
  EXPECT_EQ(spec.pools[0].table->slots, other.pools[0].table->slots);
  other.pools[0].backends[0].weight = 50;
  other.pools[0].table = make_pool_table(other.pools[0].backends, 251);
  EXPECT_NE(snapshot_digest(spec), snapshot_digest(other));
}

TEST(Snapshot, WindowsOfOneThatWasKeptAreShorter) {
  auto bytes = build_snapshot(two_services());
  grow_older(bytes, std::chrono::seconds(100));
  const auto view = SnapshotView::validate(bytes);
  ASSERT_TRUE(view) << view.error();
  ASSERT_EQ(view->unsettled().size(), 2U);
  EXPECT_EQ(view->unsettled()[0].learning_s, 200U);
  EXPECT_EQ(view->unsettled()[1].learning_s, 0U) << "over";
}

// The service is the most specific match: exact port, then range, then any; among these the longer prefix.
TEST(Snapshot, MostSpecificServiceWins) {
  SnapshotSpec spec = two_services();
  spec.services.clear();
  spec.services.push_back(service("any", 0, {prefix("203.0.113.0/24")}, {{0, 65535}}));
  spec.services.push_back(service("range", 1, {prefix("203.0.113.0/24")}, {{8000, 8100}}));
  spec.services.push_back(service("exact", 2, {prefix("203.0.113.0/24")}, {{8080, 8080}}));
  spec.services.push_back(service("host-any", 3, {prefix("203.0.113.10")}, {{0, 65535}}));
  spec.services.push_back(service("host-range", 4, {prefix("203.0.113.10")}, {{8050, 8060}}));
  const auto bytes = build_snapshot(spec);
  const auto view = SnapshotView::validate(bytes);
  ASSERT_TRUE(view) << view.error();
  EXPECT_EQ(match(*view, "203.0.113.99", 6, 1), "any");
  EXPECT_EQ(match(*view, "203.0.113.99", 6, 8000), "range");
  EXPECT_EQ(match(*view, "203.0.113.99", 6, 8100), "range");
  EXPECT_EQ(match(*view, "203.0.113.99", 6, 8101), "any");
  EXPECT_EQ(match(*view, "203.0.113.99", 6, 8080), "exact");
  EXPECT_EQ(match(*view, "203.0.113.10", 6, 8080), "exact");
  EXPECT_EQ(match(*view, "203.0.113.10", 6, 8055), "host-range");
  EXPECT_EQ(match(*view, "203.0.113.10", 6, 8001), "range");
  EXPECT_EQ(match(*view, "203.0.113.10", 6, 65535), "host-any");
  EXPECT_EQ(match(*view, "203.0.114.10", 6, 80), "");
}

// However a service's ports were written: whoever looks one up walks fewer rules.
TEST(Snapshot, PortsOfAServiceThatTouchAreOneRule) {
  SnapshotSpec spec = two_services();
  spec.services.pop_back();
  spec.services[0].vips = {prefix("203.0.113.10")};
  spec.services[0].ports = {{443, 443}, {81, 99}, {80, 80}, {65535, 65535}};
  const auto bytes = build_snapshot(spec);
  const auto view = SnapshotView::validate(bytes);
  ASSERT_TRUE(view) << view.error();
  ASSERT_EQ(view->rules().size(), 3U);
  EXPECT_EQ(view->rules()[0].port_first, 80);
  EXPECT_EQ(view->rules()[0].port_last, 99);
  EXPECT_EQ(view->rules()[2].port_last, 65535);
}

// Only such a service has flows on slots that are not settled.
TEST(Snapshot, OnlyWhatTracksAdaptivelySharesFlows) {
  SnapshotSpec spec = two_services();
  spec.services[0].shares_flows = true;
  for (const auto tracking : {LINIMO_TRACKING_OFF, LINIMO_TRACKING_FULL, LINIMO_TRACKING_ADAPTIVE}) {
    spec.services[0].tracking = tracking;
    const auto bytes = build_snapshot(spec);
    const auto view = SnapshotView::validate(bytes);
    ASSERT_TRUE(view) << view.error();
    EXPECT_EQ(view->services()[0].shares_flows != 0, tracking == LINIMO_TRACKING_ADAPTIVE);
  }
}

// ::/0 says nothing about IPv4.
TEST(Snapshot, FamiliesDoNotCover) {
  SnapshotSpec spec = two_services();
  spec.services[0].vips = {prefix("::/0"), prefix("203.0.113.10")};
  spec.services[0].ports = {{80, 80}};
  spec.services[1].protocol = 6;
  spec.services[1].vips = {prefix("::/0")};
  const auto bytes = build_snapshot(spec);
  const auto view = SnapshotView::validate(bytes);
  ASSERT_TRUE(view) << view.error();
  EXPECT_EQ(match(*view, "203.0.113.10", 6, 53), "");
  EXPECT_EQ(match(*view, "2001:db8::1", 6, 53), "dns");
}

// A snapshot cut short anywhere is refused.
TEST(Snapshot, CutShortIsRefused) {
  const auto bytes = build_snapshot(two_services());
  for (size_t length = 0; length < bytes.size(); ++length) {
    const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(length));
    EXPECT_FALSE(SnapshotView::validate(cut)) << length;
  }
}

// A snapshot with any one byte changed is refused.
TEST(Snapshot, AnyChangedByteIsRefused) {
  auto bytes = build_snapshot(two_services());
  for (std::byte& byte : bytes) {
    byte ^= std::byte{0x40};
    EXPECT_FALSE(SnapshotView::validate(bytes));
    byte ^= std::byte{0x40};
  }
  EXPECT_TRUE(SnapshotView::validate(bytes));
}

// Random changes under a right checksum, which only a buggy or hostile controller makes: never a crash, and
// what is accepted can be read to its last index.
TEST(Snapshot, HostileContentIsSurvived) {
  const auto good = build_snapshot(two_services());
  std::mt19937 random(1);
  uint32_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    auto bytes = good;
    for (int change = 0; change < 3; ++change) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    seal(bytes);
    const auto view = SnapshotView::validate(bytes);
    if (!view) continue;
    ++accepted;
    for (const linimo_pool& pool : view->pools()) {
      for (const linimo_slot slot : view->slots(pool)) {
        ASSERT_TRUE(slot == LINIMO_NO_BACKEND || slot < view->backends(pool).size());
      }
    }
    for (const linimo_service& each : view->services()) ASSERT_LT(each.pool, view->pools().size());
  }
  EXPECT_GT(accepted, 0U);  // some changes only make another sound snapshot
}

// Building into a buffer that an earlier call left gives the bytes that a fresh one would have.
TEST(Snapshot, BuildsIntoOldMemory) {
  SnapshotSpec spec = two_services();
  spec.pools.push_back(pool(
      "other",
      {{address("10.0.2.1"), 7, 1, LINIMO_BACKEND_UP}, {address("10.0.2.2"), 8, 1, LINIMO_BACKEND_UP}}, 257));
  std::vector<std::byte> bytes;
  build_snapshot(spec, bytes);
  for (const uint32_t weight : {1U, 5U, 0U, 1U}) {
    ++spec.generation;
    spec.pools[1].backends[0].weight = weight;
    spec.pools[1].table = make_pool_table(spec.pools[1].backends, 257);
    build_snapshot(spec, bytes);
    EXPECT_EQ(bytes, build_snapshot(spec)) << weight;
    ASSERT_TRUE(SnapshotView::validate(bytes));
  }
  std::swap(spec.pools[0], spec.pools[1]);  // the tables lie elsewhere now
  build_snapshot(spec, bytes);
  EXPECT_EQ(bytes, build_snapshot(spec));
}

// As of a configuration that has only begun.
TEST(Snapshot, MayHoldNothing) {
  SnapshotSpec spec;
  std::vector<std::byte> bytes;
  for (const uint64_t generation : {1, 2}) {
    spec.generation = generation;
    build_snapshot(spec, bytes);
    const auto view = SnapshotView::validate(bytes);
    ASSERT_TRUE(view) << view.error();
    EXPECT_EQ(view->header().generation, generation);
    EXPECT_TRUE(view->pools().empty());
  }
}

// A copy is checked as the original would be, and equals it when it is sound.
TEST(Snapshot, CopiesAndValidatesInOne) {
  const auto good = build_snapshot(two_services());
  std::vector<std::byte> destination(good.size());
  ASSERT_TRUE(SnapshotView::copy(good, destination.data()));
  EXPECT_EQ(destination.size(), good.size());
  const auto slots =
      reinterpret_cast<const linimo_header*>(good.data())->sections[LINIMO_SECTION_SLOTS].offset;
  for (size_t at = 0; at < good.size(); ++at) {
    auto bad = good;
    bad[at] ^= std::byte{1};
    EXPECT_FALSE(SnapshotView::copy(bad, destination.data()))
        << at << (at < slots ? " before" : " in") << " the slots";
  }
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(SnapshotView::copy(std::span(good).first(length), destination.data())) << length;
  }
}

}  // namespace
}  // namespace linimo
