// What forwarding a packet costs on one core: the daemon's own worker loop, between a port that supplies
// frames and swallows them. bench/README.md says how, and what is not in it.
//
//   forwarding [--all] [--rounds 9] [--packets 1048576] [--json FILE] [--lanes auto,off] [POINT...]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <unistd.h>

#include "bench/forwarding/latency.h"
#include "bench/forwarding/report.h"
#include "bench/forwarding/subject.h"
#include "dataplane/dpdk/port.h"

namespace linimo::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kOldEnough{5};  // for an entry to make room for another

struct Options {
  bool all = false;
  bool list = false;
  bool hugepages = true;
  bool latency = true;
  uint32_t rounds = 9;
  uint64_t packets = 1 << 20;
  std::string json;
  std::vector<std::string> lanes = {"auto"};  // the points as they are, then those that stand beside them
  std::vector<std::string> names;
};

/// DPDK on the last CPU that this process may use and, if there is another, on the first; on each with a
/// port.
std::vector<std::pair<unsigned, dpdk::Lane>> start_dpdk(bool hugepages) {
  const std::vector<unsigned> cpus = dpdk::allowed_cpus();
  std::vector<unsigned> used = {cpus.back()};
  if (cpus.size() > 1) used.push_back(cpus.front());
  std::vector<std::string> arguments = {"forwarding", "--no-pci", "--iova-mode=va", "--no-telemetry",
                                        "--log-level=lib.eal:error"};
  std::string lcores;
  for (unsigned lcore = 0; lcore < used.size(); ++lcore) {
    lcores += fmt::format("{}{}@{}", lcore == 0 ? "" : ",", lcore, used[lcore]);
    arguments.push_back(fmt::format("--vdev=net_null{}", lcore));
  }
  arguments.push_back("--lcores=" + lcores);
  if (hugepages) {
    arguments.push_back("--in-memory");
  } else {
    arguments.insert(arguments.end(), {"--no-huge", "--no-shconf", "-m", "1024"});
  }
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0)
    throw std::runtime_error(
        "DPDK did not start; it needs hugepages and root: sudo scripts/bench forwarding");
  std::vector<std::pair<unsigned, dpdk::Lane>> ports;
  for (unsigned lcore = 0; lcore < used.size(); ++lcore) {
    dpdk::Lane lane;
    if (rte_eth_dev_get_port_by_name(fmt::format("net_null{}", lcore).c_str(), &lane.port_id) != 0)
      throw std::runtime_error("DPDK has no net_null driver");
    if (const auto configured = dpdk::configure_port(lane.port_id, 1, 0, {}); !configured)
      throw std::runtime_error(configured.error());
    if (const auto started = dpdk::start_port(lane.port_id); !started)
      throw std::runtime_error(started.error());
    ports.emplace_back(lcore, lane);
  }
  return ports;
}

/// The floors and the bases, what was asked for, and what that is compared with.
std::vector<Point> chosen_points(const Options& options, size_t cores) {
  std::set<std::string> names(options.names.begin(), options.names.end());
  for (const Point& point : all_points()) {
    if (point.axis == "floor" || point.axis == "base" || point.name == kAdaptive) names.insert(point.name);
    if (options.names.empty() ? options.all || is_essential(point) : names.contains(point.name)) {
      names.insert(point.name);
      for (const Target& target : point.targets) names.insert(target.point);
    }
  }
  std::vector<Point> chosen;
  for (const Point& point : all_points()) {
    if (names.contains(point.name) && point.workers <= cores) chosen.push_back(point);
  }
  return chosen;
}

std::string beside(const std::string& point, const std::string& lanes) {
  return fmt::format("{} [{}]", point, lanes);
}

/// A result for the point, and one for each further way to go in lanes.
std::vector<Result> results_of(const Point& point, const Options& options) {
  std::vector<Result> results = {{.point = point, .ns = {}}};
  for (size_t i = 1; i < options.lanes.size() && point.loop == Loop::kWorker; ++i) {
    Point other = point;
    other.name = beside(point.name, options.lanes[i]);
    other.targets.clear();
    results.push_back({.point = other, .ns = {}});
  }
  return results;
}

double load() {
  double minute = 0;
  return getloadavg(&minute, 1) == 1 ? minute : 0;
}

Machine this_machine() {
  Machine machine{.cpu = "unknown CPU"};
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) machine.cpu = line.substr(line.find(':') + 2);
  }
  machine.load_before = load();
  return machine;
}

