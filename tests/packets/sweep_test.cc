// What the process does for the XDP engine's connection tables: every bucket has its turn, whatever their
// number.

#include <gtest/gtest.h>

#include "dataplane/xdp/program.h"

namespace linimo::tests {
namespace {

// A round is over, and so what each backend has left is known, once the parts that were asked for make up the
// table; and so is the next.
TEST(Sweep, GoesRoundTablesOfAnySize) {
  for (const uint64_t flows : {1024, 4096, 5000, 100'000}) {
    const xdp::Shape shape{.rows = 1, .flows_per_row = flows};
    auto program = xdp::Program::load(shape, {});
    ASSERT_TRUE(program) << program.error();
    ASSERT_TRUE((*program)->serve(0));
    const WorkerCounters& counters = (*program)->counters(0);
    const uint64_t before = counters.census_rounds;
    const uint64_t part = shape.buckets() / 40 + 1, parts = (shape.buckets() + part - 1) / part;
    for (uint64_t round = 1; round <= 3; ++round) {
      for (uint64_t i = 0; i < parts; ++i) (*program)->sweep(part);
      EXPECT_EQ(counters.census_rounds, before + round) << flows;
    }
  }
}

}  // namespace
}  // namespace linimo::tests
