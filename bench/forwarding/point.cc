#include "bench/forwarding/point.h"

#include <algorithm>
#include <vector>

namespace linimo::bench {
namespace {

constexpr uint64_t kMillion = 1'000'000;

struct Tracking {
  const char* name;
  linimo_tracking value;
};

/// A row here measures a way of tracking at every number of flows and under every attack.
constexpr Tracking kTrackings[] = {
    {"full", LINIMO_TRACKING_FULL}, {"adaptive", LINIMO_TRACKING_ADAPTIVE}, {"off", LINIMO_TRACKING_OFF}};

Point base() {
  Point point;
  point.name = kBase;
  point.axis = "base";
  point.traffic.flows = kMillion;
  return point;
}

template <typename Change>
Point apart(std::string name, std::string axis, Change change) {
  Point point = base();
  point.name = std::move(name);
  point.axis = std::move(axis);
  change(point);
  return point;
}

std::vector<Target> targets_of(linimo_tracking tracking, uint64_t flows) {
  if (tracking == LINIMO_TRACKING_FULL && flows == 10 * kMillion) return {{Target::kNsOverFloor, 38}};
  if (tracking != LINIMO_TRACKING_ADAPTIVE) return {};
  if (flows == kMillion) return {{Target::kNsOverFloor, 12}};
  if (flows == 10 * kMillion) return {{Target::kTimesPoint, 1.10, "1 k flows uniform, adaptive"}};
  return {};
}

void add_flows(std::vector<Point>& points, const Tracking& tracking) {
  constexpr struct {
    const char* name;
    uint64_t flows;
  } kCounts[] = {{"1 k", 1000}, {"100 k", 100'000}, {"1 M", kMillion}, {"10 M", 10 * kMillion}};
  constexpr struct {
    const char* name;
    Order order;
  } kOrders[] = {{"uniform", Order::kUniform}, {"Zipf", Order::kZipf}};
  for (const auto& order : kOrders) {
    for (const auto& count : kCounts) {
      const std::string name = std::string(count.name) + " flows " + order.name + ", " + tracking.name;
      points.push_back(
          apart(name, std::string("flows, ") + order.name + ", " + tracking.name, [&](Point& point) {
            point.traffic.flows = count.flows;
            point.traffic.order = order.order;
            point.tracking = tracking.value;
            if (order.order == Order::kUniform) point.targets = targets_of(tracking.value, count.flows);
          }));
    }
  }
}

void add_unsettled(std::vector<Point>& points) {
  const auto add = [&](const char* name, double share, Target target) {
    points.push_back(apart(name, "unsettled", [&](Point& point) {
      point.tracking = LINIMO_TRACKING_ADAPTIVE;
      point.unsettled = share;
      point.targets = {std::move(target)};
    }));
  };
  add("adaptive, 1 % of slots unsettled", 0.01, {Target::kTimesPoint, 1.25, kAdaptive});
  add("adaptive, all slots unsettled", 1, {Target::kTimesPoint, 1.15, kBase});
  points.push_back(apart("adaptive, nodes share flows", "unsettled", [](Point& point) {
    point.tracking = LINIMO_TRACKING_ADAPTIVE;
    point.shares = true;
    point.targets = {{Target::kTimesPoint, 1.02, kAdaptive}};
  }));
}

void add_attacks(std::vector<Point>& points, const Tracking& tracking) {
  const auto add = [&](const char* name, auto change) {
    points.push_back(apart(std::string(name) + ", " + tracking.name, std::string("attacks, ") + tracking.name,
                           [&](Point& point) {
                             point.tracking = tracking.value;
                             point.traffic.first_flow = 1U << 30;  // none of the table's
                             point.table = Table::kFull;
                             change(point);
                           }));
  };
  add("each packet a new SYN", [](Point& point) {
    point.traffic.syn = true;
    point.traffic.order = Order::kNeverSeen;
    point.bystander = point.tracking == LINIMO_TRACKING_FULL;
    if (point.tracking == LINIMO_TRACKING_FULL) point.targets = {{Target::kTimesFloor, 5}};
  });
  add("the same, and all entries young", [](Point& point) {
    point.traffic.syn = true;
    point.traffic.order = Order::kNeverSeen;
    point.table = Table::kFullOfYoung;
    point.bystander = point.tracking == LINIMO_TRACKING_FULL;
  });
  const auto no_more_than_full = [](Point& point, const char* name) {
    if (point.tracking == LINIMO_TRACKING_ADAPTIVE)
      point.targets = {{Target::kTimesPoint, 1, std::string(name) + ", full"}};
  };
  add("ACKs of unknown flows", [&](Point& point) {
    point.traffic.order = Order::kNeverSeen;
    no_more_than_full(point, "ACKs of unknown flows");
  });
  add("65,536 SYNs replayed", [&](Point& point) {
    no_more_than_full(point, "65,536 SYNs replayed");
    point.traffic.syn = true;
    point.traffic.flows = 1 << 16;
    point.traffic.order = Order::kInTurn;
  });
}

/// Packets that end on their way, each further than the one before it. They leave the usual one, which is
/// made for what is forwarded.
void add_early_ends(std::vector<Point>& points) {
  const auto add = [&](const char* name, auto change) {
    points.push_back(apart(name, "ends early", [&](Point& point) {
      point.above = "floor of drops";
      point.tracking = LINIMO_TRACKING_OFF;
      change(point);
    }));
  };
  add("not for a VIP", [](Point& point) { point.traffic.for_a_vip = false; });
  add("for no service", [](Point& point) { point.traffic.port = 9; });
  add("chosen, no next hop", [](Point& point) { point.next_hop_known = false; });
}

/// Two cores, half of the flows each.
void add_workers(std::vector<Point>& points) {
  constexpr const char* kFloorOfTwo = "floor, two workers";
  points.push_back(apart(kFloorOfTwo, "floor", [](Point& point) {
    point.loop = Loop::kMacSwap;
    point.workers = 2;
  }));
  const auto add = [&](const char* name, linimo_tracking tracking, const char* alone) {
    points.push_back(apart(name, "workers", [&](Point& point) {
      point.tracking = tracking;
      point.workers = 2;
      point.above = kFloorOfTwo;
      point.targets = {{Target::kTimesFaster, 1.95, alone}};
    }));
  };
  add("two workers, full", LINIMO_TRACKING_FULL, kBase);
  add("two workers, adaptive", LINIMO_TRACKING_ADAPTIVE, kAdaptive);
}

std::vector<Point> make_points() {
  std::vector<Point> points;
  const auto add = [&](std::string name, std::string axis, auto change) {
    points.push_back(apart(std::move(name), std::move(axis), change));
  };
  add("supply alone", "floor", [](Point& point) { point.loop = Loop::kReturn; });
  add(kFloor, "floor", [](Point& point) { point.loop = Loop::kMacSwap; });
  add("floor of drops", "floor", [](Point& point) { point.loop = Loop::kDrop; });
  points.push_back(base());
  points.back().targets = {{Target::kNsOverFloor, 24}};
  for (const Tracking& tracking : kTrackings) add_flows(points, tracking);
  add_unsettled(points);
  for (const Tracking& tracking : kTrackings) add_attacks(points, tracking);
  add("64 services, a pool each", "services",
      [](Point& point) { point.traffic.services = point.pools = 64; });
  add("1000 services, 100 pools", "services", [](Point& point) {
    point.traffic.services = 1000;
    point.pools = 100;
    point.targets = {{Target::kNs, 66}};
  });
  add("1000 services, 100 pools, adaptive", "services", [](Point& point) {
    point.tracking = LINIMO_TRACKING_ADAPTIVE;
    point.traffic.services = 1000;
    point.pools = 100;
    point.targets = {{Target::kNs, 48}};
  });
  add("IPv6 in IPv6", "IPv6", [](Point& point) {
    point.traffic.v6 = true;
    point.above = "floor, IPv6";
    point.targets = {{Target::kTimesPoint, 1.1, kBase}};
  });
  add("IPv6 in IPv6, adaptive", "IPv6", [](Point& point) {
    point.tracking = LINIMO_TRACKING_ADAPTIVE;
    point.traffic.v6 = true;
    point.above = "floor, IPv6";
    point.targets = {{Target::kTimesPoint, 1.1, kAdaptive}};
  });
  add("floor, IPv6", "floor", [](Point& point) {
    point.loop = Loop::kMacSwap;
    point.traffic.v6 = true;
  });
  add("GRE", "encapsulation", [](Point& point) { point.encapsulation = LINIMO_ENCAP_GRE; });
  add("GUE", "encapsulation", [](Point& point) { point.encapsulation = LINIMO_ENCAP_GUE; });
  add("IPv6 in GUE over IPv6", "encapsulation", [](Point& point) {
    point.encapsulation = LINIMO_ENCAP_GUE;
    point.traffic.v6 = true;
    point.above = "floor, IPv6";
  });
  add_workers(points);
  add("IMIX", "sizes", [](Point& point) { point.traffic.sizes = Sizes::kImix; });
  add_early_ends(points);
  return points;
}

}  // namespace

std::span<const Point> all_points() {
  static const std::vector<Point> points = make_points();
  return points;
}

bool is_essential(const Point& point) {
  return point.axis == "base" || point.axis == "floor" || !point.targets.empty();
}

}  // namespace linimo::bench
