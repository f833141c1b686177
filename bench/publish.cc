// How long a change takes to reach the packet path: one backend of one pool changes, each time another
// pool's, and the clock runs until the data plane says that every worker has switched.
//
// Real on both ends: the control plane's planner, the snapshot, the sealed memfd; the program
// linimo-dataplane with its workers polling a null port. No health check and no network between.
//
// What both do after an acknowledgement, while nobody waits, is not in the sum: the control plane prepares
// the memory of its next snapshot (shown for itself), the data plane writes the live one to disk. Changes
// that follow each other faster than that wait for it.
//
//   publish --dataplane build/dataplane/linimo-dataplane [--services 100] [--rounds 51] [--json FILE]

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "controlplane/tables/ids.h"
#include "controlplane/tables/planner.h"
#include "controlplane/tables/snapshot_memory.h"
#include "maglev/os/seqpacket.h"
#include "maglev/protocol.h"

namespace linimo {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

struct Options {
  std::string dataplane;
  uint32_t services = 100;
  uint32_t backends = 100;
  uint32_t table_size = 65537;
  uint32_t workers = 1;
  uint32_t rounds = 51;
  std::string json;
};

/// Every service has a pool and a VIP of its own.
Config make_config(const Options& options) {
  Config config;
  config.hash_seed = 1;
  config.node.encap_source4 = Address::v4(htonl(0x0a00000b));
  for (uint32_t i = 0; i < options.services; ++i) {
    PoolConfig pool;
    pool.name = fmt::format("pool{}", i);
    pool.table_size = options.table_size;
    for (uint32_t b = 0; b < options.backends; ++b) {
      pool.backends.push_back({Address::v4(htonl(0x0a010000 + i * 1024 + b)), 100});
    }
    config.pools.push_back(std::move(pool));
    ServiceConfig service;
    service.name = fmt::format("service{}", i);
    service.vips = {{Address::v4(htonl(0xcb007100 + i)), 128}};
    service.ports = {{80, 80}, {443, 443}};
    service.pool = i;
    config.services.push_back(std::move(service));
  }
  return config;
}

/// The program under test, in a runtime folder of its own; ends with this process.
class Dataplane {
 public:
  explicit Dataplane(const Options& options)
      : program_(options.dataplane), folder_(fmt::format("/run/linimo-publish-{}", getpid())) {
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "linimo.toml") << fmt::format(
        "[node]\nname = \"bench\"\nengine = \"dpdk\"\ninterfaces = [\"net_null0,no-rx=1\"]\nworkers = "
        "{}\nruntime_dir = \"{}\"\n"
        "flows_per_worker = 65536\n",
        options.workers, folder_.string());
    start({});
  }
  ~Dataplane() {
    kill(child_, SIGTERM);
    waitpid(child_, nullptr, 0);
    start({"--detach"});  // frees its connection tables
    waitpid(child_, nullptr, 0);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  UniqueFd connect() const {
    for (int tries = 0; tries < 1000; ++tries) {
      if (auto socket = connect_seqpacket(folder_ / "dataplane.sock")) return std::move(*socket);
      if (waitpid(child_, nullptr, WNOHANG) == child_) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    throw std::runtime_error("the data plane does not start");
  }

 private:
  void start(std::vector<std::string> more) {
    std::vector<std::string> words = {"linimo-dataplane", "--config", folder_ / "linimo.toml", "--log-level",
                                      "warn"};
    words.insert(words.end(), more.begin(), more.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      execv(program_.c_str(), arguments.data());
      std::perror(program_.c_str());
      _exit(127);
    }
  }

  std::string program_;
  std::filesystem::path folder_;
  pid_t child_ = -1;
};

Message wait_for_message(int socket) {
  for (;;) {
    auto message = receive_message(socket, protocol::kMaxMessageSize);
    if (!message) throw std::runtime_error(message.error());
    if (*message) return std::move(**message);
    pollfd waiting{.fd = socket, .events = POLLIN, .revents = 0};
    poll(&waiting, 1, 5000);
  }
}

struct Round {
  double plan, build, seal, taken, whole, prepare;  // milliseconds
};

double median(std::vector<Round> rounds, double Round::*stage) {
  std::sort(rounds.begin(), rounds.end(),
            [&](const Round& a, const Round& b) { return a.*stage < b.*stage; });
  return rounds[rounds.size() / 2].*stage;
}

int run(const Options& options) {
  const Config config = make_config(options);
  Ids ids;
  ids.hold(config, {}, {}, Ids::Time{});
  Dataplane dataplane(options);
  const UniqueFd socket = dataplane.connect();
  if (!send_message(socket.get(), protocol::encode(protocol::Hello{}))) throw std::runtime_error("no hello");
  wait_for_message(socket.get());

  std::map<std::string, uint64_t> pool_of;
  for (const PoolConfig& pool : config.pools) pool_of.emplace(pool.name, pool_of.size());
  Planner planner;
  SnapshotMemory memory;
  std::vector<Round> rounds;
  std::vector<std::byte> live;
  std::vector<std::byte> snapshot;
  for (uint64_t generation = 1; generation <= options.rounds + 1; ++generation) {
    // The first backends of the pools go one after the other, and then come back in that order. If it were
    // always the same one, the data plane would find each table in the memory of two generations before.
    const uint64_t changed = generation % options.services;
    const uint64_t turn = generation / options.services;
    const auto state_of = [&](const BackendKey& key) {
      const uint64_t pool = pool_of.at(key.pool);
      const bool first = key.address == config.pools[pool].backends[0].address;
      return first && (pool <= changed) == (turn % 2 == 0) ? HealthState::kDown : HealthState::kUp;
    };
    const auto start = Clock::now();
    planner.pool_changed(config.pools[changed].name);
    const SnapshotSpec spec = planner.plan(config, state_of, ids, generation);
    const auto planned = Clock::now();
    build_snapshot(spec, snapshot);
    if (same_tables(snapshot, live)) throw std::runtime_error("nothing changed");
    const auto built = Clock::now();
    const auto sealed_memory = memory.sealed_with(snapshot);
    const auto sealed = Clock::now();
    protocol::Publish publish;
    publish.generation = generation;
    if (!sealed_memory) throw std::runtime_error(sealed_memory.error());
    const int fd = sealed_memory->get();
    if (!send_message(socket.get(), protocol::encode(publish), {&fd, 1}))
      throw std::runtime_error("not sent");
    const Message answer = wait_for_message(socket.get());
    const auto taken = Clock::now();
    if (const auto refused = protocol::decode<protocol::Refused>(answer.bytes)) {
      throw std::runtime_error(std::string(protocol::text_of(refused->reason)));
    }
    std::swap(live, snapshot);
    memory.prepare(live);
    const auto prepared = Clock::now();
    // Changes are rare: what follows the acknowledgement (the snapshot is kept, next hops are resolved) is
    // over by the next.
    std::this_thread::sleep_for(std::chrono::milliseconds(generation == 1 ? 1000 : 50));
    if (generation == 1) continue;  // every table is new: not what is measured
    rounds.push_back({milliseconds_between(start, planned), milliseconds_between(planned, built),
                      milliseconds_between(built, sealed), milliseconds_between(sealed, taken),
                      milliseconds_between(start, taken), milliseconds_between(taken, prepared)});
  }

  fmt::print("{} services, {} slots and {} backends each, {:.1f} MB; {} worker(s); median of {} rounds, ms\n",
             options.services, options.table_size, options.backends, double(live.size()) / 1e6,
             options.workers, rounds.size());
  fmt::print("  plan (one table populated)         {:7.3f}\n", median(rounds, &Round::plan));
  fmt::print("  build the snapshot                 {:7.3f}\n", median(rounds, &Round::build));
  fmt::print("  write what differs, seal the memfd {:7.3f}\n", median(rounds, &Round::seal));
  fmt::print("  copied, validated, taken, acked    {:7.3f}\n", median(rounds, &Round::taken));
  fmt::print("  from change to acknowledgement     {:7.3f}\n", median(rounds, &Round::whole));
  fmt::print("  after it: the next memfd prepared  {:7.3f}\n", median(rounds, &Round::prepare));
  if (!options.json.empty()) {
    std::ofstream(options.json) << fmt::format(
        "{{\"services\": {}, \"table_size\": {}, \"backends\": {}, \"bytes\": {}, \"workers\": {}, "
        "\"rounds\": {}, "
        "\"plan_ms\": {:.3f}, \"build_ms\": {:.3f}, \"seal_ms\": {:.3f}, \"taken_ms\": {:.3f}, \"whole_ms\": "
        "{:.3f}, \"prepare_ms\": {:.3f}}}\n",
        options.services, options.table_size, options.backends, live.size(), options.workers, rounds.size(),
        median(rounds, &Round::plan), median(rounds, &Round::build), median(rounds, &Round::seal),
        median(rounds, &Round::taken), median(rounds, &Round::whole), median(rounds, &Round::prepare));
  }
  return 0;
}

}  // namespace
}  // namespace linimo

int main(int argc, char** argv) {
  CLI::App app("Measures how long a change takes to reach every worker.", "publish");
  linimo::Options options;
  app.add_option("--dataplane", options.dataplane, "the program linimo-dataplane")->required();
  app.add_option("--services", options.services, "services, each with a pool")->capture_default_str();
  app.add_option("--backends", options.backends, "backends of each pool")->capture_default_str();
  app.add_option("--table-size", options.table_size, "slots of each pool, a prime")->capture_default_str();
  app.add_option("--workers", options.workers, "workers of the data plane")->capture_default_str();
  app.add_option("--rounds", options.rounds, "changes measured")->capture_default_str();
  app.add_option("--json", options.json, "write the medians to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    return linimo::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "publish: {}\n", error.what());
    return 1;
  }
}
