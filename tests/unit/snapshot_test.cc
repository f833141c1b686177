// The snapshot: what is built validates and says what was meant; what was tampered with is refused.

#include "maglev/snapshot.h"

#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "maglev/hash.h"

namespace linimo {
namespace {

using testing::HasSubstr;

Prefix prefix(const char* text) {
  return Prefix::parse(text).value();
}
Address address(const char* text) {
  return Address::parse(text).value();
}

PoolSpec pool(const std::string& name, std::vector<BackendSpec> backends, uint32_t table_size = 251) {
  auto table = make_pool_table(backends, table_size);
  return {.name = name,
          .encapsulation = LINIMO_ENCAP_IPIP,
          .backends = std::move(backends),
          .table = std::move(table)};
}

ServiceSpec service(const std::string& name, uint32_t id, std::vector<Prefix> vips,
                    std::vector<PortRange> ports) {
  ServiceSpec spec;
  spec.name = name;
  spec.id = id;
  spec.vips = std::move(vips);
  spec.ports = std::move(ports);
  return spec;
}

SnapshotSpec two_services() {
  SnapshotSpec spec;
  spec.generation = 7;
  spec.hash_seed = 42;
  spec.encap_source4 = address("10.0.0.11");
  spec.encap_source6 = address("2001:db8::11");
  spec.pools.push_back(pool("web", {{address("10.0.1.2"), 2, 1, LINIMO_BACKEND_UP},
                                    {address("10.0.1.1"), 1, 1, LINIMO_BACKEND_DOWN},
                                    {address("2001:db8:1::3"), 3, 2, LINIMO_BACKEND_UP}}));
  spec.pools[0].unsettled = {{9, address("10.0.1.2"), 300}, {77, address("2001:db8:1::3"), 1}};
  spec.services.push_back(
      service("web", 0, {prefix("203.0.113.10"), prefix("2001:db8:f::10")}, {{80, 80}, {443, 443}}));
  spec.services.push_back(service("dns", 5, {prefix("203.0.113.11")}, {{53, 53}}));
  spec.services[1].protocol = 17;
  spec.services[1].scheduler = LINIMO_SCHEDULER_LEAST_CONNECTIONS;
  spec.services[1].allow_sources = {prefix("192.0.2.0/24")};
  return spec;
}

/// Puts the checksums right: each pool's of its slots, the header's of all before the slots; as far as there
/// are such.
void seal(std::vector<std::byte>& bytes) {
  auto& header = *reinterpret_cast<linimo_header*>(bytes.data());
  const linimo_extent slots = header.sections[LINIMO_SECTION_SLOTS];
  const linimo_extent pools = header.sections[LINIMO_SECTION_POOLS];
  const uint64_t end = std::min<uint64_t>(slots.offset, bytes.size());
  for (uint64_t i = 0;
       i < pools.count && pools.offset <= end && (i + 1) * sizeof(linimo_pool) <= end - pools.offset; ++i) {
    if (pools.offset % 8 != 0) break;
    auto& pool = reinterpret_cast<linimo_pool*>(bytes.data() + pools.offset)[i];
    const uint64_t most = (bytes.size() - end) / sizeof(linimo_slot);
    if (pool.slot_first > most || pool.table_size > most - pool.slot_first) continue;
    pool.slots_checksum = XXH3_64bits(bytes.data() + end + pool.slot_first * sizeof(linimo_slot),
                                      pool.table_size * sizeof(linimo_slot));
  }
  header.checksum = 0;
  header.checksum = XXH3_64bits(bytes.data(), end);
}

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
  EXPECT_EQ(snapshot_digest(spec.pools), snapshot_digest(other.pools));
  EXPECT_EQ(spec.pools[0].table->slots, other.pools[0].table->slots);
  other.pools[0].backends[0].weight = 50;
  other.pools[0].table = make_pool_table(other.pools[0].backends, 251);
  EXPECT_NE(snapshot_digest(spec.pools), snapshot_digest(other.pools));
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

struct Tampering {
  const char* name;
  void (*change)(std::vector<std::byte>& bytes, linimo_header& header);
  const char* reason;
};

template <typename Record>
Record& record(std::vector<std::byte>& bytes, linimo_section section, size_t index) {
  const auto& header = *reinterpret_cast<linimo_header*>(bytes.data());
  return reinterpret_cast<Record*>(bytes.data() + header.sections[section].offset)[index];
}

class SnapshotTampering : public testing::TestWithParam<Tampering> {};

// Each rule of validation, by itself, with a right checksum.
TEST_P(SnapshotTampering, IsRefusedWithItsReason) {
  auto bytes = build_snapshot(two_services());
  GetParam().change(bytes, *reinterpret_cast<linimo_header*>(bytes.data()));
  seal(bytes);
  const auto view = SnapshotView::validate(bytes);
  ASSERT_FALSE(view);
  EXPECT_THAT(view.error(), HasSubstr(GetParam().reason));
}

const Tampering kTamperings[] = {
    {"Magic", [](auto&, auto& header) { ++header.magic; }, "magic"},
    {"AbiVersion", [](auto&, auto& header) { ++header.abi_version; }, "ABI version"},
    {"Hash", [](auto&, auto& header) { ++header.hash_algorithm; }, "unknown hash"},
    {"Table", [](auto&, auto& header) { ++header.table_algorithm; }, "unknown table"},
    {"Generation", [](auto&, auto& header) { header.generation = 0; }, "generation 0"},
    {"Size", [](auto&, auto& header) { ++header.size; }, "says"},
    {"SlotsOffset", [](auto&, auto& header) { header.sections[LINIMO_SECTION_SLOTS].offset -= 8; },
     "do not reach to the end"},
    {"SlotsOfNoPool",
     [](auto& bytes, auto&) { record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).table_size = 250; },
     "belong to no pool"},
    {"SectionOffset", [](auto&, auto& header) { header.sections[0].offset = (header.size | 7) + 1; },
     "past the end"},
    {"SectionOverflow", [](auto&, auto& header) { header.sections[LINIMO_SECTION_SLOTS].count = 0xffffffff; },
     "past the end"},
    {"SectionMisaligned", [](auto&, auto& header) { header.sections[1].offset += 4; }, "offset"},
    {"RecordSize", [](auto&, auto& header) { header.sections[2].record_size = 1; }, "records of 1"},
    {"Slot", [](auto& bytes, auto&) { record<linimo_slot>(bytes, LINIMO_SECTION_SLOTS, 9) = 3; },
     "slot of backend 3"},
    {"ServicePool",
     [](auto& bytes, auto&) { record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 0).pool = 1; },
     "pool 1"},
    {"ServiceId",
     [](auto& bytes, auto&) { record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1).id = 0; },
     "service id"},
    {"ServiceIdRange",
     [](auto& bytes, auto&) {
       record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1).id = LINIMO_MAX_SERVICES;
     },
     "service id"},
    {"ServiceName",
     [](auto& bytes, auto&) {
       std::memset(record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1).name, 'x', 64);
     },
     "name"},
    {"Timeout",
     [](auto& bytes, auto&) { record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1).idle_timeout_s = 0; },
     "idle timeout"},
    {"Tracking",
     [](auto& bytes, auto&) { record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1).tracking = 200; },
     "tracking"},
    {"Scheduler",
     [](auto& bytes, auto&) {
       record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1).scheduler = LINIMO_SCHEDULER_COUNT;
     },
     "scheduler 5"},
    {"SchedulerThatForgets",
     [](auto& bytes, auto&) {
       auto& service = record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1);
       service.scheduler = LINIMO_SCHEDULER_ROUND_ROBIN;
       service.tracking = LINIMO_TRACKING_ADAPTIVE;
     },
     "scheduler 2 with tracking mode 2"},
    {"Sources",
     [](auto& bytes, auto&) { record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1).source_count = 2; },
     "sources"},
    {"SourceLength",
     [](auto& bytes, auto&) { record<linimo_source>(bytes, LINIMO_SECTION_SOURCES, 0).prefix_length = 129; },
     "length"},
    {"VipRules",
     [](auto& bytes, auto&) { record<linimo_vip>(bytes, LINIMO_SECTION_VIPS, 0).rule_count = 100; },
     "rules out of bounds"},
    {"VipOverlap",
     [](auto& bytes, auto&) { record<linimo_vip>(bytes, LINIMO_SECTION_VIPS, 1).rule_first = 0; },
     "rules out of bounds"},
    {"VipLength",
     [](auto& bytes, auto&) { record<linimo_vip>(bytes, LINIMO_SECTION_VIPS, 0).prefix_length = 300; },
     "prefix length"},
    {"VipOrder",
     [](auto& bytes, auto&) {
       std::swap(record<linimo_vip>(bytes, LINIMO_SECTION_VIPS, 0).address,
                 record<linimo_vip>(bytes, LINIMO_SECTION_VIPS, 2).address);
     },
     "order"},
    {"RuleService",
     [](auto& bytes, auto&) { record<linimo_rule>(bytes, LINIMO_SECTION_RULES, 0).service = 9; },
     "service 9"},
    {"RulePorts",
     [](auto& bytes, auto&) { record<linimo_rule>(bytes, LINIMO_SECTION_RULES, 0).port_first = 9999; },
     "ports"},
    {"RuleProtocol",
     [](auto& bytes, auto&) { record<linimo_rule>(bytes, LINIMO_SECTION_RULES, 0).protocol = 17; },
     "protocol"},
    {"PoolSlots",
     [](auto& bytes, auto&) { record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).table_size = 252; },
     "slots out of bounds"},
    {"PoolBackends",
     [](auto& bytes, auto&) { record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).backend_count = 4; },
     "backends out of bounds"},
    {"BackendsOfNoPool",
     [](auto& bytes, auto& header) {
       record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).backend_count = 1;
       record<linimo_unsettled>(bytes, LINIMO_SECTION_UNSETTLED, 1).base = 0;
       for (uint32_t slot = 0; slot < header.sections[LINIMO_SECTION_SLOTS].count; ++slot)
         record<linimo_slot>(bytes, LINIMO_SECTION_SLOTS, slot) = 0;
     },
     "no pool"},
    {"Encapsulation",
     [](auto& bytes, auto&) { record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).encapsulation = 77; },
     "encapsulation"},
    {"GuePortOfNoGue",
     [](auto& bytes, auto&) { record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).gue_port = 6080; },
     "GUE port"},
    {"GueWithoutPort",
     [](auto& bytes, auto&) {
       record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).encapsulation = LINIMO_ENCAP_GUE;
     },
     "GUE port"},
    {"ServerIdLength",
     [](auto& bytes, auto&) { record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).server_id_length = 9; },
     "server ids"},
    {"ServerIdTwice",
     [](auto& bytes, auto&) { record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).server_id_length = 4; },
     "twice"},
    {"ServerIdTooLong",
     [](auto& bytes, auto&) { record<linimo_backend>(bytes, LINIMO_SECTION_BACKENDS, 0).server_id = 1; },
     "server id 0x1"},
    {"QuicOverTcp",
     [](auto& bytes, auto&) { record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 0).quic = 1; }, "quic"},
    {"ServerIdOffset",
     [](auto& bytes, auto&) {
       record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1).server_id_offset = 21;
     },
     "server id at 21"},
    {"EncapPrefix4", [](auto&, auto& header) { header.encap_prefix4 = 95; }, "prefix lengths"},
    {"EncapPrefix6", [](auto&, auto& header) { header.encap_prefix6 = 129; }, "prefix lengths"},
    {"BackendIdTwice",
     [](auto& bytes, auto&) { record<linimo_backend>(bytes, LINIMO_SECTION_BACKENDS, 0).id = 3; },
     "backend id"},
    {"BackendIdRange",
     [](auto& bytes, auto&) {
       record<linimo_backend>(bytes, LINIMO_SECTION_BACKENDS, 0).id = LINIMO_MAX_BACKEND_IDS;
     },
     "backend id"},
    {"BackendState",
     [](auto& bytes, auto&) { record<linimo_backend>(bytes, LINIMO_SECTION_BACKENDS, 0).state = 17; },
     "state"},
    {"UnsettledOutOfBounds",
     [](auto& bytes, auto&) { record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).unsettled_count = 3; },
     "unsettled slots out of bounds"},
    {"UnsettledNotFromTheStart",
     [](auto& bytes, auto&) { record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).unsettled_first = 1; },
     "unsettled slots out of bounds"},
    {"UnsettledOfNoPool",
     [](auto& bytes, auto&) { record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).unsettled_count = 1; },
     "unsettled slots that belong to no pool"},
    {"UnsettledSlot",
     [](auto& bytes, auto&) { record<linimo_unsettled>(bytes, LINIMO_SECTION_UNSETTLED, 1).slot = 251; },
     "unsettled slot 251"},
    {"UnsettledSlotTwice",
     [](auto& bytes, auto&) { record<linimo_unsettled>(bytes, LINIMO_SECTION_UNSETTLED, 1).slot = 9; },
     "unsettled slot 9"},
    {"UnsettledBase",
     [](auto& bytes, auto&) { record<linimo_unsettled>(bytes, LINIMO_SECTION_UNSETTLED, 0).base = 3; },
     "base 3"},
    {"UnsettledForNoTime",
     [](auto& bytes, auto&) { record<linimo_unsettled>(bytes, LINIMO_SECTION_UNSETTLED, 0).learning_s = 0; },
     "learning for 0 s"},
    {"UnsettledForTooLong",
     [](auto& bytes, auto&) {
       record<linimo_unsettled>(bytes, LINIMO_SECTION_UNSETTLED, 0).learning_s =
           LINIMO_MAX_IDLE_TIMEOUT_S + 1;
     },
     "learning for 3601 s"},
    {"NoSource", [](auto&, auto& header) { header.encap_source6 = {}; }, "source"},
};

INSTANTIATE_TEST_SUITE_P(Rules, SnapshotTampering, testing::ValuesIn(kTamperings),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace linimo
