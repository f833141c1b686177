// What nodes tell each other of flows, on its way between the data planes.

#include <algorithm>
#include <vector>

#include "controlplane/member/member.h"

namespace linimo {

void FleetMember::tell(std::span<const fleet::SharedFlow> flows) {
  if (beacon_ == nullptr) return;
  // Nodes of an earlier version refuse news that has datagrams in it.
  const auto is_flow = [](const fleet::SharedFlow& flow) { return !flow.datagram; };
  std::vector<fleet::SharedFlow> sorted(flows.begin(), flows.end());
  std::stable_partition(sorted.begin(), sorted.end(), is_flow);
  for (flows = sorted; !flows.empty();) {
    const auto same =
        std::ranges::find_if(flows, [&](const auto& flow) { return is_flow(flow) != is_flow(flows[0]); });
    const auto some =
        flows.first(std::min(static_cast<size_t>(same - flows.begin()), fleet::FlowNews::kMost));
    beacon_->send(fleet::FlowNews{
        state_.settings.node, state_.settings.instance, ++last_news_, {some.begin(), some.end()}});
    shared_.told += some.size();
    flows = flows.subspan(some.size());
  }
}

void FleetMember::take(const fleet::FlowNews& news) {
  const auto member = state_.view.nodes.find(news.node);
  const bool lives = member != state_.view.nodes.end() && member->second && news.node != state_.settings.node;
  if (!gate_.admits(news, lives ? member->second->instance : 0, std::chrono::steady_clock::now())) {
    ++shared_.refused;
    return;
  }
  shared_.heard += news.flows.size();
  if (node_ != nullptr) node_->hear(news.flows);
}

FleetMember::SharedCounts FleetMember::shared_counts() const {
  SharedCounts counts = shared_;
  if (beacon_ != nullptr) counts.refused += beacon_->refused();
  return counts;
}

}  // namespace linimo
