#include "bench/forwarding/latency.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include <fmt/format.h>
#include <rte_cycles.h>
#include <sched.h>

namespace linimo::bench {
namespace {

constexpr struct {
  const char* name;
  double share;      // of what the loop can do
  uint64_t packets;  // of a round
} kLoads[] = {{"1 %", 0.01, 1 << 15}, {"80 %", 0.8, 1 << 20}};

constexpr uint64_t kMeasuredMost = 1 << 20;
constexpr double kQuantiles[] = {0.5, 0.9, 0.99, 0.999, 1};

/// No other process gets this CPU while one of these lives, if the kernel lets us: as on a core that a worker
/// has for itself. The kernel allows that for 95 % of a second, so there is a pause afterwards.
class Undisturbed {
 public:
  Undisturbed() {
    const sched_param first{.sched_priority = 1};
    sched_setscheduler(0, SCHED_FIFO, &first);
  }
  ~Undisturbed() {
    const sched_param usual{.sched_priority = 0};
    sched_setscheduler(0, SCHED_OTHER, &usual);
    std::this_thread::sleep_for((Clock::now() - since_) / 4);
  }
  Undisturbed(const Undisturbed&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  const Clock::time_point since_ = Clock::now();
};

/// What a packet costs when there are always some; stamps and all.
double least_ns(Subject& subject) {
  std::vector<double> ns;
  for (int i = 0; i < 3; ++i) ns.push_back(subject.latency(kMeasuredMost, 1).ns);
  return *std::min_element(ns.begin(), ns.end());
}

/// What the floor has to compute besides to cost as much.
uint64_t steps_to_cost(Subject& floor, double ns) {
  constexpr uint64_t kTried = 100;
  constexpr double kLeastStep_ns = 0.1;  // whatever a disturbed measurement says
  const double without = least_ns(floor);
  floor.compute_besides(kTried);
  const double with = least_ns(floor);
  floor.compute_besides(0);
  const double step_ns = std::max((with - without) / kTried, kLeastStep_ns);
  return static_cast<uint64_t>(std::max(0.0, (ns - without) / step_ns));
}

double nanoseconds(double ticks) {
  return ticks * 1e9 / static_cast<double>(rte_get_tsc_hz());
}

/// The median round's.
double quantile_ns(const Stays& stays, double share) {
  std::vector<double> of_rounds;
  for (const Histogram& round : stays.rounds) of_rounds.push_back(round.quantile(share));
  std::sort(of_rounds.begin(), of_rounds.end());
  return nanoseconds(of_rounds[of_rounds.size() / 2]);
}

Histogram all_of(const Stays& stays) {
  Histogram sum;
  for (const Histogram& round : stays.rounds) sum.add(round);
  return sum;
}

}  // namespace

std::vector<Stays> measure_latency(const Timed& floor, const std::vector<Timed>& loaded, uint32_t rounds) {
  std::vector<Stays> all;
  std::vector<uint64_t> steps;
  for (const Timed& timed : loaded) {
    const double ns = least_ns(timed.subject);
    steps.push_back(steps_to_cost(floor.subject, ns));
    for (const auto& load : kLoads) {
      const double mpps = load.share * 1000 / ns;
      const std::string as = fmt::format("as {} of {}", load.name, timed.name);
      all.push_back({timed.name, load.name, mpps, {}});
      all.push_back({floor.name, as, mpps, {}});
      all.push_back({kSlowFloor, as, mpps, {}});
    }
  }
  for (uint32_t round = 0; round < rounds; ++round) {
    size_t at = 0;
    for (size_t i = 0; i < loaded.size(); ++i) {
      for (const auto& load : kLoads) {
        for (Subject* subject : {&loaded[i].subject, &floor.subject, &floor.subject}) {
          const Undisturbed undisturbed;
          if (all[at].name == kSlowFloor) subject->compute_besides(steps[i]);
          all[at].rounds.push_back(subject->latency(load.packets, 1000 / all[at].mpps).stays);
          floor.subject.compute_besides(0);
          ++at;
        }
      }
    }
  }
  return all;
}

void print_latency(const std::vector<Stays>& stays) {
  fmt::print("\nfrom a packet's arrival until it is sent, ns: arrivals by chance, medians of {} rounds\n\n",
             stays.front().rounds.size());
  fmt::print("{:<32}{:<38}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}\n", "", "load", "Mpps", "p50", "p90", "p99", "p99.9",
             "max");
  for (const Stays& of : stays) {
    fmt::print("{:<32}{:<38}{:>8.3f}", of.name, of.load, of.mpps);
    for (const double quantile : kQuantiles) fmt::print("{:>9.0f}", quantile_ns(of, quantile));
    fmt::print("\n");
  }
}

std::string json_of(const std::vector<Stays>& stays) {
  std::string list;
  for (const Stays& of : stays) {
    const Histogram sum = all_of(of);
    std::string parts;
    for (uint32_t part = 0; part < Histogram::kSize; ++part) {
      if (sum[part] != 0)
        parts += fmt::format("{}[{:.1f}, {}]", parts.empty() ? "" : ", ",
                             nanoseconds(Histogram::middle(part)), sum[part]);
    }
    list += fmt::format(
        "{}\n  {{\"name\": \"{}\", \"load\": \"{}\", \"mpps\": {:.4f}, \"p50_ns\": {:.0f}, \"p90_ns\": "
        "{:.0f}, "
        "\"p99_ns\": {:.0f}, \"p99.9_ns\": {:.0f}, \"max_ns\": {:.0f}, \"histogram\": [{}]}}",
        list.empty() ? "" : ",", of.name, of.load, of.mpps, quantile_ns(of, 0.5), quantile_ns(of, 0.9),
        quantile_ns(of, 0.99), quantile_ns(of, 0.999), quantile_ns(of, 1), parts);
  }
  return "[" + list + "]";
}

}  // namespace linimo::bench
