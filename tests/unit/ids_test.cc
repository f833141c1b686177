// Ids: a name keeps its number, gets it back when it returns, and no number changes hands while a connection
// table may remember it; across reloads, restarts and damaged files.

#include "controlplane/tables/ids.h"

#include <gtest/gtest.h>

#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

using std::chrono::seconds;
using Names = std::set<std::string>;

constexpr IdRegistry::Time kStart{std::chrono::hours(1)};
constexpr seconds kRest{900};

TEST(IdRegistryTest, GivesANameItsNumberBack) {
  IdRegistry ids(100);
  ASSERT_TRUE(ids.hold({"a", "b"}, kStart, kRest));
  const auto b = ids.find("b");
  ASSERT_TRUE(ids.hold({"a"}, kStart, kRest));
  ASSERT_TRUE(ids.hold({"a", "c"}, kStart, kRest));
  EXPECT_NE(ids.find("c"), b);
  ASSERT_TRUE(ids.hold({"a", "b", "c"}, kStart + seconds(5000), kRest));
  EXPECT_EQ(ids.find("b"), b);
}

TEST(IdRegistryTest, LetsNumbersRestBeforeTheyAreReused) {
  IdRegistry ids(2);
  ASSERT_TRUE(ids.hold({"a", "b"}, kStart, kRest));
  ASSERT_TRUE(ids.hold({"a"}, kStart, kRest));
  const uint64_t version = ids.version();
  EXPECT_FALSE(ids.hold({"a", "c"}, kStart + seconds(899), kRest));
  EXPECT_EQ(ids.find("c"), std::nullopt);
  EXPECT_EQ(ids.find("b"), 1u) << "a hold that fails changes nothing";
  EXPECT_EQ(ids.version(), version);
  ASSERT_TRUE(ids.hold({"a", "c"}, kStart + seconds(900), kRest));
  EXPECT_EQ(ids.find("c"), 1u);
  EXPECT_EQ(ids.find("b"), std::nullopt);
}

TEST(IdRegistryTest, KeepsANumberForANameThatReturnsTogetherWithANewOne) {
  IdRegistry ids(2);
  ASSERT_TRUE(ids.hold({"a", "z"}, kStart, kRest));
  const auto z = ids.find("z");
  ASSERT_TRUE(ids.hold({}, kStart, kRest));
  ASSERT_TRUE(ids.hold({"b", "z"}, kStart + kRest, kRest));
  EXPECT_EQ(ids.find("z"), z);
}

TEST(IdRegistryTest, BelievesWhatIsLive) {
  IdRegistry ids(100);
  ASSERT_TRUE(ids.hold({"a", "b"}, kStart, kRest));
  ASSERT_TRUE(ids.learn("b", *ids.find("a"), true, kStart));
  EXPECT_EQ(ids.find("b"), 0u);
  EXPECT_EQ(ids.find("a"), std::nullopt);
  ASSERT_TRUE(ids.hold({"a", "b"}, kStart, kRest));
  EXPECT_NE(ids.find("a"), 0u);
  EXPECT_FALSE(ids.learn("c", 100, true, kStart));
}

Config config_of(const std::vector<std::string>& addresses, std::vector<std::string> services = {}) {
  Config config;
  PoolConfig pool;
  pool.name = "web";
  for (const std::string& address : addresses) pool.backends.push_back({*Address::parse(address), 100});
  config.pools.push_back(pool);
  for (std::string& name : services) {
    ServiceConfig service;
    service.name = std::move(name);
    config.services.push_back(std::move(service));
  }
  return config;
}

BackendKey key(const char* address) {
  return {"web", *Address::parse(address)};
}

class IdsTest : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::filesystem::path file_ = folder_.path() / "ids.json";
};

