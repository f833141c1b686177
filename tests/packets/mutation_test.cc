// No packet of any bytes and any length may crash an engine, be read past its end, or leave with a wrong
// length or checksum; each is accounted for once, and its buffer is in one place.

#include <gtest/gtest.h>

#include "maglev/counters.h"
#include "tests/packets/burst_check.h"
#include "tests/packets/case_file.h"
#include "tests/packets/dpdk_engine.h"
#include "tests/packets/expect.h"
#include "tests/packets/mutator.h"

namespace linimo::tests {
namespace {

constexpr int kMutations = 200'000;
constexpr uint64_t kSeed = 20160316;  // any

TEST(Mutations, AreSound) {
  DpdkEngine& engine = dpdk_engine();
  const Configuration& configuration = case_file().configuration;
  engine.apply(configuration);
  engine.forget_flows();
  Mutator mutator(case_file(), kSeed);
  std::mt19937_64 random(kSeed);
  Counts seen{};
  for (int done = 0; done < kMutations;) {
    std::vector<Bytes> frames(1 + random() % kMaxBurst);
    for (Bytes& frame : frames) frame = mutator.next();
    const std::vector<ByteView> views(frames.begin(), frames.end());
    const BurstResult result = engine.run_burst(views, kStart_ms + static_cast<uint64_t>(done));
    ASSERT_EQ(fault_of_burst(views, result, configuration), "") << "after " << done << " mutations";
    for (size_t i = 0; i < seen.size(); ++i) seen[i] += result.counts[i];
    done += static_cast<int>(frames.size());
  }
  // Changes that all fell at the first hurdle would show nothing.
  for (const linimo_outcome outcome :
       {LINIMO_OUTCOME_forwarded, LINIMO_OUTCOME_kernel, LINIMO_OUTCOME_kernel_control,
        LINIMO_OUTCOME_no_service, LINIMO_OUTCOME_malformed, LINIMO_OUTCOME_bad_checksum,
        LINIMO_OUTCOME_not_allowed, LINIMO_OUTCOME_martian, LINIMO_OUTCOME_no_backend,
        LINIMO_OUTCOME_no_route, LINIMO_OUTCOME_no_nexthop, LINIMO_OUTCOME_wrong_egress,
        LINIMO_OUTCOME_too_big, LINIMO_OUTCOME_echo_reply, LINIMO_OUTCOME_icmp_error,
        LINIMO_OUTCOME_too_big_reply, LINIMO_OUTCOME_reject_reply}) {
    EXPECT_GE(seen[outcome], 200U) << outcome_name(outcome);
  }
}

TEST(Mutations, FramesTooShortForEthernetAreTheKernels) {
  DpdkEngine& engine = dpdk_engine();
  engine.apply(case_file().configuration);
  const Bytes& whole = case_file().cases.front().steps.front().frame;
  for (size_t length = 0; length < 14; ++length) {
    const Result result = engine.run(ByteView(whole).first(length), kStart_ms);
    EXPECT_EQ(result.fault, "");
    EXPECT_EQ(result.counter, LINIMO_OUTCOME_kernel) << length;
    EXPECT_EQ(result.bytes, Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length)));
  }
}

}  // namespace
}  // namespace linimo::tests
