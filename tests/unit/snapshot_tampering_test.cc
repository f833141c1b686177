// A snapshot that was tampered with is refused, by each rule of validation for itself.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "maglev/snapshot.h"
#include "tests/unit/snapshot_fixture.h"

namespace linimo {
namespace {

using testing::HasSubstr;

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
    {"NodePool", [](auto&, auto& header) { header.node_pool = 2; }, "nodes in pool 1 of 1"},
    {"NodePoolTunnel", [](auto&, auto& header) { header.node_pool = 1; }, "nodes behind encapsulation"},
    {"HandlersMove", [](auto&, auto& header) { header.handlers_move = 2; }, "handlers that move"},
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
    {"NoBackend",
     [](auto& bytes, auto&) { record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1).no_backend = 9; },
     "no_backend mode 9"},
    {"PoolName",
     [](auto& bytes, auto&) {
       std::memset(record<linimo_pool>(bytes, LINIMO_SECTION_POOLS, 0).name, 'x', LINIMO_NAME_SIZE);
     },
     "pool name"},
    {"Sharing",
     [](auto& bytes, auto&) { record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 0).shares_flows = 2; },
     "sharing 2"},
    {"SharingOfWhatIsNotAdaptive",
     [](auto& bytes, auto&) { record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1).shares_flows = 1; },
     "sharing 1 with tracking mode 1"},
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

// Two that only a snapshot of another shape can break.
TEST(SnapshotRules, ServicesHaveIdsAndProtocolsOfTheirOwn) {
  SnapshotSpec spec = two_services();
  spec.services[1].vips = {};  // no rule tells of its protocol
  auto bytes = build_snapshot(spec);
  ASSERT_TRUE(SnapshotView::validate(bytes)) << SnapshotView::validate(bytes).error();
  record<linimo_service>(bytes, LINIMO_SECTION_SERVICES, 1).protocol = 1;
  seal(bytes);
  EXPECT_THAT(SnapshotView::validate(bytes).error(), HasSubstr("service of protocol 1"));

  spec.services[1].id = 1;
  while (spec.services.size() < LINIMO_MAX_SERVICES)
    spec.services.push_back(service("more", static_cast<uint32_t>(spec.services.size()), {}, {}));
  EXPECT_TRUE(SnapshotView::validate(build_snapshot(spec)));
  spec.services.push_back(service("one too many", 0, {}, {}));
  EXPECT_THAT(SnapshotView::validate(build_snapshot(spec)).error(), HasSubstr("4097 services"));
}

TEST(SnapshotRules, NoServiceChoosesAmongTheFleetsNodes) {
  SnapshotSpec spec = two_services();
  spec.pools.push_back(pool("nodes", {{address("10.0.0.12"), 9, 1, LINIMO_BACKEND_UP}}));
  spec.pools[1].encapsulation = LINIMO_ENCAP_GRE;
  spec.has_node_pool = true;
  EXPECT_TRUE(SnapshotView::validate(build_snapshot(spec)));
  spec.services[1].pool = 1;
  EXPECT_THAT(SnapshotView::validate(build_snapshot(spec)).error(),
              HasSubstr("service dns of the nodes' pool"));
}

}  // namespace
}  // namespace linimo
