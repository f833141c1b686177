// Who takes flows in a pool whose backends are unwell, drain, start slowly or are held back.

#include "controlplane/tables/eligibility.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

constexpr HealthState kUp = HealthState::kUp;
constexpr HealthState kDown = HealthState::kDown;

Standing held() {
  Standing standing = kUp;
  standing.held_back = true;
  return standing;
}
Standing draining() {
  Standing standing = kUp;
  standing.drains = true;
  return standing;
}
Standing starting(uint32_t eighths) {
  Standing standing = kUp;
  standing.eighths = eighths;
  return standing;
}

/// A letter for each backend of a pool: U takes flows, d drains, - is down, o is out of the tables. A !
/// behind them: panic. A 0: none is up that should take flows.
std::string eligible(const std::vector<Standing>& standings, uint32_t panic = 50,
                     const std::vector<uint32_t>& weights = {}) {
  PoolConfig pool;
  pool.name = "web";
  pool.health.emplace();
  pool.health->panic = panic;
  std::map<BackendKey, Standing> known;
  for (size_t i = 0; i < standings.size(); ++i) {
    const Address address = *Address::parse("10.0.1." + std::to_string(i));
    pool.backends.push_back({address, weights.empty() ? 100 : weights[i]});
    known.emplace(BackendKey{"web", address}, standings[i]);
  }
  const PoolEligibility found = eligibility_of(pool, [&](const BackendKey& key) { return known.at(key); });
  std::string text;
  for (const Eligibility& one : found.of) text += one.state ? "Ud-"[*one.state] : 'o';
  return text + (found.panic ? "!" : "") + (found.none ? "0" : "");
}

std::vector<uint32_t> weights(const std::vector<std::pair<uint32_t, Standing>>& backends) {
  PoolConfig pool;
  pool.name = "web";
  pool.health.emplace();
  std::map<BackendKey, Standing> known;
  for (const auto& [weight, standing] : backends) {
    const Address address = *Address::parse("10.0.1." + std::to_string(known.size()));
    pool.backends.push_back({address, weight});
    known.emplace(BackendKey{"web", address}, standing);
  }
  std::vector<uint32_t> found;
  for (const Eligibility& one : eligibility_of(pool, [&](const BackendKey& key) { return known.at(key); }).of)
    found.push_back(one.weight);
  return found;
}

TEST(EligibilityTest, GivesFlowsToThoseThatAreUp) {
  EXPECT_EQ(eligible({kUp, kDown, HealthState::kUnknown, kUp}), "U-oU");
  EXPECT_EQ(eligible({kUp, kUp, kDown}, 50, {100, 0, 0}), "Ud-");
  EXPECT_EQ(eligible({draining(), kUp}), "dU");
  EXPECT_EQ(eligible({draining()}), "d") << "it was asked for";
}

TEST(EligibilityTest, DrainsByConfiguration) {
  PoolConfig pool;
  pool.name = "web";
  pool.backends = {{*Address::parse("10.0.1.1"), 100}, {*Address::parse("10.0.1.2"), 100, true}};
  const PoolEligibility found = eligibility_of(pool, [](const BackendKey&) { return kUp; });
  EXPECT_EQ(found.of[0].state, LINIMO_BACKEND_UP);
  EXPECT_EQ(found.of[1].state, LINIMO_BACKEND_DRAINING);
}

TEST(EligibilityTest, UsesAllWhereFewAreUp) {
  EXPECT_EQ(eligible({kUp, kUp, kDown, kDown}), "UU--") << "half is enough";
  EXPECT_EQ(eligible({kUp, kDown, kDown}), "UUU!");
  EXPECT_EQ(eligible({kUp, kDown, kDown}, 0), "U--");
  EXPECT_EQ(eligible({kUp, kUp, kDown}, 100), "UUU!");
  EXPECT_EQ(eligible({kDown, kDown, kDown}), "---0") << "nobody is up: there is nothing to rescue";
  EXPECT_EQ(eligible({kUp, kDown, kDown, HealthState::kUnknown, HealthState::kUnknown}, 34), "UUUoo!")
      << "unknown counts neither way";
}

TEST(EligibilityTest, KeepsThoseOutOfAPanicThatWantNoFlows) {
  EXPECT_EQ(eligible({kUp, kDown, kDown, draining()}), "UUUd!");
  EXPECT_EQ(eligible({kUp, kDown, kDown, kDown, kUp}, 50, {100, 100, 100, 0, 0}), "UUU-d!");
  EXPECT_EQ(eligible({kUp, kDown, draining(), draining()}), "U-dd") << "half of those that should";
}

TEST(EligibilityTest, HoldsBackInFavourOfOthersOnly) {
  EXPECT_EQ(eligible({held(), kUp}), "dU");
  EXPECT_EQ(eligible({held(), held()}), "UU!");
  EXPECT_EQ(eligible({held(), held()}, 0), "UU");
  EXPECT_EQ(eligible({held(), kDown}, 0), "U-");
  EXPECT_EQ(eligible({held(), held(), kUp}), "UUU!") << "a third is few, whoever else is merely held back";
}

TEST(EligibilityTest, CountsWeightsInEighthsWhileSomebodyStartsSlowly) {
  EXPECT_EQ(weights({{100, kUp}, {1, kUp}}), (std::vector<uint32_t>{100, 1}));
  EXPECT_EQ(weights({{100, kUp}, {1, starting(3)}, {0, kUp}}), (std::vector<uint32_t>{800, 3, 0}));
  EXPECT_EQ(weights({{100, starting(1)}, {100, kDown}, {100, kDown}}), (std::vector<uint32_t>{100, 100, 100}))
      << "a panic is no time to be slow";
  EXPECT_EQ(weights({{100, kUp}, {65535, starting(7)}}), (std::vector<uint32_t>{800, 458745}));
}

}  // namespace
}  // namespace linimo
