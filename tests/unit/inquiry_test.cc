// Asking the loop that decides: however many backends there are and however many ask, each step of its is
// short, and what comes of it is whole.

#include "controlplane/api/inquiry.h"

#include <ctime>

#include <gtest/gtest.h>

#include "controlplane/log.h"
#include "controlplane/metrics/metrics.h"
#include "tests/unit/fake_prober.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

/// Of this thread, so that a busy machine does not spoil what is measured.
// A build that checks every access takes many times as long, and so does one that optimizes nothing.
#if defined(__SANITIZE_ADDRESS__) || defined(__clang__) || defined(LINIMO_COVERAGE)
constexpr int kSlower = 30;
#else
constexpr int kSlower = 1;
#endif

std::chrono::nanoseconds cpu_time() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

class InquiryTest : public testing::Test {
 protected:
  void start(uint32_t backends) {
    set_log_level("error");
    Config config;
    config.node.name = "lb1";
    config.node.runtime_dir = config.node.state_dir = folder_.path();
    for (const char* name : {"first", "empty", "last"}) {
      PoolConfig pool;
      pool.name = name;
      config.pools.push_back(pool);
    }
    for (uint32_t i = 0; i < backends; ++i) {
      Address address = *Address::parse("10.0.0.0");
      for (int byte = 0; byte < 3; ++byte) address.bytes[15 - byte] = static_cast<uint8_t>(i >> (8 * byte));
      config.pools[i < backends / 2 ? 0 : 2].backends.push_back({address, 100});
    }
    controller_.emplace(deciding_, std::move(config), prober_);
    inquiry_.emplace(serving_, deciding_, *controller_);
  }

  /// Until nothing is left to do; the longest that the loop that decides was busy without a pause.
  std::chrono::nanoseconds run() {
    std::chrono::nanoseconds longest{};
    for (bool busy = true; busy;) {
      serving_.restart();
      busy = serving_.poll() != 0;
      deciding_.restart();
      for (auto begin = cpu_time(); deciding_.poll_one() != 0; begin = cpu_time()) {
        longest = std::max(longest, cpu_time() - begin);
        busy = true;
        ++steps_;
      }
    }
    return longest;
  }

  static Inquiry::Choose range(size_t first, size_t count) {
    return [=](const Config&) { return BackendRange{first, count}; };
  }

  TemporaryFolder folder_;
  boost::asio::io_context serving_;
  boost::asio::io_context deciding_;
  FakeProber prober_{deciding_};
  std::optional<Controller> controller_;
  std::optional<Inquiry> inquiry_;
  int steps_ = 0;
};

TEST_F(InquiryTest, CopiesManyBackendsInShortSteps) {
  start(65'535);
  std::shared_ptr<const NodeState> state;
  inquiry_->everything([&](const StateResult& result) { state = *result; });
  const auto longest = run();
  ASSERT_NE(state, nullptr);
  EXPECT_EQ(state->backends.size(), 65'535u);
  EXPECT_GT(steps_, 10);
  EXPECT_LT(longest, kSlower * std::chrono::milliseconds(5));
}

TEST_F(InquiryTest, MakesAPageOfTwentyThousandBackendsInHalfASecond) {
  start(20'000);
  std::string page;
  const auto begin = cpu_time();
  inquiry_->everything([&](const StateResult& result) { page = metrics_page(**result); });
  run();
  EXPECT_LT(cpu_time() - begin, kSlower * std::chrono::milliseconds(500));
  EXPECT_NE(page.find("linimo_backend_up{pool=\"last\",backend=\"10.0.78.31\"} 1\n"), std::string::npos);
}

TEST_F(InquiryTest, GivesTheRangeThatIsAskedFor) {
  start(10);
  const auto addresses = [&](size_t first, size_t count) {
    std::string found;
    inquiry_->backends(range(first, count), [&](const StateResult& result) {
      for_each_backend(**result,
                       [&](const PoolConfig& pool, const BackendConfig& backend, const BackendState&) {
                         found += pool.name.substr(0, 1) + std::to_string(backend.address.bytes[15]) + " ";
                       });
    });
    run();
    return found;
  };
  EXPECT_EQ(addresses(0, 10), "f0 f1 f2 f3 f4 l5 l6 l7 l8 l9 ");
  EXPECT_EQ(addresses(3, 4), "f3 f4 l5 l6 ");
  EXPECT_EQ(addresses(5, 1), "l5 ");
  EXPECT_EQ(addresses(10, 0), "");
}

TEST_F(InquiryTest, AnswersManyWithOneCopy) {
  start(1000);
  std::set<const NodeState*> states;
  std::vector<std::shared_ptr<const NodeState>> kept;
  for (int i = 0; i < 50; ++i) {
    inquiry_->everything([&](const StateResult& result) {
      kept.push_back(*result);
      states.insert(result->get());
    });
  }
  run();
  EXPECT_EQ(kept.size(), 50u);
  EXPECT_EQ(states.size(), 2u) << "the one under way, and one for all who came meanwhile";
}

TEST_F(InquiryTest, PassesOnWhyNothingIsChosen) {
  start(3);
  std::string why;
  inquiry_->backends([](const Config&) { return tl::unexpected(std::string("no such backend")); },
                     [&](const StateResult& result) { why = result ? "found" : result.error(); });
  bool headed = false;
  inquiry_->head([&](const StateResult& result) { headed = result.has_value(); });
  run();
  EXPECT_EQ(why, "no such backend");
  EXPECT_TRUE(headed);
}

}  // namespace
}  // namespace linimo
