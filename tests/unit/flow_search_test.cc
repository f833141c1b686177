// Which flows the connection tables have: by service, backend and client, in parts of bounded size that lose
// none, whatever is asked.

#include "dataplane/flow/flow_search.h"

#include <set>

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "tests/unit/flow_table_fixture.h"
#include "tests/unit/snapshot_fixture.h"

namespace linimo {
namespace {

using protocol::FindFlows;
using protocol::FoundFlow;
using protocol::FoundFlows;

constexpr uint32_t kNow = 1000;
constexpr ConnectionTable::Service kWeb{.id = 0, .idle_timeout_s = 900};
constexpr ConnectionTable::Service kDns{.id = 5, .idle_timeout_s = 900};

class FlowSearchTest : public testing::Test {
 protected:
  FlowSearchTest() {
    change([](SnapshotSpec&) {});
  }

  void change(const std::function<void(SnapshotSpec&)>& how) {
    SnapshotSpec spec = two_services();
    how(spec);
    bytes_ = build_snapshot(spec);
  }
  SnapshotView view() const { return SnapshotView::of_valid(bytes_); }

  /// As a packet of the flow is hashed.
  uint64_t hash(const char* client, uint16_t port, const char* vip, uint16_t vip_port, uint8_t protocol = 6) {
    const Address from = address(client), to = address(vip);
    if (from.is_v4())
      return flow_hash(
          linimo_key4{
              from.v4_network_order(), to.v4_network_order(), htons(port), htons(vip_port), protocol, {}},
          42);
    linimo_key6 key{{}, {}, htons(port), htons(vip_port), protocol, {}};
    std::copy_n(from.bytes.begin(), 16, key.source);
    std::copy_n(to.bytes.begin(), 16, key.destination);
    return flow_hash(key, 42);
  }

  FlowTables tables() const { return {LINIMO_SECONDS, kNow, {workers_[0].view(0), workers_[1].view(1)}}; }
  tl::expected<FoundFlows, std::string> part(const FindFlows& question) {
    return find_flows(view(), tables(), question, places_);
  }
  /// All parts; what is expected of each holds.
  std::vector<FoundFlow> all(FindFlows question) {
    std::vector<FoundFlow> flows;
    parts_ = matched_ = rivals_ = 0;
    do {
      const auto found = part(question);
      EXPECT_TRUE(found) << found.error();
      if (!found) return flows;
      ++parts_;
      matched_ += found->matched;
      rivals_ += found->rivals;
      flows.insert(flows.end(), found->flows, found->flows + found->count);
      question.cursor = found->cursor;
    } while (question.cursor != 0);
    return flows;
  }
  static FindFlows of_client(const char* prefix) {
    FindFlows question;
    const auto client = Prefix::parse(prefix).value();
    question.by_client = 1;
    question.client = client.address.to_abi();
    question.client_bits = client.length;
    return question;
  }
  void fill(size_t flows, const ConnectionTable::Service& service, uint32_t backend) {
    for (size_t flow = 0; flow < flows; ++flow)
      ASSERT_TRUE(workers_[flow % 2].table.insert(FlowTableFixture::hash(++filled_), service, backend, kNow));
  }

