// From configuration and health to tables: who takes slots, in which state the others are, which tables are
// shared with the generation before, and that a snapshot of the plan reads back as what was planned.

#include "controlplane/tables/planner.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "controlplane/tables/live_tables.h"

namespace linimo {
namespace {

PoolConfig pool_of(std::string name, const std::vector<std::pair<const char*, uint32_t>>& backends) {
  PoolConfig pool;
  pool.name = std::move(name);
  pool.table_size = 251;
  for (const auto& [address, weight] : backends) pool.backends.push_back({*Address::parse(address), weight});
  return pool;
}

class PlannerTest : public testing::Test {
 protected:
  PlannerTest() {
    config_.node.encap_source4 = *Address::parse("10.0.0.11");
    config_.pools = {pool_of("a", {{"10.0.1.3", 100}, {"10.0.1.1", 100}, {"10.0.1.2", 0}}),
                     pool_of("b", {{"10.0.1.1", 1}})};
    ServiceConfig service;
    service.name = "s";
    service.vips = {*Prefix::parse("203.0.113.1")};
    service.ports = {{80, 80}};
    config_.services = {service};
  }

  SnapshotSpec plan(uint64_t generation = 1) {
    EXPECT_TRUE(ids_.hold(config_, other_nodes(planner_.handlers()), {}, {}));
    planner_.all_changed();
    return planner_.plan(
        config_,
        [this](const BackendKey& key) {
          const auto found = states_.find(key);
          return found != states_.end() ? found->second : Standing(HealthState::kUp);
        },
        ids_, generation);
  }
  static BackendKey key(const char* pool, const char* address) { return {pool, *Address::parse(address)}; }

