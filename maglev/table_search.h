// How a member of a Maglev table finds the first free slot of its permutation (maglev/table.h) fast: in
// vectors of eight where the CPU has AVX2, else one slot after the other. Both give the same.
//
// A permutation is the slots (next + step * skip) mod size, for the steps 0, 1, 2 ...
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace linimo {

/// The slots of a permutation, relative to where it stands: (step * skip) mod size.
using EightSteps = std::array<uint32_t, 8>;

struct TableSearch {
  /// Bit `step`: that slot is free, of those that `steps` names from `next` on. A bit of `taken` for each
  /// slot.
  uint32_t (*free_of_eight)(const uint32_t* taken, const EightSteps& steps, uint32_t next, uint32_t size);

  /// The least of (slot - next) * `unit`, modulo 2^64, over some `slots`; not over none.
  uint64_t (*least)(std::span<const uint32_t> slots, uint32_t next, uint64_t unit);
};

/// Of this CPU. Any thread.
const TableSearch& table_search();

/// Of every CPU.
const TableSearch& portable_table_search();

}  // namespace linimo
