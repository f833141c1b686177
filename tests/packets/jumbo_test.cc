// Frames longer than a buffer of the kernel's, and wherever the first of their buffers ends, in engine xdp.
// What engine dpdk makes of several buffers is in dpdk_test.cc.

#include <random>

#include <gtest/gtest.h>

#include "bpf/layout.h"
#include "maglev/counters.h"
#include "tests/packets/case_file.h"
#include "tests/packets/dpdk_engine.h"
#include "tests/packets/expect.h"
#include "tests/packets/mutator.h"
#include "tests/packets/wire.h"
#include "tests/packets/xdp_engine.h"

namespace linimo::tests {
namespace {

constexpr int kMutations = 20'000;
constexpr int kBatch = 500;
constexpr uint64_t kSeed = 9000;
constexpr size_t kEthernet = 14;

const Case& case_named(const std::string& name) {
  for (const Case& from : case_file().cases) {
    if (from.name == name) return from;
  }
  throw std::runtime_error("no case is called " + name);
}

std::string difference(const Result& a, const Result& b) {
  if (!a.fault.empty() || !b.fault.empty()) return "a promise was broken: " + a.fault + b.fault;
  Expected wanted{.outcome = a.counter, .possible = {}, .flow = ""};
  if (a.way == Left::Way::kKernel || a.way == Left::Way::kSent)
    wanted.possible.push_back({a.port, a.bytes, a.more});
  return a.way != b.way ? "one lets it leave by another way" : difference_from(wanted, b);
}

// Early fragments aside, which the process of engine xdp is not handed.
TEST(Jumbo, MutationsComeOutTheSame) {
  CaseFile jumbo = case_file();
  std::erase_if(jumbo.cases, [](const Case& from) { return !from.name.starts_with("jumbo"); });
  Mutator mutator(jumbo, kSeed, 9216);
  Engine* const engines[] = {&dpdk_engine(), &xdp_engine()};
  Counts seen{};
  for (int done = 0; done < kMutations; ++done) {
    if (done % kBatch == 0) {
      for (Engine* engine : engines) {
        engine->apply(jumbo.configuration);
        engine->forget_flows();
      }
    }
    const Bytes& frame = mutator.next();
    const Result one = engines[0]->run(frame, kStart_ms), other = engines[1]->run(frame, kStart_ms);
    if (one.way == Left::Way::kHeld && frame.size() > LINIMO_XDP_HANDED_MOST) {
      ASSERT_EQ(other.counter, LINIMO_OUTCOME_fragmented_frame) << hex(frame);
    } else {
      ASSERT_EQ(difference(one, other), "") << "after " << done << ", frame in: " << hex(frame);
    }
    if (other.counter != LINIMO_OUTCOME_COUNT) ++seen[other.counter];
  }
  for (const linimo_outcome outcome :
       {LINIMO_OUTCOME_forwarded, LINIMO_OUTCOME_kernel, LINIMO_OUTCOME_malformed, LINIMO_OUTCOME_too_big,
        LINIMO_OUTCOME_echo_reply, LINIMO_OUTCOME_too_big_reply, LINIMO_OUTCOME_reject_reply}) {
    EXPECT_GE(seen[outcome], 100U) << outcome_name(outcome);
  }
}

/// Frames of every kind, from a packet's first buffer to the last byte of it.
class Buffers : public testing::Test {
 protected:
  void SetUp() override {
    engines_[0]->apply(case_file().configuration);
    engines_[0]->end_first_buffer_at(kEthernet);
    try {
      engines_[0]->run(case_named("arp").steps.front().frame, kStart_ms);
    } catch (const std::runtime_error&) {
      GTEST_SKIP() << "this kernel (before 6.18) tries programs with full buffers only";
    }
  }
  void TearDown() override {
    for (XdpEngine* engine : engines_) engine->end_first_buffer_at(0);
  }
  XdpEngine* engines_[2] = {&xdp_engine(), &xdp_whole_engine()};
};

// To the byte what comes of the same frame in one; or by name, where its headers are cut.
TEST_F(Buffers, TheBorderChangesNothing) {
  std::mt19937_64 random(kSeed);
  uint64_t same = 0, cut = 0;
  for (XdpEngine* engine : engines_) {
    for (const Case& from : case_file().cases) {
      if (from.ordered || from.configuration != "main" || random() % 4 != 0) continue;
      engine->apply(case_file().configuration);
      engine->forget_flows();
      const Step& step = from.steps[random() % from.steps.size()];
      for (const size_t border : {size_t{14}, size_t{15}, size_t{33}, size_t{34}, size_t{54}, size_t{100},
                                  size_t{200}, step.frame.size() - 1, 14 + random() % step.frame.size()}) {
        if (border < kEthernet || border >= step.frame.size() || border > XdpEngine::kLongestBuffer) continue;
        engine->end_first_buffer_at(static_cast<uint32_t>(border));
        const Result result = engine->run(step.frame, kStart_ms);
        ASSERT_EQ(result.fault, "") << from.name << ", border at " << border;
        if (result.counter == LINIMO_OUTCOME_fragmented_frame) {
          const bool in_fragments = !step.possible.empty() && !step.possible.front().more.empty();
          ASSERT_TRUE(border < 400 || in_fragments) << from.name << ", border at " << border;
          ++cut;
        } else if (result.way == Left::Way::kKernel) {  // counted as control traffic where it can be seen
          ASSERT_EQ(result.bytes, step.frame) << from.name << ", border at " << border;
          ASSERT_FALSE(step.possible.empty()) << from.name << ", border at " << border;
          ASSERT_EQ(result.bytes, step.possible.front().bytes) << from.name << ", border at " << border;
        } else {
          ASSERT_EQ(difference_from(step, result), "") << from.name << ", border at " << border;
          ++same;
        }
      }
    }
  }
  EXPECT_GE(same, 500U);
  EXPECT_GE(cut, 1000U);
}

// Wherever headers are cut: a packet to a VIP is dropped by name, and what is the kernel's gets there.
TEST_F(Buffers, CutHeadersAreNamed) {
  XdpEngine& engine = xdp_engine();
  engine.apply(case_file().configuration);
  for (const size_t border : {size_t{14}, size_t{20}, size_t{33}}) {
    engine.end_first_buffer_at(static_cast<uint32_t>(border));
    for (const char* name : {"tcp_v4_ipip4", "tcp_v6_ipip4", "tagged_v4_ipip4", "echo_v4"})
      EXPECT_EQ(engine.run(case_named(name).steps.front().frame, kStart_ms).counter,
                LINIMO_OUTCOME_fragmented_frame)
          << name << ", border at " << border;
    for (const char* name : {"other_address_v4", "other_address_v6", "other_station_neighbour_v4"})
      EXPECT_EQ(engine.run(case_named(name).steps.front().frame, kStart_ms).way, Left::Way::kKernel)
          << name << ", border at " << border;
  }
}

/// A fragment that comes before the first of its datagram.
Bytes early_fragment(size_t payload) {
  Bytes frame = case_named("jumbo_fragments_v4_jumbo_ipip4").steps.at(1).frame;
  frame.resize(kEthernet + 20 + payload / 8 * 8);
  frame[16] = static_cast<uint8_t>((frame.size() - kEthernet) >> 8);
  frame[17] = static_cast<uint8_t>(frame.size() - kEthernet);
  repair_checksum(frame);
  return frame;
}

TEST(Jumbo, EarlyFragmentsThatTheProcessIsNotHandedAreDroppedByName) {
  XdpEngine& engine = xdp_engine();
  engine.apply(case_file().configuration);
  engine.forget_flows();
  EXPECT_EQ(engine.run(early_fragment(3200), kStart_ms).way, Left::Way::kHeld);
  EXPECT_EQ(engine.run(early_fragment(3400), kStart_ms).counter, LINIMO_OUTCOME_fragmented_frame);
  EXPECT_EQ(engine.run(early_fragment(8000), kStart_ms).counter, LINIMO_OUTCOME_fragmented_frame);
  engine.forget_flows();
}

// A driver that does not send what lies in several buffers loses it uncounted.
TEST(Jumbo, ThroughADriverThatSendsOneBufferOnly) {
  XdpEngine engine;
  Configuration configuration = case_file().configuration;
  engine.apply(configuration);
  engine.send_one_buffer_only(1);
  const auto counted = [&](const char* name, size_t step) {
    return engine.run(case_named(name).steps.at(step).frame, kStart_ms).counter;
  };
  EXPECT_EQ(counted("jumbo_v4_jumbo_gre6", 8), LINIMO_OUTCOME_fragmented_frame);  // leaves by port 1
  EXPECT_EQ(counted("jumbo_v4_jumbo_gre6", 0), LINIMO_OUTCOME_forwarded);         // which one buffer holds
  EXPECT_EQ(counted("jumbo_v4_jumbo_ipip4", 8), LINIMO_OUTCOME_forwarded);        // as it came in
}

}  // namespace
}  // namespace linimo::tests
