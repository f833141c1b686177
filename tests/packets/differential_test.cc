// Two engines, one rule book: whatever comes in, the same comes out, byte for byte, and the same counter
// rises.

#include <algorithm>
#include <random>
#include <tuple>

#include <gtest/gtest.h>

#include "maglev/counters.h"
#include "tests/packets/case_file.h"
#include "tests/packets/dpdk_engine.h"
#include "tests/packets/expect.h"
#include "tests/packets/mutator.h"
#include "tests/packets/xdp_engine.h"

namespace linimo::tests {
namespace {

constexpr int kMutations = 200'000;
constexpr int kFlows = 100'000;
constexpr size_t kBatch = 1000;  // both start empty, often enough that a failure is soon found again
constexpr size_t kBurst = 32;    // then both settle
constexpr uint64_t kSeed = 20160316;

bool before(const Result& a, const Result& b) {
  return std::tie(a.counter, a.bytes, a.more) < std::tie(b.counter, b.bytes, b.more);
}

/// What an engine makes of frames, one after another: a result for each, and those of what it held, sorted,
/// after each burst.
struct Made {
  std::vector<Result> of_frames;
  std::vector<std::vector<Result>> settled;
};

Made run(Engine& engine, const std::vector<Bytes>& frames) {
  engine.apply(case_file().configuration);
  engine.forget_flows();
  Made made;
  for (size_t i = 0; i < frames.size(); ++i) {
    made.of_frames.push_back(engine.run(frames[i], kStart_ms));
    if ((i + 1) % kBurst != 0) continue;
    made.settled.push_back(engine.pass_time(kStart_ms));
    std::sort(made.settled.back().begin(), made.settled.back().end(), before);
  }
  return made;
}

std::string difference(const Result& a, const Result& b) {
  if (!a.fault.empty() || !b.fault.empty()) return "a promise was broken: " + a.fault + b.fault;
  Expected wanted{.outcome = a.counter, .possible = {}, .flow = ""};
  if (a.way == Left::Way::kKernel || a.way == Left::Way::kSent)
    wanted.possible.push_back({a.port, a.bytes, a.more});
  if (a.way != b.way) return "one engine lets it leave by another way";
  return difference_from(wanted, b);
}

/// Both start empty. Adds what was counted to `seen`.
void expect_the_same(Engine& one, Engine& other, const std::vector<Bytes>& frames, Counts& seen) {
  const Made first = run(one, frames);
  const Made second = run(other, frames);
  for (size_t i = 0; i < frames.size(); ++i) {
    ASSERT_EQ(difference(first.of_frames[i], second.of_frames[i]), "") << "frame in: " << hex(frames[i]);
    if (first.of_frames[i].counter != LINIMO_OUTCOME_COUNT) ++seen[first.of_frames[i].counter];
  }
  for (size_t i = 0; i < first.settled.size(); ++i) {
    ASSERT_EQ(first.settled[i].size(), second.settled[i].size()) << "settled after burst " << i;
    for (size_t k = 0; k < first.settled[i].size(); ++k) {
      ASSERT_EQ(difference(first.settled[i][k], second.settled[i][k]), "") << "settled after burst " << i;
      ++seen[first.settled[i][k].counter];
    }
  }
}

TEST(Differential, MutationsComeOutTheSame) {
  Mutator mutator(case_file(), kSeed);
  Counts seen{};
  for (int done = 0; done < kMutations; done += kBatch) {
    std::vector<Bytes> frames(kBatch);
    for (Bytes& frame : frames) frame = mutator.next();
    ASSERT_NO_FATAL_FAILURE(expect_the_same(dpdk_engine(), xdp_engine(), frames, seen))
        << "after " << done << " mutations";
  }
  // Agreeing about frames that are all the kernel's would show little.
  for (int i = 0; i < LINIMO_OUTCOME_COUNT; ++i) {
    if (i == LINIMO_OUTCOME_fragment_unmatched) continue;  // time and full memories: tests of each engine
    for (const Case& from : case_file().cases) {
      const bool named = std::any_of(from.steps.begin(), from.steps.end(),
                                     [&](const Step& step) { return step.outcome == i; });
      if (!named) continue;
      EXPECT_GE(seen[i], 100U) << outcome_name(static_cast<linimo_outcome>(i));
      break;
    }
  }
}

/// The engine's two paths: each frame thrice, for flows become known by their first packet.
TEST(Differential, StraightAndWholePathComeOutTheSame) {
  Mutator mutator(case_file(), kSeed + 1);
  Counts seen{};
  for (int done = 0; done < kMutations; done += kBatch) {
    std::vector<Bytes> frames;
    while (frames.size() < kBatch) frames.insert(frames.end(), 3, mutator.next());
    ASSERT_NO_FATAL_FAILURE(expect_the_same(xdp_whole_engine(), xdp_engine(), frames, seen))
        << "after " << done << " mutations";
  }
  EXPECT_GE(seen[LINIMO_OUTCOME_forwarded], 10'000U);
}

/// Plain packets of services of each tracking leave though there is no whole path.
TEST(Differential, PlainPacketsGoStraight) {
  XdpEngine engine;
  engine.apply(case_file().configuration);
  engine.take_whole_path_away();
  for (const char* name :
       {"flows_spread_untracked_v4", "flows_spread_tracked_v4", "udp_flows_spread_tracked_v4",
        "flows_spread_untracked_v6", "flows_spread_tracked_v6", "udp_flows_spread_tracked_v6"}) {
    const auto from = std::find_if(case_file().cases.begin(), case_file().cases.end(),
                                   [&](const Case& candidate) { return candidate.name == name; });
    ASSERT_NE(from, case_file().cases.end());
    const Bytes& packet = from->steps.front().frame;
    EXPECT_EQ(engine.run(packet, kStart_ms).counter, LINIMO_OUTCOME_forwarded) << name << ", a new flow";
    EXPECT_EQ(engine.run(packet, kStart_ms).counter, LINIMO_OUTCOME_forwarded) << name << ", a known one";
  }
}

TEST(Differential, FlowsSpreadTheSame) {
  std::mt19937_64 random(kSeed);
  for (const char* name : {"flows_spread_untracked_v4", "flows_spread_untracked_v6"}) {
    const auto from = std::find_if(case_file().cases.begin(), case_file().cases.end(),
                                   [&](const Case& candidate) { return candidate.name == name; });
    ASSERT_NE(from, case_file().cases.end());
    const Bytes& packet = from->steps.front().frame;
    const bool v6 = packet[12] == 0x86;
    const size_t source = 14 + (v6 ? 8 : 12);
    const size_t ports = 14 + (v6 ? 40 : 20);
    Counts seen{};
    for (int done = 0; done < kFlows / 2; done += kBatch) {
      std::vector<Bytes> frames(kBatch, packet);
      for (Bytes& frame : frames) {
        // Behind the address' first two bytes, so that none becomes a martian.
        for (size_t i = 2; i < (v6 ? 16 : 4); ++i) frame[source + i] = static_cast<uint8_t>(random());
        for (size_t i = 0; i < 4; ++i) frame[ports + i] = static_cast<uint8_t>(random());
        repair_checksum(frame);
      }
      ASSERT_NO_FATAL_FAILURE(expect_the_same(dpdk_engine(), xdp_engine(), frames, seen));
    }
    EXPECT_EQ(seen[LINIMO_OUTCOME_forwarded], static_cast<uint64_t>(kFlows / 2));
  }
}

}  // namespace
}  // namespace linimo::tests
