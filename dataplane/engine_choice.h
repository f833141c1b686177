// Which engine, and why: `[node] engine = "auto"` takes dpdk where a port allows it, else xdp.
#pragma once

#include <string>

#include "maglev/config/node.h"

namespace linimo {

struct EngineChoice {
  Engine engine;       // never kAuto
  std::string reason;  // one line
};

EngineChoice choose_engine(const NodeConfig& config);

}  // namespace linimo
