// What holds of every engine of the store: a file of this machine, and one real etcd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controlplane/store/etcd_store.h"
#include "controlplane/store/file_store.h"
#include "tests/store/asking.h"
#include "tests/store/cluster.h"

namespace linimo {
namespace {

using What = StoreCompare::What;
using testing::HasSubstr;

Cluster& one_etcd() {
  static Cluster cluster(1);
  return cluster;
}

class Contract : public testing::TestWithParam<std::string> {
 protected:
  Contract()
      : asking_([this](boost::asio::io_context& io) -> std::unique_ptr<ConfigStore> {
          if (GetParam() == "file") return std::move(*make_file_store(io, folder_.path() / "store"));
          EtcdConfig config;
          config.endpoints = one_etcd().endpoints();
          return make_etcd_store(io, std::move(config));
        }) {
    // The cluster may be starting, and each test finds the store empty.
    if (!asking_.until([this] { return asking_.read("").has_value(); })) ADD_FAILURE() << "no store";
    const auto emptied = asking_.transact({{}, {}, {with_prefix("")}});
    if (!emptied) ADD_FAILURE() << emptied.error();
  }

  TemporaryFolder folder_;
  Asking asking_;
};

TEST_P(Contract, ReadsAPrefixAndNothingElseWithPlacesInHistory) {
  const auto first = asking_.put("a/1", "x");
  ASSERT_TRUE(first && first->done);
  const auto second = asking_.put("a/1", std::string("y\0\xff", 3));
  ASSERT_TRUE(asking_.put("b", "no"));
  const auto read = asking_.read("a/");
  ASSERT_TRUE(read) << read.error();
  ASSERT_EQ(read->entries.size(), 1u);
  EXPECT_EQ(read->entries[0].key, "a/1");
  EXPECT_EQ(read->entries[0].value, std::string("y\0\xff", 3));
  EXPECT_EQ(read->entries[0].created, first->revision);
  EXPECT_EQ(read->entries[0].changed, second->revision);
  EXPECT_EQ(read->revision, second->revision + 1);
}

TEST_P(Contract, DoesATransactionWholeOrNotAtAll) {
  const auto made = asking_.transact({{{"k", What::kCreated, 0}}, {{"k", "1"}, {"l", "1"}}, {}});
  ASSERT_TRUE(made && made->done);
  const auto again = asking_.transact({{{"k", What::kCreated, 0}}, {{"k", "2"}}, {one_key("l")}});
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->done);
  EXPECT_EQ(asking_.read("")->entries.size(), 2u);
  const auto changed =
      asking_.transact({{{"k", What::kChanged, made->revision}}, {{"k", "3"}}, {one_key("l")}});
  ASSERT_TRUE(changed && changed->done);
  const auto read = asking_.read("");
  ASSERT_EQ(read->entries.size(), 1u);
  EXPECT_EQ(read->entries[0].value, "3");
}

TEST_P(Contract, ComparesAWholePrefixThatMayBeEmpty) {
  const auto made = asking_.put("n/1", "x");
  const StoreTransaction unless_changed{{{"n/", What::kNoneChanged, made->revision}}, {{"done", "1"}}, {}};
  EXPECT_TRUE(asking_.transact(unless_changed)->done);
  ASSERT_TRUE(asking_.put("n/2", "x"));
  EXPECT_FALSE(asking_.transact(unless_changed)->done);
  ASSERT_TRUE(asking_.transact({{}, {}, {with_prefix("n/")}}));
  EXPECT_TRUE(asking_.transact(unless_changed)->done);
}

TEST_P(Contract, ErasesARangeUpToItsEndOnly) {
  for (const char* key : {"r/1", "r/2", "r/3", "s"}) ASSERT_TRUE(asking_.put(key, "x"));
  ASSERT_TRUE(asking_.transact({{}, {}, {{"r/", "r/3"}}}));
  const auto read = asking_.read("");
  ASSERT_EQ(read->entries.size(), 2u);
  EXPECT_EQ(read->entries[0].key, "r/3");
}

TEST_P(Contract, WatchTellsOfEachChangeOnceInOrderFromWhereItBegins) {
  const auto before = asking_.put("w/1", "old");
  const auto watched = asking_.watch("w/", before->revision + 1);
  ASSERT_TRUE(asking_.put("w/1", "new"));
  ASSERT_TRUE(asking_.put("other", "x"));
  const auto last = asking_.transact({{}, {{"w/2", "two"}}, {one_key("w/1")}});
  ASSERT_TRUE(asking_.until([&] { return watched->entries.size() == 3; })) << watched->text() << watched->end;
  EXPECT_THAT(watched->text(), HasSubstr("w/1=new"));
  EXPECT_THAT(watched->text(), HasSubstr("w/1 gone"));
  EXPECT_EQ(watched->entries[0].value, "new");
  EXPECT_EQ(watched->revision, last->revision);
}

TEST_P(Contract, WatchCatchesUpWithWhatWasBeforeIt) {
  const auto before = asking_.put("w/1", "a");
  ASSERT_TRUE(asking_.put("w/1", "b"));
  const auto watched = asking_.watch("w/", before->revision);
  ASSERT_TRUE(asking_.until([&] { return watched->entries.size() == 2; })) << watched->end;
  EXPECT_EQ(watched->text(), "w/1=a w/1=b");
}

TEST_P(Contract, KeysGoWithTheirLeaseAndALateKeeperIsTold) {
  const auto lease = asking_.grant(seconds(2));
  ASSERT_TRUE(lease) << lease.error();
  ASSERT_GT(lease->time_to_live.count(), 0);
  ASSERT_TRUE(asking_.put("leased", "x", lease->id)->done);
  EXPECT_EQ(asking_.keep(lease->id)->time_to_live, lease->time_to_live);
  ASSERT_TRUE(asking_.until([&] { return asking_.read("leased")->entries.empty(); }));
  const auto late = asking_.keep(lease->id);
  ASSERT_TRUE(late) << late.error();
  EXPECT_EQ(late->time_to_live.count(), 0);
  const auto refused = asking_.put("leased", "y", lease->id);
  ASSERT_TRUE(refused) << refused.error();
  EXPECT_FALSE(refused->done);
}

INSTANTIATE_TEST_SUITE_P(Engines, Contract, testing::Values("file", "etcd"),
                         [](const auto& info) { return info.param; });

TEST(FileStore, OutlivesItsProcessWithoutWhatWasLeased) {
  const TemporaryFolder folder;
  const auto make = [&](boost::asio::io_context& io) {
    return std::move(*make_file_store(io, folder.path() / "s"));
  };
  int64_t revision = 0;
  {
    Asking asking(make);
    const auto lease = asking.grant(seconds(60));
    ASSERT_TRUE(asking.put("leased", "x", lease->id)->done);
    revision = asking.put("kept", "y")->revision;
  }
  Asking asking(make);
  const auto read = asking.read("");
  EXPECT_EQ(read->revision, revision);
  ASSERT_EQ(read->entries.size(), 1u);
  EXPECT_EQ(read->entries[0].value, "y");
  const auto watched = asking.watch("", 1);
  EXPECT_TRUE(asking.until([&] { return !watched->end.empty(); }));
}

TEST(FileStore, RefusesAFileThatIsNotItsOwn) {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "s") << "hello";
  boost::asio::io_context io;
  const auto store = make_file_store(io, folder.path() / "s");
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error(), HasSubstr("not what was written there"));
}

}  // namespace
}  // namespace linimo
