#include "bench/fleet/report.h"

#include <fstream>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace linimo::fleet {
namespace {

// As many as `full` breaks.
constexpr double kMostTimesWithNodes = 2;  // by `adaptive`, while nodes come and go
constexpr double kMostTimesSharedWithModulo =
    0.15;  // by `shared`, while nodes come and go and few flows stay

double per_million(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : 1e6 * static_cast<double>(part) / static_cast<double>(whole);
}

/// Connections whose backend lives as long as they do.
uint64_t could_break(const Result& result, Mode mode) {
  return result.connections - result.outcomes[mode].lost;
}

/// Shares, since under each way of tracking other connections are lost with their backends.
double broken_ppm(const Result& result, Mode mode) {
  return per_million(result.outcomes[mode].broken, could_break(result, mode));
}

/// So many times as many connections as `full` may a way of tracking break.
double limit_of(const Result& result, Mode mode) {
  if (!result.scenario.nodes_change()) return 1;
  if (mode == kAdaptive) return kMostTimesWithNodes;
  return result.scenario.ecmp == Ecmp::Kind::kModulo ? kMostTimesSharedWithModulo : 1;
}

bool holds(const Result& result, Mode mode) {
  return broken_ppm(result, mode) <= broken_ppm(result, kFull) * limit_of(result, mode);
}

std::string times(const Result& result, Mode mode) {
  const double full = broken_ppm(result, kFull);
  if (full == 0) return result.outcomes[mode].broken == 0 ? "none, as full" : "some, and full none";
  return fmt::format("{:.2f} times as many as full", broken_ppm(result, mode) / full);
}

std::string list(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "\n  " : ",\n  ") + item;
  return text;
}

template <typename T>
std::string by_mode(const ByMode<T>& values) {
  return fmt::format("[{}]", fmt::join(values, ", "));
}

std::string json_of(const Telling& telling) {
  return fmt::format(
      "{{\"words\": {}, \"ends\": {}, \"untold\": {}, \"most_a_second\": {}, \"entries\": {:.0f}, "
      "\"most_entries\": {}}}",
      telling.words, telling.ends, telling.untold, telling.most_a_second, telling.entries,
      telling.most_entries);
}

std::string targets_of(const Result& result) {
  std::string targets;
  for (const Mode mode : {kAdaptive, kShared}) {
    targets += fmt::format("{}\"{}\": {{\"limit\": {}, \"holds\": {}}}", targets.empty() ? "" : ", ",
                           kModeNames[mode], limit_of(result, mode), holds(result, mode));
  }
  return targets;
}

std::string json_of(const Result& result) {
  std::string modes;
  for (const Mode mode : kAllModes) {
    const Outcome& outcome = result.outcomes[mode];
    modes += fmt::format(
        "{}\"{}\": {{\"broken\": {}, \"broken_silent\": {}, \"broken_ppm\": {:.2f}, \"lost\": {}, "
        "\"entries\": {:.0f}, \"most_entries\": {}, \"asked\": {}, \"unstored\": {}, \"imbalance\": {:.4f}, "
        "\"most_imbalance\": {:.4f}}}",
        modes.empty() ? "" : ", ", kModeNames[mode], outcome.broken, outcome.broken_silent,
        broken_ppm(result, mode), outcome.lost, outcome.entries, outcome.most_entries, outcome.asked,
        outcome.unstored, outcome.imbalance, outcome.most_imbalance);
  }
  std::string samples;
  for (const Sample& sample : result.samples) {
    samples += fmt::format(
        "{}{{\"at_s\": {}, \"connections\": {}, \"unsettled\": {:.4f}, \"entries\": {}, \"broken\": {}}}",
        samples.empty() ? "" : ", ", sample.at_s, sample.connections, sample.unsettled,
        by_mode(sample.entries), by_mode(sample.broken));
  }
  return fmt::format(
      "{{\"name\": \"{}\", \"about\": \"{}\", \"nodes_change\": {}, \"connections\": {}, \"packets\": {}, "
      "\"attack_packets\": {}, \"generations\": {}, \"unsettled\": {:.4f}, \"seconds\": {:.1f}, "
      "\"targets\": {{{}}}, \"telling\": {}, \"modes\": {{{}}}, \"samples\": [{}]}}",
      result.scenario.name, result.scenario.about, result.scenario.nodes_change(), result.connections,
      result.packets, result.attack_packets, result.generations, result.unsettled, result.seconds,
      targets_of(result), json_of(result.telling), modes, samples);
}

}  // namespace

