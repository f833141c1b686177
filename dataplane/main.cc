// linimo-dataplane: forwards packets by the tables that the control plane sends.
//
// Exit codes: 0 asked to end, 1 it could not start or go on, 2 wrong usage.

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <net/if.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <xxhash.h>

#include "dataplane/detach.h"
#include "dataplane/dpdk/engine.h"
#include "dataplane/dpdk/kept_memory.h"
#include "dataplane/dpdk/start_watch.h"
#include "dataplane/engine_choice.h"
#include "dataplane/handover/giver.h"
#include "dataplane/handover/taker.h"
#include "dataplane/handover/upgrade.h"
#include "dataplane/kept_snapshot.h"
#include "dataplane/link/orphan_watch.h"
#include "dataplane/link/server.h"
#include "dataplane/nexthop/resolver.h"
#include "dataplane/probe/probe_path.h"
#include "dataplane/service_reports.h"
#include "dataplane/xdp/engine.h"
#include "maglev/config/node.h"
#include "maglev/harden.h"
#include "maglev/log_format.h"
#include "maglev/os/process_lock.h"
#include "maglev/program.h"
#include "maglev/service_manager.h"
#include "maglev/state_file.h"

namespace linimo {
namespace {

constexpr int kStartAnew = -1;  // no exit code
constexpr std::chrono::milliseconds kServicePeriod{500};

/// Forwards by what was live when the last data plane ended. True if there was something, and it was sound.
bool restore(EngineBase& engine, const std::filesystem::path& file) {
  const auto kept = read_kept_snapshot(file);
  if (!kept) spdlog::warn("kept snapshot not used: {}", kept.error());
  if (!kept || !*kept) return false;
  if (auto published = engine.publish(std::as_bytes(std::span(**kept))); !published) {
    spdlog::warn("kept snapshot {} not used: {}", file.string(), published.error());
    return false;
  }
  spdlog::info("forwarding by the kept generation {} until a control plane connects",
               engine.live()->header().generation);
  return true;
}

/// From here on a wish to end waits for whoever hears it: the start's watch, or the loop.
void hold_end_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM}) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

/// Nobody can be forked in its place: by now there are threads.
void watch_guardian(EventLoop& loop, const dpdk::Guardian& guardian, ConditionBoard& board) {
  board.set("guardian-alive", "", ConditionState::kHolds);
  loop.add(guardian.ended_fd(), [&] {
    loop.remove(guardian.ended_fd());
    board.set("guardian-alive", "", ConditionState::kFails,
              "it was killed: were the data plane killed too, the host would be without its addresses until "
              "`linimo dataplane detach` or the next start",
              "systemctl restart linimo-dataplane");
  });
}

/// Everything that relies on the engine, from when it is there until the loop is told to stop. `taker`: of a
/// process that takes over, with the device that it was given.
void serve(const NodeConfig& config, EventLoop& loop, EngineBase& engine, ConditionBoard& board,
           ServiceManager& manager, const EngineChoice& choice, handover::Giver& giver,
           std::optional<handover::Taker>& taker, UniqueFd probe_device) {
  const std::filesystem::path kept = config.runtime_dir / kSnapshotFile;
  Reports reports(board);
  Resolver resolver(loop, engine, board,
                    [&](uint32_t backend_id, auto state) { reports.next_hop(backend_id, state); });
  const bool pinned = engine.live().has_value();
  const bool restored = pinned || restore(engine, kept);
  if (restored) resolver.follow(*engine.live());
  const auto on_accepted = [&](const SnapshotView& live) {
    resolver.follow(live);
    if (auto done = keep_snapshot(kept, live.bytes()); !done)
      spdlog::warn("a data plane that starts alone will forward by an older generation: {}", done.error());
  };
  auto probes = ProbePath::open(loop, config, engine, board, std::move(probe_device));
  if (!probes) {
    spdlog::warn("no health checks through the tunnel: {}", probes.error());
    board.set("tunnel-check-path", "", ConditionState::kFails, probes.error());
  }
  const std::string manner = engine.manner();
  const std::string reason = manner.empty() ? choice.reason : fmt::format("{}; {}", choice.reason, manner);
  LinkServer link(loop, config.dataplane_socket(), engine,
                  {choice.engine == Engine::kXdp ? "xdp" : "dpdk", reason, engine.counters_fd()}, reports,
                  on_accepted);
  // What was read anew is aged already.
  link.set_live(restored,
                std::chrono::steady_clock::now() - (pinned ? age_of_kept(kept) : std::chrono::seconds(0)));
  link.on_traced([&](uint32_t backend_id, protocol::Traced& traced) {
    const auto route = resolver.route_of(backend_id);
    if (!route) return;
    char device[IF_NAMESIZE] = {};
    if (if_indextoname(static_cast<unsigned>(route->device), device) != nullptr)
      protocol::set_text(traced.device, device);
    traced.gateway = route->gateway.to_abi();
  });
  link.on_upgrade([&](UniqueFd asker) { giver.ask(std::move(asker)); });
  OrphanWatch orphans(
      [&] { return link.controller_gone_since(); },
      [&] {
        const auto live = engine.live();
        return live ? Announcements{live->header().announce_table,
                                    std::chrono::milliseconds(live->header().orphan_timeout_ms)}
                    : Announcements{};
      });
  loop.every(OrphanWatch::kPeriod, [&] { orphans.look(); });
  loop.every(kServicePeriod, [&] {
    const auto live = engine.live();
    manager.look(all_go_round(board),
                 service_status(live ? std::optional(live->header().generation) : std::nullopt,
                                !link.controller_gone_since(), board));
  });
  manager.ready();
  spdlog::info("ready: waiting for a control plane on {}", config.dataplane_socket().string());
  if (taker) taker->forwards();
  loop.run();
  if (!giver.gives()) return;
  link.tell_of_hand_over(handover::giving_limit(choice.engine == Engine::kXdp));
  if (!probes) return;
  const UniqueFd device = (*probes)->hand_over();
  if (device) giver.give(handover::PartKind::kProbeDevice, device.get());
}

