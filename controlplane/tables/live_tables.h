// What a data plane forwards by, read back from its snapshot: the ids and states that must not change without
// a reason.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "controlplane/config/config.h"
#include "controlplane/health/backend_health.h"

namespace linimo {

struct LiveTables {
  struct Backend {
    uint32_t id = 0;
    linimo_backend_state state = LINIMO_BACKEND_UP;
    uint32_t weight = 0;
  };

  uint64_t generation = 0;
  uint64_t digest = 0;
  std::vector<std::byte> bytes;  // of the snapshot; empty: nothing is live
  std::map<BackendKey, Backend> backends;
  std::map<std::string, uint32_t> services;  // ids
};

/// The bytes may come from anywhere; they are validated. The error says what was wrong with them.
tl::expected<LiveTables, std::string> read_live_tables(std::vector<std::byte> bytes);

/// What may be concluded from them about the health of backends: which are up or down, and how far those have
/// come that start slowly (see eligibility.h for what they weigh). A pool whose weights tell of no slow start
/// has none.
std::map<BackendKey, Standing> standings_in(const LiveTables& live, const Config& config);

/// Equal but for the generation (and thus the checksum), and for which slots are learning: that follows from
/// the tables and the time.
bool same_tables(const std::vector<std::byte>& a, const std::vector<std::byte>& b);

}  // namespace linimo
