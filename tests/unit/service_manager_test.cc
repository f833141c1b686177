// What a service manager hears of a daemon, on a socket as it listens on, and how a line of its log looks.

#include "maglev/service_manager.h"

#include <cstdlib>

#include <gtest/gtest.h>
#include <spdlog/details/log_msg.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "controlplane/service_reports.h"
#include "dataplane/service_reports.h"
#include "maglev/log_format.h"
#include "maglev/unique_fd.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

class Listener {
 public:
  Listener() {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    const std::string path = folder_.path() / "notify";
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    setenv("NOTIFY_SOCKET", path.c_str(), 1);
  }
  ~Listener() { unsetenv("NOTIFY_SOCKET"); }

  /// Empty: nothing was said.
  std::string heard() const {
    char text[256];
    const ssize_t length = recv(fd_.get(), text, sizeof text, MSG_DONTWAIT);
    return length > 0 ? std::string(text, static_cast<size_t>(length)) : "";
  }

 private:
  TemporaryFolder folder_;
  UniqueFd fd_{socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
};

TEST(ServiceManager, HearsOnceThatItIsReady) {
  const Listener listener;
  ServiceManager manager;
  manager.ready();
  manager.ready();
  EXPECT_EQ(listener.heard(), "READY=1");
  EXPECT_EQ(listener.heard(), "");
  manager.stopping();
  EXPECT_EQ(listener.heard(), "STOPPING=1");
}

TEST(ServiceManager, HearsThatItIsAliveAndHowItIsWhenThatChanges) {
  const Listener listener;
  ServiceManager manager;
  manager.look(true, "one");
  EXPECT_EQ(listener.heard(), "WATCHDOG=1");
  EXPECT_EQ(listener.heard(), "STATUS=one");
  manager.look(true, "one");
  EXPECT_EQ(listener.heard(), "WATCHDOG=1");
  EXPECT_EQ(listener.heard(), "");
  manager.look(false, "two");
  EXPECT_EQ(listener.heard(), "STATUS=two");
  EXPECT_EQ(listener.heard(), "");
}

TEST(ServiceManager, HearsWhichProcessIsTheServiceNow) {
  const Listener listener;
  ServiceManager manager;
  manager.main_process(4711);
  EXPECT_EQ(listener.heard(), "MAINPID=4711");
}

TEST(ServiceManager, IsNotNeeded) {
  ServiceManager manager;
  manager.ready();
  manager.look(true, "one");
  manager.stopping();
}

TEST(ServiceReports, OneThreadThatStandsStillIsEnough) {
  ConditionBoard board;
  EXPECT_TRUE(all_go_round(board)) << "engine xdp has none";
  board.set("dataplane-alive", "worker 0", ConditionState::kHolds);
  board.set("carrier", "eth0", ConditionState::kFails, "no carrier");
  EXPECT_TRUE(all_go_round(board)) << "no restart helps against that";
  board.set("dataplane-alive", "worker 1", ConditionState::kFails, "it has stood still");
  EXPECT_FALSE(all_go_round(board));
  board.set("dataplane-alive", "worker 1", ConditionState::kHolds);
  EXPECT_TRUE(all_go_round(board));
}

TEST(ServiceReports, SayHowTheDataPlaneIs) {
  ConditionBoard board;
  EXPECT_EQ(service_status(std::nullopt, false, board), "has no tables yet, no control plane");
  EXPECT_EQ(service_status(12, true, board), "forwards by generation 12");
  board.set("carrier", "eth0", ConditionState::kFails, "no carrier");
  EXPECT_EQ(service_status(12, true, board), "forwards by generation 12, 1 condition(s) fail: linimo status");
}

TEST(ServiceReports, SayHowTheControlPlaneIs) {
  EXPECT_EQ(service_status(0, false, ""), "waits for the data plane");
  EXPECT_EQ(service_status(0, true, ""), "no generation yet, serves");
  EXPECT_EQ(service_status(12, true, "eth0: no carrier"), "generation 12, does not serve: eth0: no carrier");
}

TEST(LogFormat, QuotesAValueOnlyWhereItNeedsIt) {
  const auto quoted = [](std::string_view value) {
    std::string line = "key=";
    append_log_value(line, value);
    return line.substr(4);
  };
  EXPECT_EQ(quoted("203.0.113.10:80"), "203.0.113.10:80");
  EXPECT_EQ(quoted(""), R"("")");
  EXPECT_EQ(quoted("two words"), R"("two words")");
  EXPECT_EQ(quoted("a=b"), R"("a=b")");
  EXPECT_EQ(quoted(R"(a"b\c)"), R"("a\"b\\c")");
  EXPECT_EQ(quoted("a\nlevel=info\x7f"), R"("a\x0alevel=info\x7f")");
  EXPECT_EQ(quoted("\u00e9"), "\"\u00e9\"");
}

TEST(LogFormat, NothingThatIsSaidLooksLikeALineOfItsOwn) {
  const auto line = [](LogText text, std::string_view said, spdlog::level::level_enum level) {
    spdlog::memory_buf_t line;
    const auto formatter = make_log_formatter(text)->clone();
    formatter->format(spdlog::details::log_msg("", level, said), line);
    const std::string whole(line.data(), line.size());
    return whole.substr(whole.find(" level="));
  };
  EXPECT_EQ(line(LogText::kSentence, "no port\nlevel=info msg=\"fine\"", spdlog::level::warn),
            " level=warn msg=\"no port\\x0alevel=info msg=\\\"fine\\\"\"\n");
  EXPECT_EQ(line(LogText::kFields, "msg=x key=y", log_level("error")), " level=error msg=x key=y\n");
  EXPECT_EQ(line(LogText::kFields, "msg=x", spdlog::level::critical), " level=error msg=x\n");
}

}  // namespace
}  // namespace linimo
