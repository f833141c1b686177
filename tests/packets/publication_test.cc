// How the XDP engine makes a snapshot the live one: in memory that is there already, where there is some.

#include <algorithm>

#include <bpf/bpf.h>
#include <gtest/gtest.h>

#include "dataplane/xdp/program.h"
#include "maglev/unique_fd.h"
#include "tests/packets/case_file.h"

namespace linimo::tests {
namespace {

/// What stands in both places of a map of maps, by the kernel's ids. `each`: how many a place has.
std::vector<uint32_t> standing_in(const xdp::Program& program, const char* outer, uint32_t each = 1) {
  std::vector<uint32_t> ids;
  for (uint32_t place = 0; place < 2 * each; ++place) {
    uint32_t id = 0;
    if (bpf_map_lookup_elem(program.map_fd(outer), &place, &id) == 0) ids.push_back(id);
  }
  return ids;
}
std::vector<uint32_t> sorted(std::vector<uint32_t> ids) {
  std::ranges::sort(ids);
  return ids;
}

std::vector<uint32_t> images(const xdp::Program& program) {
  return standing_in(program, "images", LINIMO_IMAGE_PAGES);
}

class Publication : public testing::Test {
 protected:
  void publish(SnapshotSpec spec) {
    spec.generation = ++generation_;
    const auto done = program_->publish(build_snapshot(spec), {});
    ASSERT_TRUE(done) << done.error();
    ASSERT_TRUE(program_->live());
    EXPECT_EQ(program_->live()->header().generation, generation_);
    EXPECT_EQ(program_->live()->pools().size(), spec.pools.size());
  }

  /// The same, but that many pools have tables of 655,373 slots.
  SnapshotSpec enlarged(size_t pools) const {
    SnapshotSpec large = spec_;
    for (PoolSpec& pool : std::span(large.pools).first(pools)) {
      pool.table = make_pool_table(pool.backends, 655'373);
      pool.unsettled.clear();
    }
    return large;
  }

  std::unique_ptr<xdp::Program> program_ = *xdp::Program::load({.rows = 1, .flows_per_row = 64}, {});
  SnapshotSpec spec_ = case_file().configuration.snapshot;
  uint64_t generation_ = 0;
};

/// Two maps take turns: each new one would cost the kernel's wait for all that runs.
TEST_F(Publication, TakesTheMemoryOfTheGenerationBefore) {
  publish(spec_);
  publish(spec_);
  const auto first = images(*program_);
  ASSERT_EQ(first.size(), 2u);
  for (int i = 0; i < 4; ++i) publish(spec_);
  EXPECT_EQ(images(*program_), first);
}

/// With what is more the kernel's memory grows; what a small configuration has no use for is given back.
TEST_F(Publication, TakesMoreMemoryWhereItsOwnIsTooSmallAndOtherWhereItIsMuchTooLarge) {
  const SnapshotSpec large = enlarged(16);
  for (int i = 0; i < 3; ++i) publish(spec_);
  const auto small = images(*program_);
  ASSERT_EQ(small.size(), 2u);
  for (int i = 0; i < 3; ++i) publish(large);
  const auto wide = images(*program_);
  EXPECT_GT(wide.size(), 8u);
  EXPECT_TRUE(std::ranges::includes(sorted(wide), sorted(small))) << "what was there is used";
  for (int i = 0; i < 3; ++i) publish(spec_);
  EXPECT_EQ(images(*program_).size(), 2u);
  for (const uint32_t id : images(*program_))
    EXPECT_EQ(std::count(wide.begin(), wide.end(), id), 0) << "it is too large";
}

/// To the byte, whatever was in that memory before: tables that stay are not copied again, others move or
/// change.
TEST_F(Publication, WhatIsThereIsWhatWasPublished) {
  SnapshotSpec changed = spec_, moved = spec_;
  changed.pools[0].table = make_pool_table(changed.pools[0].backends, 251);
  changed.pools[0].unsettled.clear();
  moved.services.resize(moved.services.size() / 2);
  SnapshotSpec large = enlarged(6), huge = enlarged(16);
  for (const SnapshotSpec* spec :
       {&spec_, &changed, &spec_, &spec_, &moved, &changed, &moved, &moved, &spec_, &changed, &large, &spec_,
        &huge, &large, &spec_, &huge, &huge, &spec_, &spec_}) {
    SnapshotSpec next = *spec;
    next.generation = ++generation_;
    const auto snapshot = build_snapshot(next);
    ASSERT_TRUE(program_->publish(snapshot, {}));
    EXPECT_TRUE(std::ranges::equal(program_->live()->bytes(), snapshot)) << generation_;
  }
}

/// What slots that are settled now had is gone soon, however many generations came in between.
TEST_F(Publication, KeepsNoBlocksThatNobodyReads) {
  const auto service = std::ranges::find_if(spec_.services, [&](const ServiceSpec& of) {
    return of.tracking == LINIMO_TRACKING_FULL && spec_.pools[of.pool].table->members.size() > 1;
  });
  ASSERT_NE(service, spec_.services.end());
  service->tracking = LINIMO_TRACKING_ADAPTIVE;
  SnapshotSpec learns = spec_, settled = spec_;
  PoolSpec& pool = learns.pools[service->pool];
  pool.unsettled = {{0, pool.table->members.back().address, 900}};
  for (PoolSpec& of : settled.pools) of.unsettled.clear();
  publish(settled);
  publish(learns);
  ASSERT_EQ(standing_in(*program_, "unsettled").size(), 1u);
  program_->grow_older(60'000);  // nothing that it has yet to learn
  program_->settle_slots();
  for (int i = 0; i < 2; ++i) publish(settled);
  program_->settle_slots();
  EXPECT_EQ(standing_in(*program_, "unsettled"), std::vector<uint32_t>());
}

/// Another process may have put its own map there, as in a hand-over that failed: packets would be in that
/// one for a moment.
TEST_F(Publication, TakesNoMemoryThatIsNotInItsPlace) {
  for (int i = 0; i < 3; ++i) publish(spec_);
  const uint32_t next = (1 + generation_) % 2;  // the first generation stands in place 1
  const uint32_t page = next * LINIMO_IMAGE_PAGES;
  const uint32_t before = images(*program_)[next];
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
  const UniqueFd other(bpf_map_create(BPF_MAP_TYPE_ARRAY, "other", 4, 64, LINIMO_PAGE_CELLS, &options));
  const int fd = other.get();
  ASSERT_EQ(bpf_map_update_elem(program_->map_fd("images"), &page, &fd, BPF_ANY), 0);
  const uint32_t others = images(*program_)[next];
  ASSERT_NE(others, before);
  publish(spec_);
  EXPECT_NE(images(*program_)[next], before);
  EXPECT_NE(images(*program_)[next], others);
}

}  // namespace
}  // namespace linimo::tests
