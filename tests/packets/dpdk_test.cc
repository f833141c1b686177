// What only the DPDK engine has: bursts, a NIC's verdict on checksums, the time before the first generation,
// rows of counters by service and backend.

#include <algorithm>
#include <random>

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include "maglev/counters.h"
#include "tests/packets/case_file.h"
#include "tests/packets/dpdk_engine.h"
#include "tests/packets/expect.h"

namespace linimo::tests {
namespace {

const Step& step_of(const std::string& name, size_t index = 0) {
  for (const Case& candidate : case_file().cases) {
    if (candidate.name == name) return candidate.steps.at(index);
  }
  throw std::runtime_error("no case is called " + name);
}

class Dpdk : public testing::Test {
 protected:
  void SetUp() override {
    engine.apply(case_file().configuration);
    engine.forget_flows();
  }

  /// What a frame becomes when the NIC has said something about its checksum.
  BurstResult run_with(const Bytes& frame, uint64_t nic_flags) {
    const ByteView view = frame;
    return engine.run_burst({&view, 1}, kStart_ms, nic_flags);
  }

  DpdkEngine& engine = dpdk_engine();
};

// Neighbours in a burst must not touch each other: every step again, shuffled, in bursts of every size.
TEST_F(Dpdk, BurstsTreatEachFrameAsIfItWereAlone) {
  std::vector<const Step*> steps;
  for (const Case& from : case_file().cases) {
    if (from.ordered || from.configuration != "main") continue;
    for (const Step& step : from.steps) steps.push_back(&step);
  }
  std::mt19937_64 random(7);
  std::shuffle(steps.begin(), steps.end(), random);
  for (size_t at = 0; at < steps.size();) {
    const size_t size = std::min<size_t>(1 + random() % kMaxBurst, steps.size() - at);
    std::vector<ByteView> frames;
    Counts wanted{};
    for (size_t i = at; i < at + size; ++i) {
      frames.push_back(steps[i]->frame);
      ++wanted[steps[i]->outcome];
    }
    const BurstResult result = engine.run_burst(frames, kStart_ms);
    ASSERT_EQ(result.fault, "");
    EXPECT_EQ(result.counts, wanted) << "burst of " << size;
    for (size_t i = 0; i < size; ++i) {
      EXPECT_EQ(difference_from(*steps[at + i], result.left[i]), "") << "frame in: " << hex(frames[i]);
    }
    at += size;
  }
}

// A driver whose buffers are short hands a frame on in several: wherever the border lies, what comes of it is
// the same. The kernel's frames too leave whole.
TEST_F(Dpdk, AFrameInSeveralBuffersComesOutAsInOne) {
  size_t kinds = 0, steps = 0;
  for (const Case& from : case_file().cases) {
    if (from.ordered || from.configuration != "main" || ++kinds % 3 != 0) continue;
    const Step& step = from.steps[kinds % from.steps.size()];
    for (const size_t border : {size_t{1}, size_t{14}, size_t{33}, size_t{54}, step.frame.size() - 1}) {
      if (border == 0 || border >= step.frame.size()) continue;
      const size_t parts[] = {border, step.frame.size() - border};
      const BurstResult result = engine.run_in_parts(step.frame, parts, kStart_ms);
      ASSERT_EQ(result.fault, "") << from.name << ", border at " << border;
      ASSERT_EQ(result.counts[step.outcome], 1U) << from.name << ", border at " << border;
      ASSERT_EQ(difference_from(step, result.left.front()), "") << from.name << ", border at " << border;
      ++steps;
    }
  }
  EXPECT_GE(steps, 500U);
}

TEST_F(Dpdk, BytesBehindThePacketInABufferOfTheirOwnDoNotLeave) {
  for (const char* name : {"tcp_v4_ipip4", "tcp_v6_ipip4", "echo_v4"}) {
    const Step& step = step_of(name);
    Bytes frame = step.frame;
    frame.resize(frame.size() + 300, 0xee);
    const size_t parts[] = {step.frame.size(), 100, 200};
    const BurstResult result = engine.run_in_parts(frame, parts, kStart_ms);
    EXPECT_EQ(result.fault, "") << name;
    EXPECT_EQ(difference_from(step, result.left.front()), "") << name;
  }
}

// Longer than any buffer of the port's own: only a port that is not set up as it should be makes such frames.
TEST_F(Dpdk, AFrameThatNoBufferHoldsIsDroppedByName) {
  const auto run = [&](Bytes frame, size_t first) {
    frame.resize(12'000);
    const size_t rest = (frame.size() - first) / 2;
    const size_t parts[] = {first, rest, frame.size() - first - rest};
    BurstResult result = engine.run_in_parts(frame, parts, kStart_ms);
    EXPECT_EQ(result.fault, "");
    if (result.left.front().way == Left::Way::kKernel) {
      EXPECT_EQ(result.left.front().bytes, frame);
    }
    return result.counts;
  };
  for (const size_t first : {size_t{9000}, size_t{20}, size_t{1}}) {  // the headers lie in one, or in two
    for (const char* name : {"tcp_v4_ipip4", "tcp_v6_ipip4"})
      EXPECT_EQ(run(step_of(name).frame, first)[LINIMO_OUTCOME_fragmented_frame], 1U) << name;
    for (const char* name : {"other_address_v4", "other_address_v6", "other_station_neighbour_v4"})
      EXPECT_EQ(run(step_of(name).frame, first)[LINIMO_OUTCOME_kernel], 1U) << name;
  }
}

TEST_F(Dpdk, BeforeTheFirstGenerationAllIsTheKernels) {
  engine.forget_configuration();
  for (const char* name : {"tcp_v4_ipip4", "udp_v6_gre6", "checksum_bits", "v4_version"}) {
    const Bytes& frame = step_of(name).frame;
    const Result result = engine.run(frame, kStart_ms);
    EXPECT_EQ(result.fault, "");
    EXPECT_EQ(result.counter, LINIMO_OUTCOME_kernel) << name;
    EXPECT_EQ(result.bytes, frame) << name;
  }
  EXPECT_EQ(engine.run(step_of("arp").frame, kStart_ms).counter, LINIMO_OUTCOME_kernel_control);
}

TEST_F(Dpdk, TheNicsVerdictOnTheChecksumIsTaken) {
  const Step& sound = step_of("tcp_v4_ipip4");
  EXPECT_EQ(difference_from(sound, run_with(sound.frame, RTE_MBUF_F_RX_IP_CKSUM_GOOD).left.front()), "");
  EXPECT_EQ(difference_from(sound, run_with(sound.frame, RTE_MBUF_F_RX_IP_CKSUM_NONE).left.front()), "");
  EXPECT_EQ(run_with(sound.frame, RTE_MBUF_F_RX_IP_CKSUM_BAD).counts[LINIMO_OUTCOME_bad_checksum], 1U);

  const Bytes& wrong = step_of("checksum_bits").frame;
  EXPECT_EQ(run_with(wrong, RTE_MBUF_F_RX_IP_CKSUM_NONE).counts[LINIMO_OUTCOME_bad_checksum], 1U);
  EXPECT_EQ(run_with(wrong, RTE_MBUF_F_RX_IP_CKSUM_GOOD).counts[LINIMO_OUTCOME_forwarded], 1U);

  // It is no reason to keep from the kernel what is the kernel's; and IPv6 has no such checksum.
  EXPECT_EQ(
      run_with(step_of("other_address_v4").frame, RTE_MBUF_F_RX_IP_CKSUM_BAD).counts[LINIMO_OUTCOME_kernel],
      1U);
  EXPECT_EQ(
      run_with(step_of("tcp_v6_ipip4").frame, RTE_MBUF_F_RX_IP_CKSUM_BAD).counts[LINIMO_OUTCOME_forwarded],
      1U);
}

// Lengths are judged before the checksum, whoever has summed it up.
TEST_F(Dpdk, TheNicsVerdictOnTheChecksumDoesNotHideWrongLengths) {
  for (const char* name : {"v4_total_length", "v4_header_length", "v4_version"}) {
    for (const uint64_t nic :
         {RTE_MBUF_F_RX_IP_CKSUM_BAD, RTE_MBUF_F_RX_IP_CKSUM_NONE, RTE_MBUF_F_RX_IP_CKSUM_GOOD}) {
      EXPECT_EQ(run_with(step_of(name).frame, nic).counts[LINIMO_OUTCOME_malformed], 1U) << name << nic;
    }
  }
  // And the source, and what lies behind the IP header, after it.
  for (const char* name : {"martian_loopback_v4", "tcp_lengths_v4"}) {
    EXPECT_EQ(run_with(step_of(name).frame, RTE_MBUF_F_RX_IP_CKSUM_BAD).counts[LINIMO_OUTCOME_bad_checksum],
              1U)
        << name;
  }
}

TEST_F(Dpdk, ForwardedPacketsAreCountedByServiceAndBackend) {
  const auto sum = [](const auto& rows, uint64_t TrafficCount::*field) {
    uint64_t total = 0;
    for (const TrafficCount& row : rows) total += row.*field;
    return total;
  };
  // Services count up in the order of the configuration: TCP and UDP of the first pool, whose backend is 1.
  const WorkerCounters& counters = engine.counters();
  const TrafficCount tcp = counters.services[0];
  const TrafficCount udp = counters.services[1];
  const TrafficCount backend = counters.backends[1];
  const uint64_t all_packets = sum(counters.services, &TrafficCount::packets);
  const uint64_t all_new_flows = sum(counters.backends, &TrafficCount::new_flows);
  const Bytes& tcp_frame = step_of("padded_v4_ipip4", 2).frame;  // a bare TCP header: 40 bytes, and padding
  const Bytes& udp_frame = step_of("udp_v6_ipip4", 1).frame;     // one byte of payload: 49
  for (int i = 0; i < 3; ++i) engine.run(tcp_frame, kStart_ms);
  for (int i = 0; i < 2; ++i) engine.run(udp_frame, kStart_ms);
  engine.run(step_of("v4_version").frame, kStart_ms);  // a drop is no traffic of theirs

  EXPECT_EQ(counters.services[0].packets - tcp.packets, 3U);
  EXPECT_EQ(counters.services[0].bytes - tcp.bytes, 3U * 40);
  EXPECT_EQ(counters.services[0].new_flows - tcp.new_flows, 1U);
  EXPECT_EQ(counters.services[1].packets - udp.packets, 2U);
  EXPECT_EQ(counters.services[1].bytes - udp.bytes, 2U * 49);
  EXPECT_EQ(counters.services[1].new_flows - udp.new_flows, 0U) << "not tracked";
  EXPECT_EQ(counters.backends[1].packets - backend.packets, 5U);
  EXPECT_EQ(counters.backends[1].bytes - backend.bytes, 3U * 40 + 2U * 49);
  EXPECT_EQ(sum(counters.services, &TrafficCount::packets) - all_packets, 5U);
  EXPECT_EQ(sum(counters.backends, &TrafficCount::new_flows) - all_new_flows, 1U);
}

}  // namespace
}  // namespace linimo::tests
