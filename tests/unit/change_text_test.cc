// What the log says of a change: all of it in few words, never a secret, never more than a line that can be
// read.

#include "controlplane/change_text.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

Address address(int number) {
  return *Address::parse("10.0.1." + std::to_string(number));
}

Config config_of(const std::vector<int>& backends) {
  Config config;
  PoolConfig pool;
  pool.name = "web";
  pool.health = HealthCheckConfig{};
  for (const int number : backends) pool.backends.push_back({address(number), 100});
  config.pools = {pool};
  ServiceConfig service;
  service.name = "shop";
  service.vips = {*Prefix::parse("203.0.113.1")};
  config.services = {service};
  return config;
}

std::vector<std::byte> snapshot_of(const std::vector<BackendSpec>& backends) {
  SnapshotSpec spec;
  PoolSpec pool{.name = "web", .backends = backends, .table = nullptr};
  pool.table = make_pool_table(pool.backends, 251);
  spec.pools = {pool};
  return build_snapshot(spec);
}

TEST(ChangesTest, NamesWhatCameWentAndChanged) {
  const Config before = config_of({1, 2, 3});
  EXPECT_EQ(config_changes(before, before), "");
  Config after = config_of({1, 3, 4});
  after.pools[0].backends[0].weight = 50;
  after.pools[0].backends[1].drain = true;
  after.services[0].ports = {{80, 80}};
  after.services[0].idle_timeout_s = 60;
  after.node.reply_rate = 5;
  EXPECT_EQ(
      config_changes(before, after),
      "node: reply_rate 1000>5, -backend web/10.0.1.2, backend web/10.0.1.1: weight 100>50, "
      "backend web/10.0.1.3: drain 0>1, +backend web/10.0.1.4, service shop: ports idle_timeout 900>60");
  after.pools[0].name = "app";
  EXPECT_EQ(config_changes(before, after),
            "node: reply_rate 1000>5, -pool web, +pool app (3 backends), "
            "service shop: ports pool idle_timeout 900>60");
}

TEST(ChangesTest, KnowsPoolsByNameAndNotByPlace) {
  Config before = config_of({1});
  PoolConfig other;
  other.name = "app";
  Config after = before;
  before.pools.push_back(other);
  after.pools.insert(after.pools.begin(), other);
  after.services[0].pool = 1;
  EXPECT_EQ(config_changes(before, after), "");
}

TEST(ChangesTest, ShowsNoSecret) {
  const Config before = config_of({1});
  Config after = before;
  after.hash_seed = 0x5ec2e7;
  HealthCheckConfig& health = *after.pools[0].health;
  health.host = health.body = health.send = health.drain_header = "5ec2e7";
  after.announce = AnnounceConfig{};
  const std::string text = config_changes(before, after);
  EXPECT_EQ(text, "node: hash_seed, announce, pool web: health");
}

TEST(ChangesTest, NamesTheSectionsThatChanged) {
  Config before = config_of({1});
  Config after = before;
  after.metrics.page = true;
  after.api.emplace();
  EXPECT_EQ(config_changes(before, after), "metrics, api");
  before = after;
  EXPECT_EQ(config_changes(before, after), "");
  after.api->operators = {"alice"};
  EXPECT_EQ(config_changes(before, after), "api") << "who may change what is seen to change";
}

TEST(ChangesTest, IsBounded) {
  std::vector<int> many;
  for (int i = 1; i <= 200; ++i) many.push_back(i);
  const std::string text = config_changes(config_of({}), config_of(many));
  EXPECT_LT(text.size(), 700u);
  EXPECT_TRUE(text.starts_with("+backend web/10.0.1.1, +backend web/10.0.1.2, ")) << text;
  EXPECT_NE(text.find(", and 17"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with(" more")) << text;
  const std::string huge(5000, 'x');
  Config after = config_of({});
  after.services[0].name = huge;
  EXPECT_EQ(config_changes(config_of({}), after), "-service shop, and 1 more");
  Config none = config_of({});
  none.services.clear();
  EXPECT_EQ(config_changes(none, after), "1 more") << "too long by itself";
}

TEST(ChangesTest, NamesWhatBecameOfTheTables) {
  const auto first = snapshot_of({{address(1), 1, 100}, {address(2), 2, 100}, {address(3), 3, 100}});
  const auto second = snapshot_of({{address(1), 1, 50},
                                   {address(2), 2, 100, LINIMO_BACKEND_DOWN},
                                   {address(4), 4, 100, LINIMO_BACKEND_DRAINING}});
  EXPECT_EQ(table_changes(first, first), "");
  EXPECT_EQ(table_changes(first, second),
            "-web/10.0.1.3, web/10.0.1.1 weight 100>50, web/10.0.1.2 up>down, +web/10.0.1.4 draining");
  EXPECT_EQ(table_changes(first, {}), "-pool web");
  EXPECT_EQ(table_changes({}, first), "+pool web, +web/10.0.1.1 up, +web/10.0.1.2 up, +web/10.0.1.3 up");
}

TEST(ChangesTest, NamesTheServicesOfTheTables) {
  const auto with = [](std::vector<std::string> names) {
    SnapshotSpec spec;
    PoolSpec pool{.name = "web", .backends = {}, .table = nullptr};
    pool.table = make_pool_table(pool.backends, 251);
    spec.pools = {pool};
    for (std::string& name : names) {
      ServiceSpec service;
      service.id = static_cast<uint32_t>(spec.services.size());
      service.ports = {{static_cast<uint16_t>(80 + name.size()), static_cast<uint16_t>(80 + name.size())}};
      service.name = std::move(name);
      service.vips = {*Prefix::parse("203.0.113.1")};
      spec.services.push_back(service);
    }
    return build_snapshot(spec);
  };
  EXPECT_EQ(table_changes(with({"a", "bc"}), with({"bc", "def"})), "-service a, +service def");
  EXPECT_EQ(table_changes(with({}), with({})), "") << "pools without backends are the same, too";
}

TEST(ChangesTest, KnowsWhatWaitsForARestart) {
  NodeConfig running;
  NodeConfig wanted;
  wanted.workers = 2;
  wanted.reply_rate = 5;
  EXPECT_EQ(restart_differences(running, wanted), std::vector<std::string>{"workers"});
}

}  // namespace
}  // namespace linimo
