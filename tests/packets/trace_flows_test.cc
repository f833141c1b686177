// `linimo trace` of flows that nobody has foreseen: of each packet it says what then becomes of it, whether
// its flow is known or new, and whatever changes the tables meanwhile.

#include <random>
#include <string_view>

#include "tests/packets/mutator.h"
#include "tests/packets/tracking_fixture.h"

namespace linimo::tests {
namespace {

constexpr size_t kRandomFlows = 10'000;
// A traced engine is asked about every one of so many packets after a table.
constexpr size_t kPacketsOfTable = 200;

class TracedFlows : public Tracking {
 protected:
  /// All backends of the pool up, some draining, some down, in turn, and every way of tracking.
  Configuration table(size_t number) {
    const linimo_backend_state state = number % 3 == 0   ? LINIMO_BACKEND_UP
                                       : number % 3 == 1 ? LINIMO_BACKEND_DRAINING
                                                         : LINIMO_BACKEND_DOWN;
    Configuration configuration = with({number % 4, number / 4 % 4}, state);
    for (ServiceSpec& service : configuration.snapshot.services) {
      if (service.tracking == LINIMO_TRACKING_FULL && number % 2 == 1)
        service.tracking = LINIMO_TRACKING_ADAPTIVE;
    }
    return configuration;
  }

  Bytes new_flow() {
    constexpr const char* kKinds[] = {"flows_spread_tracked", kUdp, kUntracked};
    Bytes frame = packet(random_() % 40'000, any_flags(), kKinds[random_() % std::size(kKinds)]);
    const bool v6 = GetParam().ip == 6;
    const size_t source = 14 + (v6 ? 8 : 12);
    // Behind the address' first two bytes, so that none becomes a martian.
    for (size_t i = 2; i < (v6 ? 16 : 4); ++i) frame[source + i] = static_cast<uint8_t>(random_());
    repair_checksum(frame);
    return frame;
  }

  uint8_t any_flags() {
    constexpr uint8_t kFlags[] = {kSyn, kSyn, kAck, kAck, kAck | kFin, kRst, kSyn | kAck};
    return kFlags[random_() % std::size(kFlags)];
  }

  std::mt19937_64 random_{20160316};
};

TEST_P(TracedFlows, EachPacketEndsAsForetoldWhileTablesChange) {
  engine.forget_configuration();
  std::vector<Bytes> flows;
  size_t forwarded = 0;
  for (size_t sent = 0; flows.size() < kRandomFlows; ++sent) {
    if (sent % kPacketsOfTable == 0) engine.apply(table(sent / kPacketsOfTable));
    if (sent == 0) engine.forget_flows();
    const bool known = !flows.empty() && random_() % 3 == 0;
    if (!known) flows.push_back(new_flow());
    const Bytes& frame = known ? flows[random_() % flows.size()] : flows.back();
    const Result result = engine.run(frame, kStart_ms + sent);
    ASSERT_EQ(result.fault, "") << "packet " << sent << ": " << hex(frame);
    forwarded += result.counter == LINIMO_OUTCOME_forwarded ? 1U : 0U;
  }
  EXPECT_GT(forwarded, kRandomFlows);
}

INSTANTIATE_TEST_SUITE_P(Engines, TracedFlows, testing::ValuesIn(only_traced()), tracked_by);

}  // namespace
}  // namespace linimo::tests