/// One line that changes, where someone looks on.
void progress(const std::string& text) {
  static const bool seen = isatty(STDERR_FILENO) != 0;
  if (seen) fmt::print(stderr, "\r\x1b[K{}", text);
}

int run(const Options& options) {
  if (options.list) {
    for (const Point& point : all_points()) fmt::print("{:<46} {}\n", point.name, point.axis);
    return 0;
  }
  Machine machine = this_machine();
  std::vector<std::unique_ptr<Supply>> supplies;
  std::vector<Station> stations;
  for (const auto& [lcore, lane] : start_dpdk(options.hugepages)) {
    supplies.push_back(std::make_unique<Supply>(lane));
    stations.push_back({lcore, lane, *supplies.back()});
  }
  std::vector<std::unique_ptr<Subject>> subjects;
  std::vector<std::vector<Result>> measured;
  const std::vector<Point> points = chosen_points(options, stations.size());
  for (const Point& point : points) {
    progress(fmt::format("preparing {} of {}: {}", subjects.size() + 1, points.size(), point.name));
    subjects.push_back(std::make_unique<Subject>(point, stations));
    measured.push_back(results_of(point, options));
  }
  auto last_round = Clock::now();
  for (uint32_t round = 0; round < options.rounds; ++round) {
    progress(fmt::format("round {} of {}", round + 1, options.rounds));
    std::this_thread::sleep_until(last_round + kOldEnough);
    last_round = Clock::now();
    for (size_t i = 0; i < subjects.size(); ++i) {
      for (size_t way = 0; way < measured[i].size(); ++way) {
        if (way != 0 && points[i].table != Table::kOfTheFlows) std::this_thread::sleep_for(kOldEnough);
        subjects[i]->go_in_lanes(lane_path(options.lanes[way]));
        measured[i][way].ns.push_back(subjects[i]->round(options.packets));
      }
    }
  }
  std::vector<Result> results;
  for (size_t i = 0; i < subjects.size(); ++i) {
    Result& first = measured[i].front();
    first.bytes_for_a_flow = subjects[i]->table_bytes_for_a_flow();
    first.unstored = subjects[i]->unstored();
    first.dropped = subjects[i]->dropped();
    first.displaced = subjects[i]->displaced();
    results.insert(results.end(), measured[i].begin(), measured[i].end());
    subjects[i]->go_in_lanes(lane_path(options.lanes.front()));
  }
  progress("latency");
  std::vector<Stays> stays;
  if (options.latency) {
    const auto timed = [&](const char* name) {
      const auto at = static_cast<size_t>(
          std::find_if(points.begin(), points.end(), [&](const Point& point) { return point.name == name; }) -
          points.begin());
      return Timed{*subjects.at(at), name};
    };
    stays = measure_latency(timed(kFloor), {timed(kAdaptive), timed(kBase)}, options.rounds);
  }
  progress("");
  machine.load_after = load();
  print_table(results, machine, options.packets);
  if (!stays.empty()) print_latency(stays);
  if (!options.json.empty()) write_json(options.json, results, machine, options.packets, json_of(stays));
  subjects.clear();
  return 0;
}

}  // namespace
}  // namespace linimo::bench

int main(int argc, char** argv) {
  CLI::App app("Measures what forwarding a packet costs on one core.", "forwarding");
  linimo::bench::Options options;
  app.add_flag("--all", options.all, "every point, not only those that have a target");
  app.add_flag("--list", options.list, "names the points");
  app.add_flag("!--no-hugepages", options.hugepages, "do without; for a profiler: times then mean little");
  app.add_flag("!--no-latency", options.latency, "leave out how long packets stay");
  app.add_option("--rounds", options.rounds, "measurements of each point")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--packets", options.packets, "of each measurement, a multiple of 32")
      ->capture_default_str();
  app.add_option("--json", options.json, "write the results to this file");
  app.add_option(
         "--lanes", options.lanes,
         "how packets go in lanes: auto, avx512, avx2 or off; of several, in turn, the others stand beside "
         "the first")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"auto", "avx512", "avx2", "off"}))
      ->capture_default_str();
  app.add_option("POINT", options.names, "measure these, the bases and the floors alone");
  CLI11_PARSE(app, argc, argv);
  options.packets = (options.packets + 31) / 32 * 32;
  try {
    return linimo::bench::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "forwarding: {}\n", error.what());
    return 1;
  }
}