TEST_F(IdsTest, OutliveTheProcess) {
  Ids ids;
  ASSERT_TRUE(ids.hold(config_of({"10.0.0.1", "10.0.0.2"}, {"web"}), {}, {}, kStart));
  ASSERT_TRUE(ids.hold(config_of({"10.0.0.2"}, {"web"}), {}, {}, kStart));
  ASSERT_TRUE(ids.save(file_));
  EXPECT_FALSE(std::filesystem::exists(file_.string() + ".new"));

  Ids next;
  ASSERT_TRUE(next.load(file_, kStart));
  ASSERT_TRUE(next.hold(config_of({"10.0.0.3", "10.0.0.2", "10.0.0.1"}, {"web"}), {}, {}, kStart));
  for (const char* address : {"10.0.0.1", "10.0.0.2"})
    EXPECT_EQ(next.backend(key(address)), ids.find_backend(key(address)));
  EXPECT_EQ(next.backend(key("10.0.0.3")), 2u);
  EXPECT_EQ(next.service("web"), 0u);
}

TEST_F(IdsTest, AreNotWrittenAgainUnchanged) {
  Ids ids;
  ASSERT_TRUE(ids.hold(config_of({"10.0.0.1"}, {"web"}), {}, {}, kStart));
  ASSERT_TRUE(ids.save(file_));
  std::filesystem::remove(file_);
  ASSERT_TRUE(ids.hold(config_of({"10.0.0.1"}, {"web"}), {}, {}, kStart + seconds(1)));
  ASSERT_TRUE(ids.save(file_));
  EXPECT_FALSE(std::filesystem::exists(file_)) << "there was nothing to write";
  ASSERT_TRUE(ids.hold(config_of({"10.0.0.1", "10.0.0.2"}, {"web"}), {}, {}, kStart + seconds(2)));
  ASSERT_TRUE(ids.save(file_));
  EXPECT_TRUE(std::filesystem::exists(file_));
}

TEST_F(IdsTest, SurviveADamagedFile) {
  for (const std::string_view text :
       {"", "{", "[]", "nonsense", R"({"version":2,"backends":{},"services":{}})",
        R"({"version":1,"backends":[]})", R"({"version":1})", R"({"version":1,"backends":{}})",
        R"({"version":1,"backends":{},"services":{"s":{"id":4096,"held":true}}})",
        R"({"version":1,"backends":{"a":{"id":1}},"services":{}})",
        R"({"version":1,"backends":{"a":{"held":true}},"services":{}})",
        R"({"version":1,"backends":{"a":{"id":-1,"held":true}},"services":{}})",
        R"({"version":1,"backends":{"a":{"id":99999999999,"held":true}},"services":{}})",
        R"({"version":1,"backends":{"a":{"id":262144,"held":true}},"services":{}})",
        R"({"version":1,"backends":{"a":{"id":1,"held":"yes"}},"services":{}})",
        R"({"version":1,"backends":{"a":7},"services":{}})"}) {
    folder_.write("ids.json", text);
    Ids ids;
    EXPECT_FALSE(ids.load(file_, kStart)) << text;
    LiveTables live;
    live.backends[key("10.0.0.1")] = {.id = 41, .state = LINIMO_BACKEND_UP};
    live.services["web"] = 7;
    ids.learn(live, kStart);
    ASSERT_TRUE(ids.hold(config_of({"10.0.0.1", "10.0.0.2"}, {"web"}), {}, live, kStart));
    EXPECT_EQ(ids.backend(key("10.0.0.1")), 41u);
    EXPECT_GT(ids.backend(key("10.0.0.2")), 41u) << "lower numbers may be remembered by connection tables";
    EXPECT_EQ(ids.service("web"), 7u);
  }
  Ids fresh;
  EXPECT_TRUE(fresh.load(folder_.path() / "none", kStart)) << "no file is the first start";
  EXPECT_FALSE(fresh.load(folder_.path(), kStart)) << "a folder is not";
}

TEST_F(IdsTest, HoldWhatTheDataPlaneStillForwardsBy) {
  Ids ids;
  ASSERT_TRUE(ids.hold(config_of({"10.0.0.1"}), {}, {}, kStart));
  LiveTables live;
  live.backends[key("10.0.0.1")] = {.id = ids.backend(key("10.0.0.1")), .state = LINIMO_BACKEND_UP};
  ASSERT_TRUE(ids.hold(config_of({"10.0.0.2"}), {}, live, kStart));
  ASSERT_TRUE(ids.hold(config_of({"10.0.0.2"}), {}, {}, kStart + seconds(5000)));  // now it is replaced
  ASSERT_TRUE(ids.save(file_));
  std::ifstream stream(file_);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  EXPECT_NE(text.find("web/10.0.0.1"), std::string::npos);
  EXPECT_NE(text.find("\"held\": false"), std::string::npos);
}

