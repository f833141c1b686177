// Replies are limited, and a flood that answers go to does not silence those to others: both engines.

#include <algorithm>

#include "tests/packets/mutator.h"
#include "tests/packets/tracking_fixture.h"

namespace linimo::tests {
namespace {

constexpr uint32_t kRate = 40;
constexpr uint32_t kFlooders = 8, kOthers = 8;  // networks; the others want less than is kept for them
constexpr uint32_t kFlood = 40;                 // questions of each

class ReplyLimit : public testing::TestWithParam<TrackedBy> {
 protected:
  void SetUp() override {
    Configuration limited = case_file().configuration;
    limited.snapshot.reply_rate = kRate;
    engine.apply(limited);
    engine.forget_flows();
  }
  void TearDown() override { engine.make_room_for(Engine::kUsualFlows); }

  /// The first step of a case, from a host of one network or another.
  Bytes question(const std::string& wanted, uint32_t network, uint32_t host) const {
    const auto& cases = case_file().cases;
    const auto found =
        std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return c.name == wanted; });
    if (found == cases.end()) throw std::runtime_error("no case is called " + wanted);
    Bytes frame = found->steps.front().frame;
    const bool v6 = GetParam().ip == 6;
    const size_t source = 14 + (v6 ? 8 : 12);
    frame[source + (v6 ? 6 : 2)] = static_cast<uint8_t>(network);         // the last byte of a /24 or a /56
    frame[source + (v6 ? 7 : 3)] = static_cast<uint8_t>(1 + host % 200);  // behind it
    repair_checksum(frame);
    return frame;
  }

  Engine& engine = GetParam().start();
};

TEST_P(ReplyLimit, AFloodDoesNotSilenceAnswersToOthers) {
  // Each kind has limits of its own; "too big" answers are those that whole connections hang on.
  const std::string version = "v" + std::to_string(GetParam().ip);
  for (const std::string& name : {"echo_" + version, "too_big_reply_" + version + "_small_ipip4"}) {
    uint64_t now_ms = kStart_ms + 1'000'000;
    const auto answered = [&](uint32_t network, uint32_t host) {
      const Result result = engine.run(question(name, network, host), now_ms);
      EXPECT_EQ(result.fault, "");
      if (result.counter == LINIMO_OUTCOME_rate_limited) return 0U;
      EXPECT_TRUE(result.counter == LINIMO_OUTCOME_echo_reply ||
                  result.counter == LINIMO_OUTCOME_too_big_reply)
          << outcome_name(result.counter);
      return 1U;
    };
    uint32_t of_flood = 0;
    for (uint32_t i = 0; i < kFlood; ++i) {
      for (uint32_t network = 0; network < kFlooders; ++network) of_flood += answered(network, i);
    }
    EXPECT_GE(of_flood, kRate / 2) << "a flood gets what nobody else wants";
    EXPECT_LE(of_flood, kRate + kRate / 2) << "and no more than the limit";
    uint32_t of_others = 0;
    for (uint32_t network = 100; network < 100 + kOthers; ++network) of_others += answered(network, 1);
    EXPECT_GE(of_others, kOthers - 2) << "but for those that stand at a flooder's place";
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, ReplyLimit, testing::ValuesIn(kTrackedBy), tracked_by);

}  // namespace
}  // namespace linimo::tests