handover::Prepared identity(const NodeConfig& config, Engine engine) {
  handover::Prepared own;
  const std::string place =
      fmt::format("{}\n{}", config.runtime_dir.string(), fmt::join(config.interfaces, "\n"));
  own.place = XXH3_64bits(place.data(), place.size());
  protocol::set_text(own.engine, engine == Engine::kXdp ? "xdp" : "dpdk");
  return own;
}

/// The runtime folder's, from the process before if that hands over.
tl::expected<handover::Taken, std::string> take(const NodeConfig& config, const handover::Prepared& own,
                                                std::optional<handover::Taker>& taker) {
  if (taker) {
    auto taken = taker->take(own);
    if (taken) {
      if (auto noted = note_lock_holder(taken->lock.get()); !noted) return tl::unexpected(noted.error());
    }
    return taken;
  }
  auto lock = lock_runtime_dir(config.runtime_dir, kDataPlane);
  if (!lock) return tl::unexpected(lock.error());
  handover::Taken alone;
  alone.lock = std::move(*lock);
  return alone;
}

/// The guardian of the process before if that hands over; else one of this process's own.
void have_guardian(const NodeConfig& config, handover::Taken& taken,
                   std::optional<dpdk::Guardian>& guardian) {
  const auto journal = dpdk::journal_in(config.runtime_dir);
  if (taken.guardian) {
    guardian.emplace(journal, std::move(taken.guardian), std::move(taken.guardian_end));
  } else {
    guardian.emplace(journal);
  }
}

tl::expected<std::unique_ptr<EngineBase>, std::string> start_dpdk(const NodeConfig& config,
                                                                  std::optional<dpdk::Eal> eal,
                                                                  dpdk::Guardian& guardian,
                                                                  std::vector<UniqueFd> taps, EventLoop& loop,
                                                                  ConditionBoard& board) {
  const dpdk::StartWatch start_watch(fmt::format("{}", fmt::join(config.interfaces, ", ")));
  if (!eal) {
    auto made = dpdk::start_eal(config, false);
    if (!made) return tl::unexpected(made.error());
    eal = std::move(*made);
  }
  return dpdk::DpdkEngine::start(config, std::move(*eal), guardian, std::move(taps), loop, board);
}

/// What can only be had again from here. False: the new process has ended unasked.
bool give(handover::Giver& giver, const UniqueFd& lock, const std::vector<UniqueFd>& devices,
          std::optional<dpdk::Guardian>& guardian) {
  using enum handover::PartKind;
  giver.give(kLock, lock.get());
  for (const UniqueFd& tap : devices) giver.give(kTap, tap.get());
  if (guardian) {
    giver.give(kGuardian, guardian->alive_fd());
    giver.give(kGuardianEnd, guardian->ended_fd());
  }
  const bool forwards = giver.new_one_forwards();
  if (forwards && guardian) guardian->leave();
  return forwards;
}

