// What tracking is worth to a fleet: nodes behind ECMP, backends that come and go, and which connections that
// breaks. bench/README.md says how, and what is not in it.
//
//   fleet [--connections 10000000] [--nodes 32] [--backends 1000] [--seed 1] [--json FILE] [SCENARIO...]

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <mutex>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "bench/fleet/report.h"

namespace linimo::fleet {
namespace {

struct Options {
  Settings settings;
  bool list = false;
  bool figures = true;
  uint32_t trials = 3;
  uint32_t threads = std::max(std::thread::hardware_concurrency(), 1U);
  std::string json;
  std::vector<std::string> names;
};

std::vector<Scenario> chosen_scenarios(const Options& options) {
  std::vector<Scenario> scenarios = all_scenarios(options.settings);
  for (const std::string& name : options.names) {
    if (std::none_of(scenarios.begin(), scenarios.end(), [&](const Scenario& s) { return s.name == name; }))
      throw std::runtime_error("there is no scenario \"" + name + "\"; --list names them");
  }
  if (!options.names.empty()) {
    std::erase_if(scenarios, [&](const Scenario& scenario) {
      return std::find(options.names.begin(), options.names.end(), scenario.name) == options.names.end();
    });
  }
  return scenarios;
}

/// Runs jobs 0 to `count` - 1 on so many threads. The first error ends it, once what has begun is done.
template <typename Job>
void run_jobs(size_t count, uint32_t threads, Job job) {
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::exception_ptr error;
  std::vector<std::jthread> running;
  for (uint32_t i = 0; i < threads; ++i) {
    running.emplace_back([&] {
      for (size_t mine = next++; mine < count; mine = next++) {
        try {
          job(mine);
        } catch (...) {
          const std::scoped_lock lock(mutex);
          error = std::current_exception();
          next = count;
        }
      }
    });
  }
  running.clear();  // joins
  if (error) std::rethrow_exception(error);
}

/// A line that changes, where someone looks on; else a line now and then.
class Progress {
 public:
  Progress(const std::vector<std::atomic<uint32_t>>& done_s, uint32_t duration_s)
      : done_s_(done_s),
        duration_s_(duration_s),
        thread_([this](const std::stop_token& stop) { watch(stop); }) {}

 private:
  void watch(const std::stop_token& stop) {
    const bool seen = isatty(STDERR_FILENO) != 0;
    const auto between = seen ? std::chrono::milliseconds(500) : std::chrono::seconds(15);
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    while (!wake.wait_for(lock, stop, between, [&] { return stop.stop_requested(); })) {
      double done = 0;
      for (const auto& of : done_s_) done += of.load(std::memory_order_relaxed);
      const double share = done / duration_s_ / static_cast<double>(std::max(done_s_.size(), size_t{1}));
      fmt::print(stderr, "{}fleet: {:.0f} % of {} scenarios{}", seen ? "\r\x1b[K" : "", 100 * share,
                 done_s_.size(), seen ? "" : "\n");
    }
    if (seen) fmt::print(stderr, "\r\x1b[K");
  }

  const std::vector<std::atomic<uint32_t>>& done_s_;
  uint32_t duration_s_;
  std::jthread thread_;
};

void run(const Options& options) {
  const std::vector<Scenario> scenarios = chosen_scenarios(options);
  if (options.list) {
    for (const Scenario& scenario : scenarios) fmt::print("{:<16}{}\n", scenario.name, scenario.about);
    return;
  }
  std::vector<Result> results(scenarios.size());
  std::vector<std::atomic<uint32_t>> done_s(scenarios.size());
  Figures figures;
  {
    const Progress progress(done_s, options.settings.duration_s);
    // The figures are the shortest job, so they come last.
    run_jobs(scenarios.size() + (options.figures ? 1 : 0), options.threads, [&](size_t job) {
      if (job < scenarios.size()) {
        results[job] = simulate(options.settings, scenarios[job], done_s[job]);
      } else {
        figures = paper_figures(options.trials, options.settings.seed);
      }
    });
  }
  print_table(options.settings, results);
  if (options.figures) print_figures(figures);
  if (!options.json.empty()) write_json(options.json, options.settings, results, figures);
}

}  // namespace
}  // namespace linimo::fleet

int main(int argc, char** argv) {
  CLI::App app("Simulates a fleet, to see which connections break.", "fleet");
  linimo::fleet::Options options;
  linimo::fleet::Settings& settings = options.settings;
  app.add_flag("--list", options.list, "names the scenarios");
  app.add_option("--connections", settings.connections, "that begin in each scenario")
      ->check(CLI::Range(1000, 1'000'000'000))
      ->capture_default_str();
  app.add_option("--nodes", settings.nodes)->check(CLI::Range(2, 1024))->capture_default_str();
  app.add_option("--backends", settings.backends)->check(CLI::Range(10, 10000))->capture_default_str();
  app.add_option("--table-size", settings.table_size, "slots")
      ->check([](const std::string& text) {
        return linimo::is_prime(static_cast<uint32_t>(std::stoul(text))) ? "" : "must be a prime";
      })
      ->capture_default_str();
  app.add_option("--duration", settings.duration_s, "seconds of virtual time")
      ->check(CLI::Range(1800, 86400))
      ->capture_default_str();
  app.add_option("--idle-timeout", settings.idle_timeout_s, "seconds")
      ->check(CLI::Range(60, 3600))
      ->capture_default_str();
  app.add_option("--flows-per-node", settings.flows_per_node, "that a connection table is made for")
      ->check(CLI::Range(1024, 1 << 24))
      ->capture_default_str();
  app.add_option("--skew", settings.skew_ms, "milliseconds that nodes get a change after the first of them")
      ->check(CLI::Range(0, 60000))
      ->capture_default_str();
  app.add_option("--telling-delay", settings.telling_ms, "milliseconds until the others hear of a flow")
      ->check(CLI::Range(0, 60000))
      ->capture_default_str();
  app.add_option("--telling-lost", settings.telling_lost, "of a thousand words to one node")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--seed", settings.seed, "of everything that is left to chance")->capture_default_str();
  app.add_option("--trials", options.trials, "pools for the paper's figures")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("!--no-figures", options.figures, "leave the paper's figures out");
  app.add_option("--threads", options.threads, "scenarios at once")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--json", options.json, "write the results to this file");
  app.add_option("SCENARIO", options.names, "run these alone");
  CLI11_PARSE(app, argc, argv);
  try {
    linimo::fleet::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "fleet: {}\n", error.what());
    return 1;
  }
}
