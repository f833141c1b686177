#include "controlplane/fleet/recent_news.h"

#include <algorithm>

namespace linimo::fleet {

void RecentNews::note(std::span<const SharedFlow> flows, Time now) {
  for (const SharedFlow& flow : flows) {
    if (flow.datagram) continue;
    flows_.get<1>().erase(flow.hash);
    if (flow.ended) continue;
    if (flows_.size() == kMost) flows_.pop_front();
    flows_.push_back({flow, now});
  }
}

std::vector<SharedFlow> RecentNews::since(Time then) const {
  std::vector<SharedFlow> told;
  for (auto one = flows_.rbegin(); one != flows_.rend() && one->at >= then; ++one) told.push_back(*one);
  std::ranges::reverse(told);
  return told;
}

bool Newcomers::are_told(const Heartbeat& heartbeat, const View& view, const std::string& own_name,
                         TableId live) {
  if (live.revision == 0 || heartbeat.table != live) return false;
  const auto lives = [&](const std::string& name) {
    const auto found = view.nodes.find(name);
    return found != view.nodes.end() && found->second;
  };
  if (!lives(heartbeat.node) || heartbeat.node == own_name) return false;
  std::erase_if(instances_, [&](const auto& one) { return !view.nodes.contains(one.first); });
  uint64_t& came = instances_[heartbeat.node];
  if (heartbeat.instance <= came) return false;
  came = heartbeat.instance;
  const auto teller = std::ranges::find_if(
      view.nodes, [&](const auto& node) { return node.second && node.first != heartbeat.node; });
  return teller != view.nodes.end() && teller->first == own_name;
}

}  // namespace linimo::fleet
