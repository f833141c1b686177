// The path in lanes beside the usual one: whatever comes, in whatever company, the same frames leave in the
// same order, the same is counted, and the connection tables say the same.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include "maglev/counters.h"
#include "tests/packets/case_file.h"
#include "tests/packets/dpdk_engine.h"
#include "tests/packets/expect.h"
#include "tests/packets/mutator.h"

namespace linimo::tests {
namespace {

constexpr uint64_t kSeed = 20160316;
constexpr int kPackets = 300'000;      // LINIMO_LANES_PACKETS says how many else
constexpr int kEpochPackets = 15'000;  // with one set of tables that are changed once or twice meanwhile
constexpr uint64_t kFlows = 400;       // in tables for 256: buckets are full, and second ones, too

int packets_wanted() {
  const char* wanted = std::getenv("LINIMO_LANES_PACKETS");
  return wanted == nullptr ? kPackets : std::atoi(wanted);
}

/// Frames of a few flows of every service that a case sends plain packets to, between others of all kinds.
class Traffic {
 public:
  explicit Traffic(uint64_t seed) : random_(seed), mutator_(case_file(), seed) {
    for (const Case& from : case_file().cases) {
      for (const Step& step : from.steps) {
        if (step.outcome == LINIMO_OUTCOME_forwarded && step.frame.size() >= 54)
          plain_.push_back(&step.frame);
        if (!step.frame.empty()) all_.push_back(&step.frame);
      }
    }
    for (const char* name :
         {"flows_spread_tracked_v4", "flows_spread_tracked_v6", "udp_flows_spread_tracked_v4",
          "udp_flows_spread_tracked_v6", "flows_spread_untracked_v4", "flows_spread_untracked_v6"}) {
      for (const Case& from : case_file().cases) {
        if (from.name == name) many_.push_back(&from.steps.front().frame);
      }
    }
  }

  uint64_t below(uint64_t limit) { return random_() % limit; }

  /// `pure`: plain packets alone, so that whole groups are.
  std::vector<Bytes> burst(bool pure) {
    std::vector<Bytes> frames(1 + below(kMaxBurst));
    const uint64_t family = below(3);
    for (Bytes& frame : frames) {
      const uint64_t kind = pure ? 0 : below(10);
      frame = kind < 6 ? plain(family) : kind < 8 ? Bytes(mutator_.next()) : *all_[below(all_.size())];
    }
    return frames;
  }

 private:
  /// `family`: 0 and 1 say which, and where a flow goes is one of several.
  Bytes plain(uint64_t family) {
    Bytes frame = family < 2      ? *many_[2 * below(3) + family]
                  : below(2) == 0 ? *many_[below(many_.size())]
                                  : *plain_[below(plain_.size())];
    const bool v6 = frame[12] == 0x86;
    const bool v4 = frame[12] == 0x08 && frame[13] == 0x00 && frame[14] == 0x45;
    if (!v4 && !v6) return frame;
    const uint64_t flow = below(kFlows);
    const size_t source = 14 + (v6 ? 20 : 14), ports = 14 + (v6 ? 40 : 20);
    if (frame.size() < ports + 14) return frame;
    frame[source] = static_cast<uint8_t>(flow >> 4);
    frame[source + 1] = static_cast<uint8_t>(flow);
    frame[ports + 1] = static_cast<uint8_t>(flow >> 2);
    const uint8_t protocol = frame[v6 ? 20 : 23];
    if (protocol == 6) {
      constexpr uint8_t kFlags[] = {0x10, 0x10, 0x10, 0x18, 0x10, 0x02, 0x12, 0x11, 0x14, 0x04, 0x10, 0x10};
      frame[ports + 13] = kFlags[below(std::size(kFlags))];
    }
    if (!v6) {
      if (below(4) == 0) frame[20] ^= 0x40;  // don't fragment
      if (below(8) == 0) frame[15] = static_cast<uint8_t>(random_());
      repair_checksum(frame);
      if (below(50) == 0) frame[24] ^= 1;
    } else if (below(8) == 0) {
      frame[14] = static_cast<uint8_t>(0x60 | below(16));
      frame[15] = static_cast<uint8_t>(random_());
    }
    if (below(16) == 0) frame.resize(std::min<size_t>(frame.size() + below(80), 1514));  // padding
    return frame;
  }