void print_table(const Settings& settings, const std::vector<Result>& results) {
  fmt::print(
      "{} nodes, {} backends, {} slots, {} s, idle timeout {} s, connection tables made for {} flows a "
      "node\n",
      settings.nodes, settings.backends, settings.table_size, settings.duration_s, settings.idle_timeout_s,
      settings.flows_per_node);
  for (const Result& result : results) {
    fmt::print("\n{}: {}\n", result.scenario.name, result.scenario.about);
    fmt::print(
        "  {} connections, {} packets{}; {} changes of tables; {:.1f} % of slots unsettled; took {:.0f} s\n",
        result.connections, result.packets,
        result.attack_packets == 0 ? "" : fmt::format(", {} of the attack", result.attack_packets),
        result.generations, 100 * result.unsettled, result.seconds);
    fmt::print("  {:<10}{:>9}{:>10}{:>11}{:>11}{:>11}{:>11}{:>9}{:>11}{:>11}\n", "", "broken", "ppm",
               "silent > W", "lost", "entries", "at most", "asked", "unstored", "imbalance");
    for (const Mode mode : kAllModes) {
      const Outcome& outcome = result.outcomes[mode];
      const double asked =
          static_cast<double>(outcome.asked) / static_cast<double>(result.packets + result.attack_packets);
      fmt::print("  {:<10}{:>9}{:>10.1f}{:>11}{:>11}{:>11.0f}{:>11}{:>7.1f} %{:>11}{:>11.3f}\n",
                 kModeNames[mode], outcome.broken, broken_ppm(result, mode), outcome.broken_silent,
                 outcome.lost, outcome.entries, outcome.most_entries, 100 * asked, outcome.unstored,
                 outcome.imbalance);
    }
    for (const Mode mode : {kAdaptive, kShared}) {
      fmt::print("  {} breaks {}, at most {} times as many: {}\n", kModeNames[mode], times(result, mode),
                 limit_of(result, mode), holds(result, mode) ? "holds" : "MISSED");
    }
    const Telling& telling = result.telling;
    fmt::print(
        "  told: {} words, of which {} of ends; at most {} a second; {:.0f} entries a node, at most {}{}\n",
        telling.words, telling.ends, telling.most_a_second, telling.entries, telling.most_entries,
        telling.untold == 0 ? "" : fmt::format("; {} of the attack not told of", telling.untold));
  }
}

void print_figures(const Figures& figures) {
  fmt::print("\nEvenness: {} backends, means of {} pools, slots over the average\n", kPaperBackends,
             figures.trials);
  fmt::print("  {:<12}{:>9}{:>9}{:>9}\n", "", "slots", "most", "least");
  for (const Evenness& evenness : figures.evenness) {
    fmt::print("  {:<12}{:>9}{:>9.3f}{:>9.3f}\n", name_of(evenness.hashing), evenness.table_size,
               evenness.most, evenness.least);
  }
  fmt::print("\nDisruption: slots that change when backends fail, and those of them whose backend lives\n");
  fmt::print("  {:<12}{:>9}{:>10}{:>12}{:>12}\n", "", "slots", "failures", "changed", "needless");
  for (const Disruption& disruption : figures.disruption) {
    fmt::print("  {:<12}{:>9}{:>8.1f} %{:>10.2f} %{:>10.2f} %\n", name_of(disruption.hashing),
               disruption.table_size, 100.0 * disruption.failures / kPaperBackends, 100 * disruption.changed,
               100 * disruption.needless);
  }
}

void write_json(const std::string& path, const Settings& settings, const std::vector<Result>& results,
                const Figures& figures) {
  std::vector<std::string> scenarios, evenness, disruption;
  for (const Result& result : results) scenarios.push_back(json_of(result));
  for (const Evenness& of : figures.evenness) {
    evenness.push_back(
        fmt::format("{{\"hashing\": \"{}\", \"slots\": {}, \"most\": {:.5f}, \"least\": {:.5f}}}",
                    name_of(of.hashing), of.table_size, of.most, of.least));
  }
  for (const Disruption& of : figures.disruption) {
    disruption.push_back(
        fmt::format("{{\"hashing\": \"{}\", \"slots\": {}, \"failures\": {:.4f}, \"changed\": {:.6f}, "
                    "\"needless\": {:.6f}}}",
                    name_of(of.hashing), of.table_size, static_cast<double>(of.failures) / kPaperBackends,
                    of.changed, of.needless));
  }
  std::ofstream file(path);
  file << fmt::format(
      "{{\"nodes\": {}, \"backends\": {}, \"table_size\": {}, \"duration_s\": {}, \"idle_timeout_s\": {}, "
      "\"flows_per_node\": {}, \"telling_ms\": {}, \"telling_lost\": {}, \"seed\": {}, \"modes\": [\"{}\"],\n"
      "\"scenarios\": [{}],\n\"evenness\": [{}],\n\"disruption\": [{}]}}\n",
      settings.nodes, settings.backends, settings.table_size, settings.duration_s, settings.idle_timeout_s,
      settings.flows_per_node, settings.telling_ms, settings.telling_lost, settings.seed,
      fmt::join(kModeNames, "\", \""), list(scenarios), list(evenness), list(disruption));
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path);
}

}  // namespace linimo::fleet
