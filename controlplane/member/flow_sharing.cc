// What nodes tell each other of flows, on its way between the data planes.

#include <algorithm>
#include <vector>

#include "controlplane/log.h"
#include "controlplane/member/member.h"
#include "maglev/rules/sharing.h"

namespace linimo {
namespace {

using Clock = std::chrono::steady_clock;

/// Half of what a node takes of another (FlowNewsGate::kMostPerSecond): there are other news meanwhile.
constexpr std::chrono::milliseconds kTellingEvery{10};
static_assert(fleet::FlowNews::kMost * (std::chrono::seconds(1) / kTellingEvery) <
              fleet::FlowNewsGate::kMostPerSecond / 2);

/// How long those who were told remember it, at most.
std::chrono::seconds longest_life(const Config& config) {
  return std::chrono::seconds(linimo_told_for(static_cast<uint32_t>(config.longest_idle_timeout().count())));
}

}  // namespace

void FleetMember::tell(std::span<const fleet::SharedFlow> flows) {
  if (beacon_ == nullptr) return;
  recent_news_.note(flows, Clock::now());
  // Nodes of an earlier version refuse news that has datagrams in it.
  const auto is_flow = [](const fleet::SharedFlow& flow) { return !flow.datagram; };
  std::vector<fleet::SharedFlow> sorted(flows.begin(), flows.end());
  std::stable_partition(sorted.begin(), sorted.end(), is_flow);
  for (flows = sorted; !flows.empty();) {
    const auto same =
        std::ranges::find_if(flows, [&](const auto& flow) { return is_flow(flow) != is_flow(flows[0]); });
    const auto some =
        flows.first(std::min(static_cast<size_t>(same - flows.begin()), fleet::FlowNews::kMost));
    beacon_->send(next_news(some));
    flows = flows.subspan(some.size());
  }
}

fleet::FlowNews FleetMember::next_news(std::span<const fleet::SharedFlow> flows) {
  shared_.told += flows.size();
  return {state_.settings.node, state_.settings.instance, ++last_news_, {flows.begin(), flows.end()}};
}

void FleetMember::take(const fleet::FlowNews& news) {
  const auto member = state_.view.nodes.find(news.node);
  const bool lives = member != state_.view.nodes.end() && member->second && news.node != state_.settings.node;
  if (!gate_.admits(news, lives ? member->second->instance : 0, Clock::now())) {
    ++shared_.refused;
    return;
  }
  recent_news_.note(news.flows, Clock::now());
  shared_.heard += news.flows.size();
  if (node_ != nullptr) node_->hear(news.flows);
}

void FleetMember::tell_newcomer(const fleet::Heartbeat& heartbeat, const Beacon::Endpoint& sender) {
  if (node_ == nullptr || !newcomers_.are_told(heartbeat, state_.view, state_.settings.node, state_.own.live))
    return;
  auto flows = recent_news_.since(Clock::now() - longest_life(node_->config()));
  if (flows.empty()) return;
  log_info("a node that started is told of flows", {{"node", heartbeat.node}, {"flows", flows.size()}});
  std::erase_if(untold_, [&](const Untold& one) { return one.newcomer == sender; });
  untold_.push_back({sender, std::move(flows)});
  tell_some();
}

void FleetMember::tell_some() {
  if (untold_.empty()) return;
  auto& [newcomer, flows] = untold_.front();
  const auto some = std::span(flows).last(std::min(flows.size(), fleet::FlowNews::kMost));
  beacon_->send_to(newcomer, next_news(some));
  flows.resize(flows.size() - some.size());
  if (flows.empty()) untold_.pop_front();
  telling_.expires_after(kTellingEvery);
  telling_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tell_some();
  });
}

FleetMember::SharedCounts FleetMember::shared_counts() const {
  SharedCounts counts = shared_;
  if (beacon_ != nullptr) counts.refused += beacon_->refused();
  return counts;
}

}  // namespace linimo