  std::vector<std::byte> bytes_;
  FlowTableFixture workers_[2] = {FlowTableFixture(40'000), FlowTableFixture(40'000)};
  std::vector<FlowPlace> places_;
  uint64_t filled_ = 0, parts_ = 0, matched_ = 0, rivals_ = 0;
};

TEST_F(FlowSearchTest, NarrowsByServiceAndBackend) {
  fill(10, kWeb, 1);
  fill(5, kWeb, 2);
  fill(7, kDns, 2);
  EXPECT_EQ(all({}).size(), 22U);
  EXPECT_EQ(all({.service = 5}).size(), 7U);
  EXPECT_EQ(all({.backend = 2}).size(), 12U);
  EXPECT_EQ(all({.service = 0, .backend = 2}).size(), 5U);
  EXPECT_EQ(all({.service = 4}).size(), 0U);
  EXPECT_EQ(all({.service = 1U << 20}).size(), 0U);
}

TEST_F(FlowSearchTest, SaysWhatAnEntrySays) {
  auto& table = workers_[1].table;
  const uint64_t flow = hash("192.0.2.7", 4242, "203.0.113.10", 443);
  table.insert(flow, kWeb, 3, kNow - 30);
  table.touch(table.find(flow, kWeb, kNow - 20), true, false, kNow - 20);
  const auto found = all({});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(linimo_flow_backend(found[0].word), 3U);
  EXPECT_EQ(linimo_flow_state(found[0].word), LINIMO_FLOW_CLOSING);
  EXPECT_EQ(found[0].row, 1U);
  EXPECT_EQ(found[0].idle_s, 20U);
  EXPECT_EQ(found[0].left_s, LINIMO_FLOW_CLOSING_S - 20);
  EXPECT_TRUE(Address::from_abi(found[0].client).is_zero()) << "the table does not know";
}

// Engine xdp's clock ticks otherwise; whoever asks counts seconds.
TEST_F(FlowSearchTest, TellsTimesInSecondsWhateverTheClock) {
  workers_[0].table.insert(FlowTableFixture::hash(1), kWeb, 3, kNow - linimo_units_for(LINIMO_TICKS, 20));
  const FlowTables ticking{LINIMO_TICKS, kNow, {workers_[0].view(0)}};
  const auto found = find_flows(view(), ticking, {}, places_);
  ASSERT_TRUE(found) << found.error();
  ASSERT_EQ(found->count, 1U);
  EXPECT_NEAR(found->flows[0].idle_s, 20, 1);
  EXPECT_NEAR(found->flows[0].left_s, view().services()[0].idle_timeout_s - 20, 2);
}

TEST_F(FlowSearchTest, LeavesOutWhatIsOver) {
  auto& table = workers_[0].table;
  table.insert(FlowTableFixture::hash(1), kWeb, 1, kNow - 901);
  table.insert(FlowTableFixture::hash(2), kWeb, 1, kNow - 900);
  table.insert(FlowTableFixture::hash(3), {.id = 9, .idle_timeout_s = 900}, 1, kNow);  // of no service
  table.insert(FlowTableFixture::hash(4), kWeb, 1, kNow + 1);  // its owner's clock is ahead
  const auto found = all({});
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].idle_s + found[1].idle_s, 900U);
}

TEST_F(FlowSearchTest, PartsLoseNothing) {
  fill(3000, kWeb, 1);
  EXPECT_EQ(all({}).size(), 3000U);
  EXPECT_GT(parts_, 3000U / protocol::kMostFoundFlows);
  const auto few = part({.most = 5});
  ASSERT_TRUE(few);
  EXPECT_EQ(few->count, 5U);
  EXPECT_EQ(few->matched, 5U);
  EXPECT_NE(few->cursor, 0U);
  EXPECT_EQ(all({.most = 0}).size(), 0U);
  EXPECT_EQ(matched_, 3000U) << "only counted";
  EXPECT_LE(parts_, 2U);
}

