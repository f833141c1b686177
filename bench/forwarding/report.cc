#include "bench/forwarding/report.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include <fmt/format.h>

namespace linimo::bench {
namespace {

using Rounds = std::vector<double>;

double quantile(Rounds values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(std::lround(part * static_cast<double>(values.size() - 1)))];
}

template <typename Combine>
Rounds combine(const Rounds& left, const Rounds& right, Combine combine) {
  Rounds combined;
  for (size_t i = 0; i < left.size(); ++i) combined.push_back(combine(left[i], right[i]));
  return combined;
}

const Rounds& rounds_of(const std::vector<Result>& results, const std::string& name) {
  return std::find_if(results.begin(), results.end(),
                      [&](const Result& result) { return result.point.name == name; })
      ->ns;
}

struct Figures {
  Rounds ns, over_floor, times_floor, times_base;
};

Figures figures_of(const Result& result, const std::vector<Result>& results) {
  const auto less = [](double left, double right) { return left - right; };
  const auto by = [](double left, double right) { return left / right; };
  const Rounds& floor = rounds_of(results, result.point.above);
  return {result.ns, combine(result.ns, floor, less), combine(result.ns, floor, by),
          combine(result.ns, rounds_of(results, kBase), by)};
}

/// A target, and whether it holds.
struct Verdict {
  std::string what;
  double limit, value;
  bool holds;
};

std::vector<Verdict> verdicts(const Result& result, const Figures& figures,
                              const std::vector<Result>& results) {
  const auto by = [](double left, double right) { return left / right; };
  std::vector<Verdict> all;
  for (const Target& target : result.point.targets) {
    const auto [rounds, what] = [&]() -> std::pair<Rounds, std::string> {
      switch (target.of) {
        case Target::kNs:
          return {figures.ns, "ns"};
        case Target::kNsOverFloor:
          return {figures.over_floor, "ns over the floor"};
        case Target::kTimesFloor:
          return {figures.times_floor, "times the floor"};
        case Target::kTimesPoint:
          return {combine(figures.ns, rounds_of(results, target.point), by), "times " + target.point};
        case Target::kTimesFaster:
          break;
      }
      const double floor =
          median(combine(rounds_of(results, kFloor), rounds_of(results, result.point.above), by));
      return {combine(rounds_of(results, target.point), figures.ns, by),
              fmt::format("times as fast as {}, the floor being {:.2f} times", target.point, floor)};
    }();
    const double value = median(rounds);
    all.push_back({what, target.limit, value,
                   target.of == Target::kTimesFaster ? value >= target.limit : value <= target.limit});
  }
  if (result.point.bystander) {
    const auto none = [&](const char* what, uint64_t count) {
      all.push_back({what, 0, static_cast<double>(count), count == 0});
    };
    none("packets dropped", result.dropped);
    none("entries of another service displaced", result.displaced);
  }
  return all;
}

std::string text_of(const std::vector<Verdict>& verdicts) {
  std::string text;
  for (const Verdict& of : verdicts)
    text += fmt::format("{}{:.2f} {} ({} {:g})", text.empty() ? "" : "; ", of.value, of.what,
                        of.holds ? "holds:" : "MISSED:", of.limit);
  return text;
}

std::string json_of(const std::vector<Verdict>& verdicts) {
  std::string text;
  for (const Verdict& of : verdicts)
    text += fmt::format("{}{{\"what\": \"{}\", \"limit\": {:g}, \"value\": {:.3f}, \"holds\": {}}}",
                        text.empty() ? "" : ", ", of.what, of.limit, of.value, of.holds);
  return "[" + text + "]";
}

}  // namespace

double median(std::vector<double> values) {
  return quantile(std::move(values), 0.5);
}

void print_table(const std::vector<Result>& results, const Machine& machine, uint64_t packets) {
  fmt::print("{}; load {:.1f} before, {:.1f} after\n", machine.cpu, machine.load_before, machine.load_after);
  fmt::print("one core, medians of {} rounds of {} packets (first to third quartile)\n\n",
             results.front().ns.size(), packets);
  fmt::print("{:<46}{:>9}{:>18}{:>8}{:>12}{:>8}{:>8}{:>8}\n", "", "ns", "", "Mpps", "over floor", "floors",
             "bases", "B/flow");
  for (const Result& result : results) {
    const Figures figures = figures_of(result, results);
    const double ns = quantile(figures.ns, 0.5);
    const std::string spread =
        fmt::format("({:.1f} to {:.1f})", quantile(figures.ns, 0.25), quantile(figures.ns, 0.75));
    const std::string bytes =
        result.bytes_for_a_flow == 0 ? "" : fmt::format("{:.1f}", result.bytes_for_a_flow);
    fmt::print("{:<46}{:>9.1f}{:>18}{:>8.2f}{:>12.1f}{:>8.2f}{:>8.2f}{:>8}  {}{}\n", result.point.name, ns,
               spread, 1000 / ns, quantile(figures.over_floor, 0.5), quantile(figures.times_floor, 0.5),
               quantile(figures.times_base, 0.5), bytes, text_of(verdicts(result, figures, results)),
               result.unstored == 0 ? "" : fmt::format(" ({} flows found no place)", result.unstored));
  }
}

void write_json(const std::string& path, const std::vector<Result>& results, const Machine& machine,
                uint64_t packets, const std::string& latency) {
  std::string points;
  for (const Result& result : results) {
    const Figures figures = figures_of(result, results);
    points += fmt::format(
        "{}\n  {{\"name\": \"{}\", \"axis\": \"{}\", \"flows\": {}, \"ns\": {:.2f}, \"quartiles_ns\": "
        "[{:.2f}, {:.2f}], \"least_ns\": {:.2f}, \"most_ns\": {:.2f}, \"mpps\": {:.3f}, \"above\": \"{}\", "
        "\"over_floor_ns\": {:.2f}, \"times_floor\": {:.3f}, \"times_base\": {:.3f}, \"bytes_per_flow\": "
        "{:.2f}, \"unstored\": {}, \"displaced\": {}, \"targets\": {}}}",
        points.empty() ? "" : ",", result.point.name, result.point.axis, result.point.traffic.flows,
        quantile(figures.ns, 0.5), quantile(figures.ns, 0.25), quantile(figures.ns, 0.75),
        quantile(figures.ns, 0), quantile(figures.ns, 1), 1000 / quantile(figures.ns, 0.5),
        result.point.above, quantile(figures.over_floor, 0.5), quantile(figures.times_floor, 0.5),
        quantile(figures.times_base, 0.5), result.bytes_for_a_flow, result.unstored, result.displaced,
        json_of(verdicts(result, figures, results)));
  }
  std::ofstream(path) << fmt::format(
      "{{\"cpu\": \"{}\", \"load_before\": {:.2f}, \"load_after\": {:.2f}, \"rounds\": {}, \"packets\": {}, "
      "\"points\": [{}\n], \"latency\": {}}}\n",
      machine.cpu, machine.load_before, machine.load_after, results.front().ns.size(), packets, points,
      latency);
}

}  // namespace linimo::bench
