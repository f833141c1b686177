// The sealed memory in which a snapshot travels, made ready while nobody waits for it.
//
// To get pages and fill them takes longer than all else that a change costs, and the next snapshot mostly is
// the last one with one table changed. So a copy of what was accepted is prepared, and what is published next
// is written over it where it differs: its head and the tables that have other checksums.
//
//   auto fd = memory.sealed_with(snapshot);   // to be sent
//   memory.prepare(snapshot);                 // once it was accepted
//
// Each descriptor is of memory of its own: what was sent stays as it was. Not for several threads at a time.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "maglev/unique_fd.h"

namespace linimo {

class SnapshotMemory {
 public:
  /// A new descriptor with exactly these bytes, a valid snapshot's, sealed against growing, shrinking,
  /// writing and unsealing.
  tl::expected<UniqueFd, std::string> sealed_with(std::span<const std::byte> snapshot);

  /// A valid snapshot. Takes as long as copying it; if there is no memory for that, the next `sealed_with`
  /// takes longer, and that is all.
  void prepare(std::span<const std::byte> snapshot);

 private:
  UniqueFd prepared_;
  std::vector<std::byte> head_;  // of the snapshot in prepared_
  size_t size_ = 0;              // of all of it
};

}  // namespace linimo