// However few match: the thread that answers has other things to do.
TEST_F(FlowSearchTest, APartLooksAtAMegabyteOfEntriesAtMost) {
  FlowTableFixture large(400'000);
  ASSERT_TRUE(large.table.insert(FlowTableFixture::hash(1), kWeb, 1, kNow));
  const FlowTables tables{LINIMO_SECONDS, kNow, {large.view(0)}};
  FindFlows question;
  uint64_t found = 0, parts = 0, last = 0;
  do {
    const auto part = find_flows(view(), tables, question, places_);
    ASSERT_TRUE(part) << part.error();
    found += part->count;
    ++parts;
    EXPECT_TRUE(part->cursor == 0 || part->cursor - last == (1U << 20) / sizeof(uint64_t));
    last = question.cursor = part->cursor;
  } while (question.cursor != 0);
  EXPECT_EQ(found, 1U);
  EXPECT_EQ(parts, (large.view().size() * sizeof(uint64_t) + (1U << 20) - 1) >> 20);
}

TEST_F(FlowSearchTest, FindsTheFlowsOfAClient) {
  fill(1000, kWeb, 1);
  workers_[0].table.insert(hash("192.0.2.7", 4242, "203.0.113.10", 443), kWeb, 2, kNow);
  workers_[1].table.insert(hash("192.0.2.7", 1, "203.0.113.10", 80), kWeb, 3, kNow);
  workers_[1].table.insert(hash("192.0.2.7", 65535, "203.0.113.11", 53, 17), kDns, 2, kNow);
  workers_[1].table.insert(hash("192.0.2.8", 7, "203.0.113.10", 80), kWeb, 2, kNow);
  workers_[0].table.insert(hash("2001:db8::7", 99, "2001:db8:f::10", 80), kWeb, 2, kNow);
  const auto names = [](const std::vector<FoundFlow>& flows) {
    std::set<std::string> names;
    for (const FoundFlow& flow : flows)
      names.insert(Address::from_abi(flow.client).to_string() + " " + std::to_string(flow.client_port) + " " +
                   Address::from_abi(flow.vip).to_string() + " " + std::to_string(flow.vip_port));
    return names;
  };
  using Set = std::set<std::string>;
  EXPECT_EQ(names(all(of_client("192.0.2.7"))),
            (Set{"192.0.2.7 4242 203.0.113.10 443", "192.0.2.7 1 203.0.113.10 80",
                 "192.0.2.7 65535 203.0.113.11 53"}));
  EXPECT_LT(rivals_, uint64_t{3} * 65535 * 2) << "of a table that is nearly empty";
  EXPECT_EQ(names(all(of_client("192.0.2.8/31"))), Set{"192.0.2.8 7 203.0.113.10 80"});
  EXPECT_EQ(names(all(of_client("2001:db8::7"))), Set{"2001:db8::7 99 2001:db8:f::10 80"});
  FindFlows narrow = of_client("192.0.2.7");
  narrow.service = 0;
  EXPECT_EQ(all(narrow).size(), 2U);
  narrow.backend = 3;
  EXPECT_EQ(all(narrow).size(), 1U);
}

TEST_F(FlowSearchTest, PartsOfAClientLoseNothingEither) {
  for (uint16_t port = 1; port <= 100; ++port) {
    workers_[port % 2].table.insert(hash("192.0.2.7", port, "203.0.113.10", 80), kWeb, port % 2 + 1, kNow);
  }
  FindFlows question = of_client("192.0.2.7");
  question.service = 0;
  question.most = 7;
  EXPECT_EQ(all(question).size(), 100U);
  question.backend = 1;
  question.clears = 1;
  EXPECT_EQ(all(question).size(), 0U);
  EXPECT_EQ(matched_, 50U);
}

// Nothing is known of a service that tracks nothing, whatever the tables hold.
TEST_F(FlowSearchTest, FindsNoneOfWhatTracksNothing) {
  workers_[0].table.insert(hash("192.0.2.7", 4242, "203.0.113.10", 443), kWeb, 2, kNow);
  change([](SnapshotSpec& spec) { spec.services[0].tracking = LINIMO_TRACKING_OFF; });
  EXPECT_EQ(all({}).size(), 0U);
  EXPECT_EQ(all(of_client("192.0.2.7")).size(), 0U);
  EXPECT_EQ(rivals_, 0U) << "it was not even looked for";
}

TEST_F(FlowSearchTest, FindsOneFlow) {
  workers_[1].table.insert(hash("192.0.2.7", 4242, "203.0.113.10", 443), kWeb, 2, kNow);
  FindFlows question = of_client("192.0.2.7");
  question.by_flow = 1;
  question.protocol = 6;
  question.client_port = 4242;
  question.vip = address("203.0.113.10").to_abi();
  question.vip_port = 443;
  EXPECT_EQ(all(question).size(), 1U);
  EXPECT_EQ(parts_, 1U);
  question.client_port = 4243;
  EXPECT_EQ(all(question).size(), 0U);
  question.vip_port = 444;
  EXPECT_FALSE(part(question)) << "no service has it";
  question.vip_port = 79;
  EXPECT_FALSE(part(question));
  question.vip_port = 443;
  question.protocol = 17;
  EXPECT_FALSE(part(question));
  question.protocol = 6;
  question.vip = address("203.0.113.12").to_abi();
  EXPECT_FALSE(part(question)) << "nor that VIP";
}

// Such a service hashes the source address alone, so that its entries are of clients.
TEST_F(FlowSearchTest, KnowsWhatASourceHashTellsApart) {
  change([](SnapshotSpec& spec) {
    spec.services[0].scheduler = LINIMO_SCHEDULER_SOURCE_HASH;
    spec.services[1].scheduler = LINIMO_SCHEDULER_SOURCE_HASH;
    spec.services[1].allow_sources = {};
  });
  const linimo_key4 key{address("192.0.2.7").v4_network_order(), 0, 0, 0, 0, {}};
  workers_[0].table.insert(flow_hash(key, 42), kWeb, 2, kNow);
  FindFlows question = of_client("192.0.2.0/24");
  question.service = 0;
  const auto found = all(question);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(Address::from_abi(found[0].client), address("192.0.2.7"));
  EXPECT_TRUE(Address::from_abi(found[0].vip).is_zero());
  EXPECT_EQ(all(of_client("192.0.2.0/24")).size(), 1U) << "the other one's is not the same";
}

TEST_F(FlowSearchTest, TriesNoMoreThanItCan) {
  const auto why = [&](const FindFlows& question) {
    const auto found = part(question);
    return found ? std::string() : found.error();
  };
  EXPECT_NE(why(of_client("192.0.0.0/16")).find("too many clients"), std::string::npos);
  EXPECT_NE(why(of_client("::/0")).find("too many"), std::string::npos);
  EXPECT_NE(why(of_client("0.0.0.0/0")).find("too many"), std::string::npos);
  EXPECT_EQ(why(of_client("192.0.2.0/28")), "");
  change([](SnapshotSpec& spec) { spec.services[0].ports = {{0, 65535}}; });
  EXPECT_NE(why(of_client("192.0.2.7")).find("service web has too many VIPs and ports"), std::string::npos);
  FindFlows dns = of_client("192.0.2.7");
  dns.service = 5;
  EXPECT_EQ(why(dns), "");
  change([](SnapshotSpec& spec) { spec.services[0].vips = {prefix("2001:db8:f::/64")}; });
  EXPECT_NE(why(of_client("2001:db8::7")).find("service web has too many VIPs"), std::string::npos);
  EXPECT_EQ(why(of_client("192.0.2.7")), "") << "it has none of that family";
}

// A prefix of VIPs is tried address by address, but for those that a longer one takes out of it.
TEST_F(FlowSearchTest, KnowsPrefixesOfVips) {
  change([](SnapshotSpec& spec) { spec.services[0].vips = {prefix("203.0.113.8/30")}; });
  workers_[0].table.insert(hash("192.0.2.7", 4242, "203.0.113.9", 80), kWeb, 2, kNow);
  workers_[0].table.insert(hash("192.0.2.7", 4242, "203.0.113.11", 80), kWeb, 2, kNow);
  FindFlows question = of_client("192.0.2.7");
  question.service = 0;
  EXPECT_EQ(all(question).size(), 2U);
}

TEST_F(FlowSearchTest, ClearsInParts) {
  fill(1500, kWeb, 1);
  fill(10, kWeb, 2);
  FindFlows question{.backend = 1, .clears = 1};
  size_t named = 0;
  do {
    const auto found = part(question);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->count, 0U);
    EXPECT_LE(places_.size(), kMostClearedFlows);
    for (const FlowPlace& place : places_) {
      EXPECT_EQ(linimo_flow_backend(place.word), 1U);
      EXPECT_EQ(workers_[place.row].view().at(place.index), place.word);
    }
    named += places_.size();
    question.cursor = found->cursor;
  } while (question.cursor != 0);
  EXPECT_EQ(named, 1500U);
}

TEST_F(FlowSearchTest, HostileQuestionsGetAnAnswer) {
  fill(300, kWeb, 1);
  for (const uint64_t cursor :
       {~uint64_t{0}, uint64_t{1} << 40, (uint64_t{1} << 40) - 1, uint64_t{1} << 63}) {
    FindFlows question{.cursor = cursor, .most = ~uint32_t{0}};
    EXPECT_TRUE(part(question));
    question = of_client("192.0.2.7");
    question.cursor = cursor;
    EXPECT_TRUE(part(question));
  }
  FindFlows question = of_client("192.0.2.7");
  for (const uint32_t bits : {0U, 1U, 95U, 129U, ~0U}) {
    question.client_bits = bits;
    EXPECT_FALSE(part(question));
  }
}

}  // namespace
}  // namespace linimo
