// What happens to a fleet: a timetable, made before the simulation starts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/fleet/ecmp.h"
#include "bench/fleet/settings.h"
#include "maglev/abi.h"

namespace linimo::fleet {

struct Change {
  enum class Kind : uint8_t {
    kDies,           // the backend, and every connection that it has
    kRevives,        // the backend; nobody knows yet
    kState,          // of the backend, as the nodes are told
    kWeight,         // of the backend
    kNodeLost,       // with its connection table
    kNodeBack,       // knows which slots are learning, as the other nodes do
    kNodeBackBlank,  // takes every slot for settled
  };

  uint32_t at_ms;
  Kind kind;
  uint32_t subject;    // number of the backend or node
  uint32_t value = 0;  // linimo_backend_state, or weight
};

/// Packets from made-up sources: half of them begin a flow (SYN), half belong to none that ever began (ACK).
struct Attack {
  uint32_t from_s = 0, until_s = 0;
  uint32_t packets_per_s = 0;
};

struct Scenario {
  std::string name;
  std::string about;
  Ecmp::Kind ecmp = Ecmp::Kind::kResilient;
  std::vector<Change> changes = {};  // by time
  Attack attack = {};

  bool nodes_change() const;
};

std::vector<Scenario> all_scenarios(const Settings& settings);

}  // namespace linimo::fleet