int run(const std::string& config_file, char** argv) {
  hold_end_signals();
  const std::string program = handover::own_program();  // by the name that it has before it is replaced
  auto taker = handover::Taker::from_environment();
  const auto fail = [&](const std::string& why) {
    spdlog::error("{}", why);
    if (taker) taker->fail(why);
    return kFailed;
  };
  const auto config = load_node_config(config_file);
  if (!config) return fail(config.error());
  const EngineChoice choice = choose_engine(*config);
  const bool xdp = choice.engine == Engine::kXdp;
  const handover::Prepared own = identity(*config, choice.engine);
  std::optional<dpdk::Eal> eal;
  if (taker && !xdp) {  // DPDK takes a moment to start, in which the process before forwards
    const dpdk::StartWatch start_watch("DPDK");
    auto made = dpdk::start_eal(*config, true);
    if (!made) return fail(made.error());
    eal = std::move(*made);
  }
  auto taken = take(*config, own, taker);
  if (!taken) return fail(taken.error());
  spdlog::info("node {}: engine {} ({})", config->name, xdp ? "xdp" : "dpdk", choice.reason);

  if (const auto left = xdp::interfaces_left(config->runtime_dir); !xdp && !left.empty()) {
    return fail(fmt::format(
        "engine xdp still forwards on {}: end that by `linimo dataplane detach --config {}` first",
        fmt::join(left, ", "), config_file));
  }

  if (xdp) dpdk::forget_kept_memory(config->runtime_dir);

  if (!taken->guardian) {  // of a predecessor that was killed together with its guardian
    for (const std::string& line : dpdk::give_back_orphaned(dpdk::journal_in(config->runtime_dir)))
      spdlog::warn("{}", line);
  }
  std::optional<dpdk::Guardian> guardian;
  if (!xdp) have_guardian(*config, *taken, guardian);  // before DPDK and its threads: it may fork
  EventLoop loop;
  ServiceManager manager;
  bool asked_to_end = false;
  loop.on_signals({SIGINT, SIGTERM}, [&](int signal) {
    asked_to_end = true;
    manager.stopping();
    spdlog::info("{}: ending{}", strsignal(signal),
                 xdp ? "; forwarding goes on (`linimo dataplane detach` ends it)" : "");
    loop.stop();
  });
  ConditionBoard board;
  tl::expected<std::unique_ptr<EngineBase>, std::string> started;
  if (xdp) {
    started = xdp::XdpEngine::start(*config, loop, board);
  } else {
    started = start_dpdk(*config, std::move(eal), *guardian, std::move(taken->taps), loop, board);
  }
  if (!started) return fail(started.error());
  EngineBase& engine = **started;
  if (guardian) watch_guardian(loop, *guardian, board);

  handover::Giver giver(loop, manager, {.program = program, .arguments = argv, .is = own});
  serve(*config, loop, engine, board, manager, choice, giver, taker, std::move(taken->probe_device));
  const std::string outdated = engine.outdated();
  std::vector<UniqueFd> devices;
  if (giver.gives()) devices = engine.devices();
  started->reset();
  if (giver.gives() && !asked_to_end && handover::pending_end_signal() == 0) {
    if (give(giver, taken->lock, devices, guardian)) return 0;
    devices.clear();  // the guardian waits for the TAPs to go
    if (guardian) guardian->release();
    return kStartAnew;
  }
  devices.clear();
  if (guardian) {
    loop.remove(guardian->ended_fd());
    guardian->release();
  }
  if (outdated.empty() || asked_to_end) return 0;
  spdlog::warn("{}: starting anew", outdated);
  return kStartAnew;
}

/// The same program with the same arguments, in this process, so that whoever watches over it need not know.
int start_anew(char** argv) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);  // the event loop's signals
  close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);  // DPDK's hugepages among them
  execv("/proc/self/exe", argv);
  spdlog::error("cannot start anew: {}", std::strerror(errno));
  return kFailed;
}

}  // namespace
}  // namespace linimo

int main(int argc, char** argv) {
  CLI::App app("Linimo's data plane: forwards packets by the tables that linimo-controlplane sends.",
               "linimo-dataplane");
  std::string config_file = linimo::kConfigFile;
  std::string log_level = "info";
  app.add_option("--config", config_file, linimo::kConfigFileText)->capture_default_str();
  app.add_option("--log-level", log_level, linimo::kLogLevelsText)
      ->check(CLI::IsMember(
          std::vector<std::string>(std::begin(linimo::kLogLevels), std::end(linimo::kLogLevels))))
      ->capture_default_str();
  bool detaching = false;
  app.add_flag("--detach", detaching,
               "end the data plane, take the XDP program off the interfaces, give them back what was moved, "
               "and remove what it left");
  bool upgrading = false;
  app.add_flag(
         "--upgrade", upgrading,
         "have the data plane that runs hand over to a new process of its program, as it lies on disk now")
      ->excludes("--detach");
  app.set_version_flag("--version", LINIMO_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : linimo::kUsage;
  }
  prctl(PR_SET_NAME, "linimo-dataplan");  // as it would be, also after starting anew
  spdlog::set_default_logger(spdlog::stderr_logger_mt("dataplane"));
  spdlog::set_formatter(linimo::make_log_formatter(linimo::LogText::kSentence));
  spdlog::set_level(linimo::log_level(log_level));
  linimo::harden_process();
  try {
    const int code = detaching   ? linimo::detach(config_file)
                     : upgrading ? linimo::handover::upgrade(config_file)
                                 : linimo::run(config_file, argv);
    return code == linimo::kStartAnew ? linimo::start_anew(argv) : code;
  } catch (const std::exception& error) {
    spdlog::error("{}", error.what());
    return linimo::kFailed;
  }
}