  std::mt19937_64 random_;
  Mutator mutator_;
  std::vector<const Bytes*> plain_, all_, many_;
};

/// The case file's, with services that track in all ways, backends that are down, drain or come back, and
/// slots that learn.
Configuration changed(Traffic& traffic, linimo_tracking tracking) {
  Configuration configuration = case_file().configuration;
  for (ServiceSpec& service : configuration.snapshot.services) {
    if (service.scheduler == LINIMO_SCHEDULER_MAGLEV && traffic.below(4) != 0) service.tracking = tracking;
    if (service.scheduler == LINIMO_SCHEDULER_MAGLEV && traffic.below(20) == 0) {
      service.scheduler = LINIMO_SCHEDULER_ROUND_ROBIN;
      service.tracking = LINIMO_TRACKING_FULL;
    }
  }
  for (PoolSpec& pool : configuration.snapshot.pools) {
    for (BackendSpec& backend : pool.backends) {
      constexpr linimo_backend_state kStates[] = {LINIMO_BACKEND_DOWN, LINIMO_BACKEND_DRAINING};
      if (pool.backends.size() > 1 && traffic.below(5) == 0) backend.state = kStates[traffic.below(2)];
    }
    pool.table = make_pool_table(pool.backends, static_cast<uint32_t>(pool.table->slots.size()));
    if (pool.backends.empty() || traffic.below(2) == 0) continue;
    for (uint32_t slot = 0; slot < pool.table->slots.size(); ++slot) {
      if (traffic.below(3) != 0) continue;
      const Address base = pool.backends[traffic.below(pool.backends.size())].address;
      pool.unsettled.push_back({slot, base, static_cast<uint16_t>(1 + traffic.below(900))});
    }
  }
  return configuration;
}

std::string difference(const BurstResult& usual, const BurstResult& lanes, size_t frames) {
  if (!usual.fault.empty() || !lanes.fault.empty())
    return "a promise was broken: " + usual.fault + lanes.fault;
  if (usual.counts != lanes.counts) {
    for (int i = 0; i < LINIMO_OUTCOME_COUNT; ++i) {
      const auto at = static_cast<size_t>(i);
      if (usual.counts[at] != lanes.counts[at])
        return std::string(outcome_name(static_cast<linimo_outcome>(i))) + " counted differently";
    }
  }
  for (size_t i = 0; i < frames; ++i) {
    const Left &a = usual.left[i], &b = lanes.left[i];
    if (a.way != b.way || a.port != b.port) return "another way for frame " + std::to_string(i);
    if (a.bytes != b.bytes || a.more != b.more) {
      return "frame " + std::to_string(i) + " leaves as\n" + hex(b.bytes) + "\nand not as\n" + hex(a.bytes);
    }
  }
  return usual.order == lanes.order ? "" : "another order";
}

std::string difference(const WorkerCounters& a, const WorkerCounters& b) {
  const auto rows = [](const TrafficCount* one, const TrafficCount* other, size_t count) {
    return std::memcmp(one, other, count * sizeof(TrafficCount)) == 0;
  };
  if (a.flows_unstored != b.flows_unstored) return "flows that found no place";
  if (!rows(a.services, b.services, case_file().configuration.snapshot.services.size())) return "services";
  return rows(a.backends, b.backends, 1024) ? "" : "backends";
}

class Lanes : public testing::TestWithParam<const LanePath*> {};

std::string name_of(const testing::TestParamInfo<const LanePath*>& info) {
  return info.param->name;
}

TEST_P(Lanes, DoWhatTheUsualPathDoes) {
  DpdkEngine usual, lanes(GetParam());
  Traffic traffic(kSeed);
  Counts seen{};
  const int wanted = packets_wanted();
  uint64_t now_ms = kStart_ms;
  for (int done = 0, epoch = 0; done < wanted; ++epoch) {
    constexpr linimo_tracking kTrackings[] = {LINIMO_TRACKING_FULL, LINIMO_TRACKING_ADAPTIVE,
                                              LINIMO_TRACKING_OFF};
    const uint64_t capacity = 64 << traffic.below(6);
    for (DpdkEngine* engine : {&usual, &lanes}) {
      engine->forget_configuration();
      engine->forget_flows(capacity);
    }
    for (int end = std::min(done + kEpochPackets, wanted), change = done; done < end;) {
      if (done >= change) {
        const Configuration next = changed(traffic, kTrackings[epoch % 3]);
        usual.apply(next);
        lanes.apply(next);
        change = done + static_cast<int>(traffic.below(kEpochPackets));
      }
      const std::vector<Bytes> frames = traffic.burst(traffic.below(2) == 0);
      const std::vector<ByteView> views(frames.begin(), frames.end());
      constexpr uint64_t kNic[] = {0, 0, RTE_MBUF_F_RX_IP_CKSUM_GOOD, RTE_MBUF_F_RX_IP_CKSUM_BAD};
      const uint64_t nic = kNic[traffic.below(16) == 0 ? 3 : traffic.below(3)];
      const uint64_t steps[] = {0, 1, 20, 900, 4000, 100'000};
      now_ms += steps[traffic.below(traffic.below(8) == 0 ? 6 : 3)];
      const BurstResult first = usual.run_burst(views, now_ms, nic);
      const BurstResult second = lanes.run_burst(views, now_ms, nic);
      ASSERT_EQ(difference(first, second, frames.size()), "") << "after " << done << " packets";
      ASSERT_EQ(difference(usual.counters(), lanes.counters()), "") << "after " << done << " packets";
      const ConnectionTable &one = usual.connections(), &other = lanes.connections();
      ASSERT_TRUE(std::equal(one.words(), one.words() + one.capacity(), other.words()))
          << "connection tables differ after " << done << " packets";
      ASSERT_EQ(one.entries(), other.entries());
      if (traffic.below(16) == 0) {
        const auto as_one = [](std::vector<Result> settled) {
          std::vector<Bytes> all;
          for (Result& result : settled) all.push_back(std::move(result.bytes));
          return all;
        };
        ASSERT_EQ(as_one(usual.pass_time(now_ms)), as_one(lanes.pass_time(now_ms)));
      }
      for (size_t i = 0; i < seen.size(); ++i) seen[i] += first.counts[i];
      done += static_cast<int>(frames.size());
    }
  }
  // To agree about what never comes would show little.
  for (const linimo_outcome outcome :
       {LINIMO_OUTCOME_kernel, LINIMO_OUTCOME_no_service, LINIMO_OUTCOME_malformed,
        LINIMO_OUTCOME_bad_checksum, LINIMO_OUTCOME_martian, LINIMO_OUTCOME_no_backend,
        LINIMO_OUTCOME_no_route, LINIMO_OUTCOME_no_nexthop, LINIMO_OUTCOME_too_big_reply,
        LINIMO_OUTCOME_reject_reply})
    EXPECT_GE(seen[outcome], 30U) << outcome_name(outcome);
  EXPECT_GE(seen[LINIMO_OUTCOME_forwarded], static_cast<uint64_t>(wanted) / 3);
  EXPECT_GE(usual.counters().flows_unstored, 100U);
}

/// Most must go there in fact: packets of whole groups of plain ones, of every way of tracking.
TEST_P(Lanes, TakePlainPackets) {
  DpdkEngine engine(GetParam());
  Configuration configuration = case_file().configuration;
  for (const linimo_tracking tracking :
       {LINIMO_TRACKING_FULL, LINIMO_TRACKING_ADAPTIVE, LINIMO_TRACKING_OFF}) {
    for (ServiceSpec& service : configuration.snapshot.services) service.tracking = tracking;
    engine.apply(configuration);
    engine.forget_flows();
    for (const char* name : {"flows_spread_tracked_v4", "flows_spread_tracked_v6",
                             "udp_flows_spread_tracked_v4", "udp_flows_spread_tracked_v6"}) {
      const auto from = std::find_if(case_file().cases.begin(), case_file().cases.end(),
                                     [&](const Case& candidate) { return candidate.name == name; });
      ASSERT_NE(from, case_file().cases.end());
      std::vector<Bytes> padded;
      for (const Step& step : from->steps) {
        if (padded.size() == LaneGroup::kLanes) break;
        padded.push_back(step.frame);
        padded.back().resize(std::max<size_t>(step.frame.size(), 60));  // as Ethernet has them
      }
      const std::vector<ByteView> frames(padded.begin(), padded.end());
      for (int round = 0; round < 2; ++round) {
        const uint64_t before = engine.went_in_lanes();
        engine.run_burst(frames, kStart_ms);
        EXPECT_EQ(engine.went_in_lanes() - before, frames.size()) << name << ", tracking " << tracking;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Each, Lanes, testing::ValuesIn(lane_paths().begin(), lane_paths().end()), name_of);

}  // namespace
}  // namespace linimo::tests
