// What the data plane told of one packet (maglev/trace.h), in words: each step and why, the outcome and what
// to do about it, and the commands by which an expert checks it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "controlplane/trace/trial_packet.h"
#include "maglev/protocol.h"

namespace linimo {

/// What stands behind ids and addresses, by who knows.
struct TraceNames {
  std::function<std::string(uint32_t id)> service;
  std::function<std::string(uint32_t id)> backend;        // POOL/ADDRESS
  std::function<std::string(uint32_t id)> backend_state;  // up, down, draining...
  std::function<std::string(uint32_t id)> backend_address;
  std::string memory;  // what a row is: worker or queue
};

/// {"packet", "interface", "generation", "outcome", "meaning", "backend", ..., "steps": [{"step", "says"}],
/// "check": [command], "frame": hex}
nlohmann::json trace_account(const TrialPacket& packet, const protocol::Traced& traced,
                             const TraceNames& names);

}  // namespace linimo
