// What was lately told of flows (flow_news.h), by this node and by others: for a node that starts, which has
// heard nothing. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <boost/multi_index/hashed_index.hpp>
#include <boost/multi_index/member.hpp>
#include <boost/multi_index/sequenced_index.hpp>
#include <boost/multi_index_container.hpp>

#include "controlplane/fleet/events.h"
#include "controlplane/fleet/flow_news.h"
#include "controlplane/fleet/view.h"

namespace linimo::fleet {

class RecentNews {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr size_t kMost = 65'536;  // flows; whoever was told of longest ago makes room

  /// The last word on a flow counts; one that has ended is forgotten, and a datagram is over at once.
  void note(std::span<const SharedFlow> flows, Time now);
  /// Told of since then, oldest first.
  std::vector<SharedFlow> since(Time then) const;
  size_t size() const { return flows_.size(); }

 private:
  struct Told : SharedFlow {
    Time at;
  };
  boost::multi_index_container<
      Told, boost::multi_index::indexed_by<boost::multi_index::sequenced<>,
                                           boost::multi_index::hashed_unique<boost::multi_index::member<
                                               SharedFlow, uint64_t, &SharedFlow::hash>>>>
      flows_;
};

/// Which nodes have just come to forward as this one does, and whether it is this node that tells them.
class Newcomers {
 public:
  /// Is this the first heartbeat of that process by the table that is live here, and is this node the one of
  /// the living that tells it: the first by name of those that it does not include?
  bool are_told(const Heartbeat& heartbeat, const View& view, const std::string& own_name, TableId live);

 private:
  std::map<std::string, uint64_t> instances_;  // that have come, by name
};

}  // namespace linimo::fleet
