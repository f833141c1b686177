// Between a node's own numbers and the names by which nodes speak of services and backends.

#include "controlplane/member/flow_names.h"

#include <gtest/gtest.h>

#include "tests/unit/snapshot_fixture.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;

std::vector<std::byte> snapshot(uint32_t numbers_from, uint64_t generation) {
  SnapshotSpec spec = two_services();
  spec.generation = generation;
  for (BackendSpec& backend : spec.pools[0].backends) backend.id += numbers_from;
  for (ServiceSpec& service : spec.services) service.id += numbers_from;
  return build_snapshot(spec);
}

TEST(FlowNames, AWordOfOneNodeIsAnothersByItsOwnNumbers) {
  const auto here = snapshot(0, 7), there = snapshot(100, 9);
  const auto live_here = SnapshotView::of_valid(here), live_there = SnapshotView::of_valid(there);
  FlowNames names_here, names_there;
  const FlowNames::Time now{milliseconds(5000)};
  const std::vector<linimo_flow_word> words = {{11, 2, 0, 0, 1}, {12, 3, 5, 1, 0}, {13, 4711, 0, 0, 0}};
  const auto said = names_here.to_fleet(words, live_here, now);
  ASSERT_EQ(said.size(), 2U) << "one backend has no name";
  const auto heard = names_there.from_fleet(said, live_there, now);
  ASSERT_EQ(heard.size(), 2U);
  EXPECT_EQ(heard[0].hash, 11U);
  EXPECT_EQ(heard[0].backend, 102U);
  EXPECT_EQ(heard[0].service, 100U);
  EXPECT_EQ(heard[0].ended, 0U);
  EXPECT_EQ(heard[0].datagram, 1U);
  EXPECT_EQ(heard[1].backend, 103U);
  EXPECT_EQ(heard[1].service, 105U);
  EXPECT_EQ(heard[1].ended, 1U);
}

TEST(FlowNames, WhatIsNewIsKnownWithinASecond) {
  FlowNames names;
  const auto before = snapshot(0, 7), after = snapshot(100, 8);
  const std::vector<linimo_flow_word> old = {{11, 2, 0, 0, 0}}, fresh = {{11, 102, 100, 0, 0}};
  const FlowNames::Time now{milliseconds(5000)};
  EXPECT_EQ(names.to_fleet(old, SnapshotView::of_valid(before), now).size(), 1U);
  const auto live = SnapshotView::of_valid(after);
  EXPECT_EQ(names.to_fleet(fresh, live, now + milliseconds(999)).size(), 0U) << "not read for each word";
  EXPECT_EQ(names.to_fleet(fresh, live, now + milliseconds(1000)).size(), 1U);
  EXPECT_EQ(names.to_fleet(old, live, now + milliseconds(1000)).size(), 0U);
}

}  // namespace
}  // namespace linimo
