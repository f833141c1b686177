// The two messages of the gRPC health protocol, to the byte, and what a server may answer instead of them.

#include "controlplane/health/grpc_health.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

std::string bytes(std::initializer_list<int> values) {
  std::string text;
  for (const int value : values) text += static_cast<char>(value);
  return text;
}

TEST(GrpcHealthTest, AsksForTheServerOrOneService) {
  EXPECT_EQ(grpc_health_request(""), bytes({0, 0, 0, 0, 0}));
  EXPECT_EQ(grpc_health_request("a.B"), bytes({0, 0, 0, 0, 5, 0x0a, 3, 'a', '.', 'B'}));
}

TEST(GrpcHealthTest, ReadsTheStatus) {
  EXPECT_EQ(grpc_serving_status(bytes({0, 0, 0, 0, 2, 8, 1})), kGrpcServing);
  EXPECT_EQ(grpc_serving_status(bytes({0, 0, 0, 0, 2, 8, 2})), 2u);
  EXPECT_EQ(grpc_serving_status(bytes({0, 0, 0, 0, 3, 8, 0x81, 1})), 129u);
  EXPECT_EQ(grpc_serving_status(bytes({0, 0, 0, 0, 0})), 0u) << "unknown is left out";
}

TEST(GrpcHealthTest, RefusesEverythingElse) {
  for (const std::string& body :
       {bytes({}), bytes({0, 0, 0, 0}), bytes({1, 0, 0, 0, 2, 8, 1}), bytes({0, 0, 0, 0, 3, 8, 1}),
        bytes({0, 0, 0, 0, 1, 8, 1}), bytes({0, 0, 0, 0, 1, 8}), bytes({0, 0, 0, 0, 2, 16, 1}),
        bytes({0, 0, 0, 0, 2, 8, 0x80}), bytes({0, 0, 0, 0, 3, 8, 1, 1}),
        bytes({0, 0, 0, 0, 11, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})}) {
    EXPECT_EQ(grpc_serving_status(body), std::nullopt) << testing::PrintToString(body);
  }
}

}  // namespace
}  // namespace linimo