TEST_F(IdsTest, HoldNothingForWhatIsLiveByAnotherNumber) {
  Ids ids;
  ASSERT_TRUE(ids.hold(config_of({"10.0.0.1"}, {"web"}), {}, {}, kStart));
  LiveTables live;
  live.backends[key("10.0.0.1")] = {.id = 41, .state = LINIMO_BACKEND_UP};
  live.services["web"] = 7;
  ASSERT_TRUE(ids.hold(config_of({"10.0.0.2"}, {"app"}), {}, live, kStart));
  ASSERT_TRUE(ids.save(file_));
  std::ifstream stream(file_);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  EXPECT_NE(text.find("\"web/10.0.0.1\": {\"held\": false"), std::string::npos) << text;
  EXPECT_NE(text.find("\"web\": {\"held\": false"), std::string::npos) << text;
}

/// A configuration has at most as many names as there are numbers. Whatever was before it, it gets them: at
/// once, if there is no other way, and also in a process that starts with it.
TEST_F(IdsTest, GiveEveryNameANumberThoughAllAreOthers) {
  const auto named = [](char kind, int count) {
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) names.push_back(kind + std::to_string(i));
    return config_of({"10.0.0.1"}, names);
  };
  const auto live_of = [](const Config& config, const Ids& ids) {
    LiveTables live;
    for (const ServiceConfig& service : config.services)
      live.services[service.name] = ids.service(service.name);
    return live;
  };
  const auto numbers = [](const Config& config, const Ids& ids) {
    std::set<uint32_t> all;
    for (const ServiceConfig& service : config.services) all.insert(ids.service(service.name));
    return all.size();
  };
  const Config first = named('a', 2100);
  const Config second = named('b', 2100);
  const Config third = named('c', LINIMO_MAX_SERVICES);
  Ids ids;
  EXPECT_TRUE(ids.hold(first, {}, {}, kStart));
  EXPECT_EQ(ids.free_services(), LINIMO_MAX_SERVICES - 2100);
  const LiveTables live = live_of(first, ids);
  ASSERT_TRUE(ids.save(file_));

  EXPECT_FALSE(ids.hold(second, {}, live, kStart)) << "there is no other way, and that is said";
  EXPECT_EQ(numbers(second, ids), 2100U);
  EXPECT_TRUE(ids.hold(second, {}, live_of(second, ids), kStart)) << "the second ask changes nothing";

  Ids anew;
  ASSERT_TRUE(anew.load(file_, kStart));
  anew.learn(live, kStart);
  EXPECT_FALSE(anew.hold(second, {}, live, kStart));
  EXPECT_EQ(numbers(second, anew), 2100U);
  // Those that rest go before those that are live.
  Ids resting;
  ASSERT_TRUE(resting.hold(first, {}, {}, kStart));
  ASSERT_TRUE(resting.hold(named('d', 1900), {}, {}, kStart));  // 96 were never given, 2100 rest
  const Config kept = named('d', 1900);
  EXPECT_FALSE(resting.hold(second, {}, live_of(kept, resting), kStart));
  for (const ServiceConfig& service : kept.services) EXPECT_TRUE(resting.find_service(service.name));

  EXPECT_FALSE(anew.hold(third, {}, live_of(second, anew), kStart));
  EXPECT_EQ(numbers(third, anew), LINIMO_MAX_SERVICES);
  EXPECT_EQ(anew.free_services(), 0U);
}

TEST_F(IdsTest, SayWhenAFileCannotBeWritten) {
  Ids ids;
  ASSERT_TRUE(ids.hold(config_of({"10.0.0.1"}), {}, {}, kStart));
  EXPECT_FALSE(ids.save(folder_.path() / "missing" / "ids.json"));
  EXPECT_TRUE(ids.save(file_)) << "and tries again next time";
}

}  // namespace
}  // namespace linimo
