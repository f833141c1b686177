// What a service manager hears of a daemon, on a socket as it listens on.

#include "maglev/service_manager.h"

#include <cstdlib>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "controlplane/service_reports.h"
#include "dataplane/service_reports.h"
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

}  // namespace
}  // namespace linimo
