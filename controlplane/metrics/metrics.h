// What Prometheus reads: the node's counters and states in the text exposition format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/).
//
//   curl --unix-socket /run/linimo/control.sock http://linimo/metrics
//
// Nothing is counted here: each page is made from what the data plane and the health checks have counted
// anyway, so a page that nobody asks for costs nothing. Labels take the values that the configuration names
// (service, pool, backend), outcomes and workers, so traffic cannot make new series.
#pragma once

#include <string>

#include "controlplane/node_state.h"

namespace linimo {

inline constexpr const char* kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

/// `state` holds all backends. Pure; any thread.
std::string metrics_page(const NodeState& state);

}  // namespace linimo
