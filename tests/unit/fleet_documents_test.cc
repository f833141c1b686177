// A configuration file as documents of a store, and back: every section at its line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "controlplane/member/documents.h"

namespace linimo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kFile = R"([node]
name = "lb1"

# The web's servers.
[[pool]]
name = "web"
backends = [
  { address = "10.0.1.1" },
]
[pool.health]
type = "tcp"
port = 80
[announce]
via = "bird"
[[pool]]   # another
name = "dns"
backends = [ { address = "10.0.1.2" } ]

[[service]]
name = "web"
vips = ["203.0.113.1"]
protocol = "tcp"
ports = [80]
pool = "web")";

TEST(FleetDocuments, EachSectionIsOneAndComesBackAtItsLine) {
  const auto documents = split(kFile, "linimo.toml");
  ASSERT_TRUE(documents) << documents.error();
  std::vector<std::string> names;
  for (const auto& [name, value] : *documents) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("announce", "pool/dns", "pool/web", "service/web"));
  EXPECT_THAT(documents->at("pool/web"), HasSubstr("The web's servers"));
  EXPECT_THAT(documents->at("pool/web"), HasSubstr("pool.health"));
  const auto file = compose(*documents);
  ASSERT_TRUE(file) << file.error();
  EXPECT_EQ(file->name, "linimo.toml");
  // What is not the fleet's is blank; the rest is where it was.
  const std::string whole = std::string(kFile) + "\n";
  size_t at = 0;
  for (size_t end; at < whole.size(); at = end + 1) {
    end = whole.find('\n', at);
    const std::string line = whole.substr(at, end - at);
    const size_t number =
        static_cast<size_t>(std::count(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(at), '\n'));
    size_t begin = 0;
    for (size_t i = 0; i < number; ++i) begin = file->text.find('\n', begin) + 1;
    const std::string composed = file->text.substr(begin, file->text.find('\n', begin) - begin);
    EXPECT_EQ(composed, number < 3 ? "" : line) << number;
  }
  EXPECT_EQ(split(file->text, "linimo.toml").value(), *documents) << "and again";
}

TEST(FleetDocuments, ADigestIsOfNamesAndBytes) {
  const Documents one = {{"pool/a", "x"}, {"pool/b", "y"}};
  EXPECT_EQ(digest_of(one), digest_of(Documents(one)));
  EXPECT_NE(digest_of(one), digest_of({{"pool/a", "y"}, {"pool/b", "x"}}));
  EXPECT_NE(digest_of(one), digest_of({{"pool/a", "x"}}));
  EXPECT_NE(digest_of({}), digest_of({{"", ""}}));
}

TEST(FleetDocuments, WhatCannotBeSplitIsRefusedWithItsPlace) {
  EXPECT_THAT(split("x =", "f").error(), HasSubstr("f:1:"));
  EXPECT_THAT(split("pool = [ { name = \"a\" } ]", "f").error(), HasSubstr("on a line of its own"));
  EXPECT_THAT(split("[[pool]]\nname = \"a\"\n[[pool]]\nname = \"a\"\n", "f").error(), HasSubstr("f:3:"));
  EXPECT_THAT(split("[node]\nname = \"a\"\n", "f").error(), HasSubstr("neither pools nor services"));
  EXPECT_THAT(split("[metrics]\nlisten = \"127.0.0.1:9310\"\n", "f").error(),
              HasSubstr("neither pools nor services"));
  EXPECT_THAT(split("metrics.page = true\n[[pool]]\nname = \"a\"\n", "f").error(),
              HasSubstr("on a line of its own"));
  EXPECT_THAT(split("[[pool]]\nname = \"a\"\n# " + std::string(2 << 20, 'x'), "f").error(),
              HasSubstr("at most"));
}

TEST(FleetDocuments, HostileDocumentsAreRefused) {
  const auto why = [](const std::string& value) {
    const auto file = compose({{"pool/a", value}});
    return file ? std::string("taken") : file.error();
  };
  const auto document = [](int64_t line, const std::string& text) {
    return nlohmann::json{{"file", "f"}, {"line", line}, {"text", text}}.dump();
  };
  EXPECT_THAT(why(""), HasSubstr("no JSON object"));
  EXPECT_THAT(why("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(why(R"({"file":"f","line":"1","text":""})"), HasSubstr("no JSON object"));
  EXPECT_THAT(why(document(0, "")), HasSubstr("a line that no file has"));
  EXPECT_THAT(why(document(-1, "")), HasSubstr("no JSON object"));
  EXPECT_THAT(why(document(4'000'000'000, "")), HasSubstr("a line that no file has"));
  const auto overlapping = compose({{"pool/a", document(1, "a\nb\nc\n")}, {"pool/b", document(2, "d\n")}});
  ASSERT_FALSE(overlapping);
  EXPECT_THAT(overlapping.error(), HasSubstr("overlap"));
}

}  // namespace
}  // namespace linimo
