// The key by which NICs spread flows over workers: nobody else has it, and restarts do not change it.

#include "dataplane/dpdk/rss_key.h"

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/temporary_folder.h"

namespace linimo::dpdk {
namespace {

using testing::HasSubstr;

class RssKey : public testing::Test {
 protected:
  NodeConfig node(const std::string& name) const {
    NodeConfig config;
    config.runtime_dir = folder.path() / name;
    std::filesystem::create_directories(config.runtime_dir);
    return config;
  }
  NodeConfig node_with(const std::string& text) const {
    NodeConfig config = node("a");
    config.rss_key_file = folder.path() / "key";
    std::ofstream(config.rss_key_file) << text;
    return config;
  }

  TemporaryFolder folder;
  std::string forty = std::string(78, '0') + "5a";
};

TEST_F(RssKey, EachNodeHasItsOwnAndKeepsIt) {
  const auto key = rss_key(node("a"));
  ASSERT_TRUE(key) << key.error();
  EXPECT_EQ(key->size(), 52);
  EXPECT_EQ(rss_key(node("a")), key);
  EXPECT_NE(rss_key(node("b")), key);
}

TEST_F(RssKey, NobodyElseMayReadIt) {
  ASSERT_TRUE(rss_key(node("a")));
  EXPECT_EQ(std::filesystem::status(folder.path() / "a/rss-key").permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(RssKey, DamagedOneIsMadeAnew) {
  const auto before = rss_key(node("a"));
  std::ofstream(folder.path() / "a/rss-key") << "5a5a";
  const auto key = rss_key(node("a"));
  ASSERT_TRUE(key) << key.error();
  EXPECT_NE(key, before);
  EXPECT_EQ(rss_key(node("a")), key);
}

TEST_F(RssKey, OneThatTheConfigurationNames) {
  const auto key = rss_key(node_with(forty + "\n"));
  ASSERT_TRUE(key) << key.error();
  EXPECT_EQ(key->size(), 40);
  EXPECT_EQ(key->back(), 0x5a);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "a/rss-key"));
}

TEST_F(RssKey, NamedOneThatIsNoneIsRefused) {
  for (const std::string& text : {std::string(), std::string("5a"), std::string(80, '0'), forty + "5",
                                  forty.substr(0, 78) + "zz", std::string(106, '5')})
    EXPECT_THAT(rss_key(node_with(text)).error(), HasSubstr("key: an RSS key is 40 to 52 bytes")) << text;
  NodeConfig config = node("a");
  config.rss_key_file = folder.path() / "nowhere";
  EXPECT_THAT(rss_key(config).error(), HasSubstr("nowhere: no such file"));
}

TEST_F(RssKey, IsReadAsEthtoolShowsIt) {
  std::string shown;
  for (size_t i = 0; i < forty.size(); i += 2) shown += (i == 0 ? "" : ":") + forty.substr(i, 2);
  EXPECT_EQ(parse_rss_key(shown), parse_rss_key(forty));
}

TEST_F(RssKey, IsAsLongAsTheDeviceWantsIt) {
  const std::vector<uint8_t> key = {1, 2, 3};
  EXPECT_EQ(of_length(key, 2), (std::vector<uint8_t>{1, 2}));
  EXPECT_EQ(of_length(key, 7), (std::vector<uint8_t>{1, 2, 3, 1, 2, 3, 1}));
}

}  // namespace
}  // namespace linimo::dpdk
