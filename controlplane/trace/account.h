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
  std::string memory;                                 // what a row is: worker or queue
  std::function<std::string(uint32_t id)> scheduler;  // of a service
};

/// A linimo_outcome by its name, and what that means for the packet, to be read behind "the packet";
/// LINIMO_OUTCOME_COUNT is one that is held.
std::string outcome_text(uint32_t outcome);
std::string outcome_meaning(uint32_t outcome);
/// A linimo_encapsulation: "IPIP".
std::string encapsulation_text(uint32_t encapsulation);

/// {"packet", "interface", "generation", "outcome", "meaning", "backend", ..., "steps": [{"step", "says"}],
/// "check": [command], "frame": hex}
nlohmann::json trace_account(const TrialPacket& packet, const protocol::Traced& traced,
                             const TraceNames& names);

}  // namespace linimo
