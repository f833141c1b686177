// The link while the engine loads what an answer takes: that answer waits, nothing else does.

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "dataplane/link/counters_memory.h"
#include "dataplane/link/server.h"
#include "maglev/os/seqpacket.h"
#include "tests/unit/temporary_folder.h"
#include "tests/unit/validating_engine.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class LinkServerTest : public testing::Test {
 protected:
  /// As the control plane.
  UniqueFd connect() {
    UniqueFd fd = std::move(*connect_seqpacket(path_));
    const protocol::Hello hello{.abi_oldest = LINIMO_ABI_VERSION, .abi_newest = LINIMO_ABI_VERSION};
    EXPECT_TRUE(send_message(fd.get(), protocol::encode(hello)));
    EXPECT_TRUE(answer<protocol::Welcome>(fd));
    return fd;
  }

  /// What has come, or comes within that time.
  template <typename Answer>
  std::optional<Answer> answer(const UniqueFd& fd, milliseconds longest = seconds(10)) {
    const auto until = std::chrono::steady_clock::now() + longest;
    do {
      loop_.run_once(milliseconds(10));
      auto message = receive_message(fd.get(), protocol::kMaxMessageSize);
      if (!message || !*message) continue;
      if (auto found = protocol::decode<Answer>((*message)->bytes)) return *found;
    } while (std::chrono::steady_clock::now() < until);
    return std::nullopt;
  }

  protocol::Trace question(uint32_t number) {
    protocol::Trace trace;
    trace.number = number;
    trace.length = 64;
    return trace;
  }

  protocol::Capture capture() {
    protocol::Capture capture;
    capture.number = 5;
    capture.snap = capture.rate = 100;
    capture.steps = 1;
    capture.filter[0] = {.code = 0x06, .k = 100};  // RET: every packet
    return capture;
  }

  TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "dataplane.sock";
  EventLoop loop_;
  ValidatingEngine engine_;
  CountersMemory counters_{1};
  ConditionBoard board_;
  Reports reports_{board_};
  LinkServer server_{
      loop_, path_, engine_, {"xdp", "test", counters_.fd()}, reports_, [](const SnapshotView&) {}};
};

TEST_F(LinkServerTest, AnswersOtherQuestionsWhileATraceWaits) {
  engine_.ready = false;
  const UniqueFd asker = connect();
  ASSERT_TRUE(send_message(asker.get(), protocol::encode(question(7))));
  EXPECT_FALSE(answer<protocol::Traced>(asker, milliseconds(200)));
  ASSERT_TRUE(send_message(asker.get(), protocol::encode(protocol::FindFlows{})));
  EXPECT_TRUE(answer<protocol::FoundFlows>(asker));
  engine_.ready = true;
  const auto traced = answer<protocol::Traced>(asker);
  ASSERT_TRUE(traced);
  EXPECT_EQ(traced->number, 7U);
  EXPECT_EQ(protocol::text_of(traced->error), "");
}

TEST_F(LinkServerTest, AnswersACaptureOnceItHasBegun) {
  engine_.ready = false;
  const UniqueFd asker = connect();
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd into(ends[0]), ours(ends[1]);
  ASSERT_TRUE(send_message(asker.get(), protocol::encode(capture()), {&ends[0], 1}));
  EXPECT_FALSE(answer<protocol::Capturing>(asker, milliseconds(200)));
  engine_.ready = true;
  const auto begun = answer<protocol::Capturing>(asker);
  ASSERT_TRUE(begun);
  EXPECT_EQ(protocol::text_of(begun->error), "");
}

TEST_F(LinkServerTest, ForgetsWhoHasGoneMeanwhile) {
  engine_.ready = false;
  UniqueFd asker = connect();
  ASSERT_TRUE(send_message(asker.get(), protocol::encode(question(7))));
  EXPECT_FALSE(answer<protocol::Traced>(asker, milliseconds(100)));
  asker.reset();
  const UniqueFd other = connect();
  ASSERT_TRUE(send_message(other.get(), protocol::encode(question(8))));
  EXPECT_FALSE(answer<protocol::Traced>(other, milliseconds(100)));
  engine_.ready = true;
  const auto traced = answer<protocol::Traced>(other);
  ASSERT_TRUE(traced);
  EXPECT_EQ(traced->number, 8U);
}

TEST_F(LinkServerTest, KeepsAFewQuestionsOnly) {
  engine_.ready = false;
  const UniqueFd asker = connect();
  bool cut_off = false;
  for (uint32_t i = 0; i < 100 && !cut_off; ++i) {
    cut_off = !send_message(asker.get(), protocol::encode(question(i)));
    loop_.run_once(milliseconds(0));
  }
  EXPECT_TRUE(cut_off);
}

}  // namespace
}  // namespace linimo
