#include "bench/fleet/scenario.h"

#include <algorithm>

#include "bench/fleet/random.h"

namespace linimo::fleet {
namespace {

using Kind = Change::Kind;

constexpr uint32_t kDrain_s = 120, kReboot_s = 20, kDetection_ms = 3000;

/// Writes a timetable. Changes begin after the warm-up and end a while before the end, so that late breaks
/// are seen. A backend has one thing happen to it at a time.
class Timetable {
 public:
  explicit Timetable(const Settings& settings)
      : backends_(settings.backends),
        nodes_(settings.nodes),
        from_s_(settings.warm_up_s()),
        until_s_(settings.duration_s - settings.warm_up_s()),
        random_(settings.seed ^ 0x7461626c65),
        busy_until_s_(settings.backends) {}

  /// All backends one batch after the other: drained, taken down, up again.
  Timetable& rolling_restart() {
    constexpr uint32_t kBatches = 50;
    const uint32_t batches = std::min(kBatches, backends_);
    for (uint32_t b = 0; b < backends_; ++b) {
      const uint32_t batch = static_cast<uint32_t>(uint64_t{b} * batches / backends_);
      const uint32_t at_s = from_s_ + (until_s_ - from_s_) * batch / batches;
      const uint32_t down_s = at_s + kDrain_s, up_s = down_s + kReboot_s;
      add(at_s * 1000, Kind::kState, b, LINIMO_BACKEND_DRAINING);
      add(down_s * 1000, Kind::kDies, b);
      add(down_s * 1000, Kind::kState, b, LINIMO_BACKEND_DOWN);
      add(up_s * 1000, Kind::kRevives, b);
      add(up_s * 1000 + kDetection_ms, Kind::kState, b, LINIMO_BACKEND_UP);
    }
    return *this;
  }

  /// A backend dies every now and then, and returns after two to ten minutes.
  Timetable& failures(uint32_t count) {
    return now_and_then(count, 1, [&](uint32_t at_s, uint32_t b) {
      const uint32_t at_ms = at_s * 1000 + random_.below(1000);
      const uint32_t back_ms = at_ms + 120'000 + random_.below(480'000);
      add(at_ms, Kind::kDies, b);
      add(at_ms + kDetection_ms, Kind::kState, b, LINIMO_BACKEND_DOWN);
      add(back_ms, Kind::kRevives, b);
      add(back_ms + kDetection_ms, Kind::kState, b, LINIMO_BACKEND_UP);
      return back_ms / 1000 + 60;
    });
  }

  /// One in a hundred gets another weight, of half to one and a half of the usual.
  Timetable& weights(uint32_t times) {
    return now_and_then(times, std::max(backends_ / 100, 1U), [&](uint32_t at_s, uint32_t b) {
      add(at_s * 1000, Kind::kWeight, b, 50 + random_.below(101));
      return at_s;
    });
  }

  /// One in a hundred gets no new connections for ten minutes.
  Timetable& drains(uint32_t times) {
    return now_and_then(times, std::max(backends_ / 100, 1U), [&](uint32_t at_s, uint32_t b) {
      add(at_s * 1000, Kind::kState, b, LINIMO_BACKEND_DRAINING);
      add((at_s + 600) * 1000, Kind::kState, b, LINIMO_BACKEND_UP);
      return at_s + 660;
    });
  }

  /// The last fifth of the backends comes in a third of the way through.
  Timetable& scale_out() {
    const uint32_t at_ms = (from_s_ + (until_s_ - from_s_) / 3) * 1000;
    for (uint32_t b = backends_ - backends_ / 5; b < backends_; ++b) {
      add(0, Kind::kDies, b);
      add(0, Kind::kState, b, LINIMO_BACKEND_DOWN);
      add(at_ms, Kind::kRevives, b);
      add(at_ms + kDetection_ms, Kind::kState, b, LINIMO_BACKEND_UP);
    }
    return *this;
  }

