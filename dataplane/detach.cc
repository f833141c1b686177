#include "dataplane/detach.h"

#include <chrono>
#include <csignal>
#include <set>
#include <span>
#include <thread>

#include <fcntl.h>
#include <spdlog/spdlog.h>

#include "dataplane/dpdk/guardian.h"
#include "dataplane/dpdk/kept_memory.h"
#include "dataplane/kept_snapshot.h"
#include "dataplane/link/orphan_watch.h"
#include "dataplane/probe/probe_device.h"
#include "dataplane/xdp/pins.h"
#include "maglev/config/announce.h"
#include "maglev/config/node.h"
#include "maglev/os/process_lock.h"
#include "maglev/program.h"
#include "maglev/snapshot.h"

namespace linimo {
namespace {

constexpr std::chrono::seconds kEndLimit{10};
constexpr std::chrono::seconds kWithdrawalHeard{1};

/// Withdraws what is announced, once nobody is left who would announce it anew, and gives routers the time to
/// send their packets elsewhere while what the xdp engine left to the kernel still forwards.
void withdraw(const std::string& config_file, const std::filesystem::path& runtime_dir) {
  std::set<uint32_t> tables;
  if (const auto announce = load_announce_config(config_file); announce && *announce)
    tables.insert((*announce)->table);
  // What was live says it as well: in a fleet it may have come from the store.
  if (const auto kept = read_kept_snapshot(runtime_dir / kSnapshotFile); kept && *kept) {
    const auto view = SnapshotView::validate(std::as_bytes(std::span(**kept)));
    if (view && view->header().announce_table != 0) tables.insert(view->header().announce_table);
  }
  size_t routes = 0;
  for (const uint32_t table : tables) routes += remove_announcements(table);
  if (routes == 0) return;
  spdlog::info("{} announced VIPs withdrawn; forwarding goes on for {} s, until routers have heard of it",
               routes, kWithdrawalHeard.count());
  std::this_thread::sleep_for(kWithdrawalHeard);
}

}  // namespace

int detach(const std::string& config_file) {
  const auto config = load_node_config(config_file);
  if (!config) {
    spdlog::error("{}", config.error());
    return kFailed;
  }
  const UniqueFd lock(open((config->runtime_dir / kDataPlane.file).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (lock) {
    const pid_t pid = try_lock(lock.get()) ? 0 : lock_holder(lock.get());
    if (pid > 0) {
      spdlog::info("ending the data plane (pid {})", pid);
      kill(pid, SIGTERM);
      const auto limit = std::chrono::steady_clock::now() + kEndLimit;
      while (!try_lock(lock.get())) {
        if (std::chrono::steady_clock::now() > limit) {
          spdlog::error("pid {} has not ended within {} s; nothing was detached", pid, kEndLimit.count());
          return kFailed;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
  }
  withdraw(config_file, config->runtime_dir);
  remove_orphaned_probe_rules();
  const auto given_back = dpdk::give_back_orphaned(dpdk::journal_in(config->runtime_dir));
  auto done = xdp::detach_all(config->runtime_dir);
  if (!done) {
    spdlog::error("{}", done.error());
    return kFailed;
  }
  done->insert(done->begin(), given_back.begin(), given_back.end());
  if (dpdk::forget_kept_memory(config->runtime_dir)) done->push_back("connection tables: removed");
  for (const std::string& line : *done) spdlog::info("{}", line);
  if (done->empty()) spdlog::info("nothing was attached");
  return 0;
}

}  // namespace linimo