  Config config_;
  Ids ids_;
  Planner planner_;
  std::map<BackendKey, Standing> states_;
};

// The other nodes of a fleet are one more pool, by whose table this node has a share of all fragments: the
// same at each node, and no part of the digest by which nodes are compared.
TEST_F(PlannerTest, MakesTheTableOfWhoHandlesFragments) {
  const uint64_t digest = snapshot_digest(plan());
  std::vector<Address> nodes;
  for (const char* text : {"10.0.0.11", "10.0.2.11", "2001:db8:3::11"})
    nodes.push_back(*Address::parse(text));
  const Address idle = *Address::parse("10.0.4.11");
  config_.node.encap_source6 = *Address::parse("2001:db8::11");
  std::vector<std::vector<Address>> tables;  // by node, who handles each slot
  for (const Address& self : nodes) {
    std::vector<Address> others = nodes;
    std::erase(others, self);
    planner_.set_handlers(make_handlers({.others = others, .self = self, .idle = {idle}, .move = true}));
    const SnapshotSpec spec = plan(2);
    EXPECT_EQ(snapshot_digest(spec), digest);
    const std::vector<std::byte> bytes = build_snapshot(spec);
    const auto view = SnapshotView::validate(bytes);
    ASSERT_TRUE(view) << view.error();
    EXPECT_EQ(view->header().handlers_move, 1);
    ASSERT_NE(view->node_pool(), nullptr);
    ASSERT_EQ(view->backends(*view->node_pool()).size(), 3U);
    std::vector<Address>& table = tables.emplace_back();
    for (const linimo_slot slot : view->slots(*view->node_pool())) {
      table.push_back(slot == LINIMO_NO_BACKEND
                          ? self
                          : Address::from_abi(view->backends(*view->node_pool())[slot].address));
    }
    EXPECT_NEAR(static_cast<double>(std::ranges::count(table, self)), static_cast<double>(table.size()) / 3,
                20);
    const Handlers again = handlers_in(*view, self);
    EXPECT_TRUE(again.same_nodes(planner_.handlers()));
    EXPECT_EQ(again.table->slots_checksum, planner_.handlers().table->slots_checksum);
  }
  EXPECT_EQ(tables[0], tables[1]);
  EXPECT_EQ(tables[0], tables[2]);

  planner_.set_handlers(make_handlers({.others = {}, .self = nodes[0]}));
  EXPECT_FALSE(plan(3).has_node_pool) << "alone";
  planner_.set_handlers(make_handlers({.others = {}, .self = nodes[0], .idle = {idle}}));
  EXPECT_TRUE(plan(4).has_node_pool) << "one that handles none may pass some on";
  // One that drains handles none itself, and says so by the table.
  planner_.set_handlers(make_handlers({.others = {nodes[1]}, .self = std::nullopt}));
  const std::vector<std::byte> bytes = build_snapshot(plan(5));
  const auto view = SnapshotView::validate(bytes);
  ASSERT_TRUE(view) << view.error();
  EXPECT_EQ(handlers_in(*view, nodes[0]).self, std::nullopt);
}

// Where there are no numbers left for the other nodes.
TEST_F(PlannerTest, LeavesFragmentsWhereTheyAreWithoutNumbersForTheOtherNodes) {
  plan();
  planner_.set_handlers(
      make_handlers({.others = {*Address::parse("10.0.2.11")}, .self = *Address::parse("10.0.0.11")}));
  const auto up = [](const BackendKey&) { return Standing(HealthState::kUp); };
  EXPECT_FALSE(planner_.plan(config_, up, ids_, 2).has_node_pool);
  EXPECT_TRUE(plan(3).has_node_pool) << "once it has one";
}

TEST_F(PlannerTest, SharesFlowsOfAdaptiveServicesInAFleetWithPeers) {
  const auto shares = [&] { return plan().services[0].shares_flows; };
  config_.services[0].tracking = LINIMO_TRACKING_ADAPTIVE;
  EXPECT_FALSE(shares()) << "in no fleet";
  config_.fleet.emplace();
  EXPECT_FALSE(shares()) << "nobody hears it";
  config_.fleet->peers = {{*Address::parse("10.0.0.12"), 7946}};
  EXPECT_TRUE(shares());
  config_.services[0].tracking = LINIMO_TRACKING_FULL;
  EXPECT_FALSE(shares());
}

TEST_F(PlannerTest, GivesSlotsToHealthyBackendsWithWeight) {
  const SnapshotSpec spec = plan();
  EXPECT_NEAR(planner_.share(key("a", "10.0.1.1")), 0.5, 0.01);
  EXPECT_EQ(planner_.share(key("a", "10.0.1.2")), 0);
  EXPECT_EQ(planner_.share(key("b", "10.0.1.1")), 1);
  EXPECT_EQ(planner_.share(key("c", "10.0.1.1")), 0);
  for (const BackendSpec& backend : spec.pools[0].backends) {
    EXPECT_EQ(backend.state, backend.weight == 0 ? LINIMO_BACKEND_DRAINING : LINIMO_BACKEND_UP);
  }
}

TEST_F(PlannerTest, LeavesOutWhatIsUnknownAndKeepsWhatIsDown) {
  states_.insert_or_assign(key("a", "10.0.1.1"), HealthState::kUnknown);
  states_.insert_or_assign(key("a", "10.0.1.3"), HealthState::kDown);
  const SnapshotSpec spec = plan();
  ASSERT_EQ(spec.pools[0].backends.size(), 2u);
  EXPECT_EQ(spec.pools[0].backends[0].address, *Address::parse("10.0.1.2"));  // as they stand in a snapshot
  EXPECT_EQ(spec.pools[0].backends[0].state, LINIMO_BACKEND_DRAINING);
  EXPECT_EQ(spec.pools[0].backends[1].address, *Address::parse("10.0.1.3"));
  EXPECT_EQ(spec.pools[0].backends[1].state, LINIMO_BACKEND_DOWN);
  EXPECT_TRUE(spec.pools[0].table->members.empty());
  EXPECT_NE(spec.pools[1].backends[0].id, ids_.backend(key("a", "10.0.1.1")))
      << "an id is of (pool, address)";
}

TEST_F(PlannerTest, PopulatesOnlyTablesThatChange) {
  const SnapshotSpec first = plan();
  states_.insert_or_assign(key("a", "10.0.1.1"), HealthState::kDown);
  const SnapshotSpec second = plan();
  EXPECT_NE(first.pools[0].table, second.pools[0].table);
  EXPECT_EQ(first.pools[1].table, second.pools[1].table);
  config_.pools[1].table_size = 257;
  EXPECT_NE(plan().pools[1].table, second.pools[1].table);
}

TEST_F(PlannerTest, PassesTheChoiceOfABackendOn) {
  config_.services[0].scheduler = LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN;
  EXPECT_EQ(plan().services[0].scheduler, LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN);
}

TEST_F(PlannerTest, LetsABackendStartSlowlyAndItsPoolPanic) {
  config_.pools[0].health.emplace();
  Standing starting = HealthState::kUp;
  starting.eighths = 2;
  states_.insert_or_assign(key("a", "10.0.1.1"), starting);
  EXPECT_TRUE(SnapshotView::validate(build_snapshot(plan())));
  EXPECT_NEAR(planner_.share(key("a", "10.0.1.1")), 0.2, 0.01);
  EXPECT_NEAR(planner_.share(key("a", "10.0.1.3")), 0.8, 0.01);
  states_.clear();
  plan();
  const uint64_t whole = planner_.digest("a");

  config_.pools[0].health->panic = 60;
  states_.insert_or_assign(key("a", "10.0.1.1"), HealthState::kDown);
  plan();
  EXPECT_TRUE(planner_.panics("a"));
  EXPECT_FALSE(planner_.panics("b"));
  EXPECT_EQ(planner_.digest("a"), whole) << "the table of all";
  states_.clear();
  plan();
  EXPECT_FALSE(planner_.panics("a"));
  states_.insert_or_assign(key("b", "10.0.1.1"), HealthState::kDown);
  plan();
  EXPECT_TRUE(planner_.none_up("b"));
  EXPECT_FALSE(planner_.none_up("a"));
  EXPECT_FALSE(planner_.none_up("c")) << "no pool of it";
}

TEST_F(PlannerTest, ReadsBackWhatWasPlanned) {
  states_.insert_or_assign(key("a", "10.0.1.3"), HealthState::kDown);
  const auto bytes = build_snapshot(plan(7));
  const auto live = read_live_tables(bytes);
  ASSERT_TRUE(live) << live.error();
  EXPECT_EQ(live->generation, 7u);
  EXPECT_EQ(live->backends.at(key("a", "10.0.1.3")).state, LINIMO_BACKEND_DOWN);
  EXPECT_EQ(live->backends.at(key("a", "10.0.1.2")).state, LINIMO_BACKEND_DRAINING);
  EXPECT_EQ(live->backends.at(key("b", "10.0.1.1")).id, ids_.backend(key("b", "10.0.1.1")));
  EXPECT_EQ(live->services.at("s"), ids_.service("s"));

  EXPECT_TRUE(same_tables(bytes, build_snapshot(plan(8))));
  states_.clear();
  EXPECT_FALSE(same_tables(bytes, build_snapshot(plan(8))));
  EXPECT_FALSE(same_tables(bytes, {}));
  EXPECT_FALSE(same_tables({}, bytes));
}

TEST_F(PlannerTest, TablesDifferByWhatTheirPoolsSayOfThemselves) {
  const auto bytes = build_snapshot(plan(7));
  config_.pools[0].encapsulation = LINIMO_ENCAP_GRE;
  EXPECT_FALSE(same_tables(bytes, build_snapshot(plan(8))));
}

// A backend of which the live tables have as many eighths of its weight as another has all of its own is in a
// slow start; other numbers are of another configuration.
TEST(LiveTablesTest, TellASlowStartFromAChangedWeight) {
  Config config;
  config.pools = {pool_of("a", {{"10.0.1.1", 100}, {"10.0.1.2", 100}, {"10.0.1.3", 100}, {"10.0.1.4", 100}})};
  LiveTables live;
  const auto is_live = [&](const char* address, uint32_t weight) {
    live.backends[{"a", *Address::parse(address)}] = {.id = 1, .state = LINIMO_BACKEND_UP, .weight = weight};
  };
  is_live("10.0.1.1", 800);
  is_live("10.0.1.2", 300);
  is_live("10.0.1.3", 900);
  is_live("10.0.1.4", 150);
  const auto standings = standings_in(live, config);
  EXPECT_EQ(standings.at({"a", *Address::parse("10.0.1.2")}).eighths, 3u);
  for (const char* whole : {"10.0.1.1", "10.0.1.3", "10.0.1.4"})
    EXPECT_EQ(standings.at({"a", *Address::parse(whole)}).eighths, 8u) << whole;
}

}  // namespace
}  // namespace linimo