  /// Nodes are lost one at a time, each for five minutes.
  Timetable& lose_nodes(uint32_t times, Kind back) {
    constexpr uint32_t kAway_s = 300;
    for (uint32_t i = 0; i < times; ++i) {
      const uint32_t at_s = from_s_ + (until_s_ - from_s_) * i / times;
      const uint32_t away_s = std::min(kAway_s, (until_s_ - from_s_) / times - 1);
      const uint32_t node = (i * 7 + 3) % nodes_;
      add(at_s * 1000, Kind::kNodeLost, node);
      add((at_s + away_s) * 1000, back, node);
    }
    return *this;
  }

  std::vector<Change> take() {
    std::stable_sort(changes_.begin(), changes_.end(),
                     [](const Change& a, const Change& b) { return a.at_ms < b.at_ms; });
    return std::move(changes_);
  }

 private:
  void add(uint32_t at_ms, Kind kind, uint32_t subject, uint32_t value = 0) {
    changes_.push_back({at_ms, kind, subject, value});
  }

  /// `happens(at_s, backend)` says until when the backend is not to be disturbed.
  template <typename Happens>
  Timetable& now_and_then(uint32_t times, uint32_t backends, Happens happens) {
    for (uint32_t i = 0; i < times; ++i) {
      const uint32_t at_s = from_s_ + (until_s_ - from_s_) * i / times;
      for (uint32_t tries = 0, chosen = 0; chosen < backends && tries < 8 * backends; ++tries) {
        const uint32_t b = random_.below(backends_);
        if (busy_until_s_[b] > at_s) continue;
        busy_until_s_[b] = happens(at_s, b);
        ++chosen;
      }
    }
    return *this;
  }

  uint32_t backends_, nodes_, from_s_, until_s_;
  Random random_;
  std::vector<uint32_t> busy_until_s_;
  std::vector<Change> changes_;
};

}  // namespace

bool Scenario::nodes_change() const {
  return std::any_of(changes.begin(), changes.end(),
                     [](const Change& change) { return change.kind == Kind::kNodeLost; });
}

std::vector<Scenario> all_scenarios(const Settings& settings) {
  const auto timetable = [&] { return Timetable(settings); };
  // Three times as many flows as the nodes' tables are made for, in a minute and a half.
  const uint32_t middle_s = settings.duration_s / 2;
  const Attack attack = {middle_s, middle_s + 90, settings.nodes * (settings.flows_per_node / 30)};
  constexpr auto kModulo = Ecmp::Kind::kModulo;
  constexpr auto kResilient = Ecmp::Kind::kResilient;
  return {
      {"quiet", "nothing changes"},
      {"restart", "all backends restarted, a fiftieth at a time: two minutes of draining, 20 s down",
       kResilient, timetable().rolling_restart().take()},
      {"failures", "backends die and return", kResilient, timetable().failures(100).take()},
      {"weights", "weights change, of a hundredth of the backends at a time", kResilient,
       timetable().weights(50).take()},
      {"drains", "backends drained for ten minutes, a hundredth at a time, and taken back", kResilient,
       timetable().drains(50).take()},
      {"scale out", "a quarter more backends, at once", kResilient, timetable().scale_out().take()},
      {"attack", "the restart, and a flood of SYN and ACK packets", kResilient,
       timetable().rolling_restart().take(), attack},
      {"nodes", "the restart, and nodes lost and back; resilient ECMP", kResilient,
       timetable().rolling_restart().lose_nodes(8, Kind::kNodeBack).take()},
      {"nodes, modulo", "the same; ECMP by modulo", kModulo,
       timetable().rolling_restart().lose_nodes(8, Kind::kNodeBack).take()},
      {"nodes, blank", "the same, by modulo; a node that returns knows of no slot that it learns", kModulo,
       timetable().rolling_restart().lose_nodes(8, Kind::kNodeBackBlank).take()},
      {"nodes, drains", "drains, and nodes lost and back; ECMP by modulo", kModulo,
       timetable().drains(50).lose_nodes(8, Kind::kNodeBack).take()},
      {"nodes, weights", "weights, and nodes lost and back; ECMP by modulo", kModulo,
       timetable().weights(50).lose_nodes(8, Kind::kNodeBack).take()},
      {"all", "failures, weights, drains, nodes lost and back by modulo, and the flood", kModulo,
       timetable().failures(50).weights(25).drains(25).lose_nodes(8, Kind::kNodeBack).take(), attack},
  };
}

}  // namespace linimo::fleet
