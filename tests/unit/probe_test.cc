// Who answered a probe, by the answer's own word or by what the node's counters say.

#include "controlplane/cli/probe.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

constexpr const char* kAnswer =
    "HTTP/1.1 200 OK\r\nX-Backend-Set: all\r\nX-Backend:  10.0.1.2 \r\nServer: s\r\n\r\nX-Other: "
    "body\nmore\n";

TEST(ProbeAnswer, NamesTheBackendByAHeader) {
  EXPECT_EQ(backend_named_by(kAnswer, "X-Backend"), "10.0.1.2");
  EXPECT_EQ(backend_named_by(kAnswer, "x-BACKEND"), "10.0.1.2");
  EXPECT_EQ(backend_named_by(kAnswer, "server"), "s");
  EXPECT_EQ(backend_named_by(kAnswer, "Backend"), "") << "the end of another's name is none";
  EXPECT_EQ(backend_named_by(kAnswer, "X-Other"), "") << "the body has no headers";
  EXPECT_EQ(backend_named_by("HTTP/1.1 200 OK\r\nX-Backend: cut", "X-Backend"), "");
}

/// No terminal is sent what an answer likes to send.
TEST(ProbeAnswer, NamesTheBackendByTheFirstLineOfItsBody) {
  EXPECT_EQ(backend_named_by(kAnswer, ""), "X-Other: body");
  EXPECT_EQ(backend_named_by("HTTP/1.1 200 OK\r\n\r\n a\x1b[31mb\n", ""), "a[31mb");
  EXPECT_EQ(backend_named_by("HTTP/1.1 200 OK\r\n\r\n" + std::string(500, 'x'), "").size(), 80u);
  EXPECT_EQ(backend_named_by("HTTP/1.1 200 OK\r\n\r\n", ""), "");
}

TEST(ProbeShares, AreThoseOfThePacketsThatCameMeanwhile) {
  const auto backends = [](uint64_t first, uint64_t second, uint64_t third) {
    nlohmann::json all;
    for (const auto& [address, packets] :
         {std::pair("10.0.1.1", first), {"10.0.1.2", second}, {"10.0.1.3", third}})
      all.push_back({{"pool", "web"}, {"address", address}, {"packets", packets}});
    return all;
  };
  using Shares = std::map<std::string, double>;
  EXPECT_EQ(shares_between(backends(10, 20, 30), backends(40, 30, 30)),
            (Shares{{"web/10.0.1.1", 0.75}, {"web/10.0.1.2", 0.25}}));
  EXPECT_EQ(shares_between(backends(10, 20, 30), backends(10, 20, 30)), Shares());
  EXPECT_EQ(shares_between(backends(10, 20, 30), backends(0, 21, 30)), (Shares{{"web/10.0.1.2", 1.0}}))
      << "a counter that fell began anew";
}

}  // namespace
}  // namespace linimo
