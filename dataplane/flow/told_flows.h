// Flows that nodes of a fleet have told each other of, this one included (maglev/rules/sharing.h): asked
// before a packet of a flow that no connection table knows is sent where a stranger would guess.
//
//   told.note(word, idle_timeout, now)      // the one writer; true: that is news
//   told.find(hash, service, idle_timeout, now)
//
// A connection table of its own, so bounded: who is in it for longest gives way. Times are in units of the
// engine's clock, `idle_timeout` a flow's. One thread writes; any may look meanwhile.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/flow/connection_table.h"
#include "maglev/abi.h"
#include "maglev/rules/sharing.h"

namespace linimo {

class ToldFlows {
 public:
  /// For so many flows. `memory` as for a ConnectionTable, or as an earlier process left it; or of its own,
  /// of which what nothing is written to takes none. Throws std::bad_alloc.
  ToldFlows(uint64_t flows, std::span<std::byte> memory);
  explicit ToldFlows(uint64_t flows);

  /// The entry of a flow's last word while it lives, else 0. Any thread.
  uint64_t find(uint64_t hash, uint32_t service, uint32_t idle_timeout, uint32_t now) const;

  /// Was it not known, or so long ago that the others are to hear of it again?
  bool note(const linimo_flow_word& word, uint32_t idle_timeout, uint32_t now);

  /// Clears what has expired in the next buckets, going round. `services`: by id.
  void sweep(uint64_t buckets, std::span<const SweptService> services, uint32_t now);

  /// So many swept a second go round once in a minute, far below the 4096 s or ticks of a stamp.
  uint64_t buckets_a_second() const { return buckets() / 60 + 1; }

  uint64_t entries() const { return table_.entries(); }
  uint64_t buckets() const { return table_.buckets(); }

 private:
  explicit ToldFlows(uint64_t flows, std::shared_ptr<std::byte> memory);

  std::shared_ptr<std::byte> owned_;
  ConnectionTable table_;
};

}  // namespace linimo
