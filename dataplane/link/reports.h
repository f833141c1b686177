// What the data plane tells of its own accord: watched conditions, and whether backends have a way. All of it
// to a control plane that has just connected, then what changes; and a heartbeat, which also says that all
// has been told.
//
//   Reports reports(board);
//   reports.begin([&](std::span<const std::byte> message) { return send(message); });
//   every 50 ms: reports.flush();
//
// Nothing is queued: what could not be sent is sent as it stands then. Control thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "dataplane/conditions.h"
#include "maglev/next_hop.h"
#include "maglev/protocol.h"

namespace linimo {

class Reports {
 public:
  /// False: the socket is full, or the other side is gone.
  using Send = std::function<bool(std::span<const std::byte>)>;

  explicit Reports(ConditionBoard& board);
  ~Reports();  // the board outlives it
  Reports(const Reports&) = delete;

  /// To somebody new, who knows nothing.
  void begin(Send send);
  void end() { send_ = nullptr; }

  /// How the way to a backend stands; nothing: it is no longer followed.
  void next_hop(uint32_t backend_id, std::optional<linimo_next_hop_state> state);

  /// Sends what has changed.
  void flush();
  /// The same and, if nothing is left to say, a heartbeat.
  void beat();

 private:
  bool send_condition(const ConditionBoard::Key& key);
  bool send_next_hops(uint32_t range);

  ConditionBoard& board_;
  Send send_;
  std::set<ConditionBoard::Key> unsent_conditions_;
  std::vector<uint8_t> next_hops_;   // by backend id, as in protocol::NextHops
  std::set<uint32_t> known_ranges_;  // of which anything was ever said
  std::set<uint32_t> unsent_ranges_;
  uint64_t sequence_ = 0;
};

}  // namespace linimo
