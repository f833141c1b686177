// The answers to what operators ask of the engine: what would become of a frame, and which flows there are.
#pragma once

#include <cstdint>
#include <functional>

#include "dataplane/engine.h"
#include "maglev/protocol.h"

namespace linimo {

/// Says which device and gateway the kernel's route to a backend has: what a trace shows beside it.
using SayRoute = std::function<void(uint32_t backend_id, protocol::Traced& traced)>;

/// Once the engine is ready for it. The control thread.
protocol::Traced answer(EngineBase& engine, const protocol::Trace& question, const SayRoute& say_route);

/// Removes them, too, if that is asked. The control thread.
protocol::FoundFlows answer(EngineBase& engine, const protocol::FindFlows& question);

}  // namespace linimo
