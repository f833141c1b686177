// Array maps of cells that take each other's place in an array of maps.
#pragma once

#include <cstdint>

#include "maglev/unique_fd.h"

namespace linimo::xdp {

/// Zeroed, and to be mapped. `flags`: BPF_F_INNER_MAP where maps of other sizes take each other's place.
/// Empty where the kernel refuses; errno says why.
UniqueFd create_array(const char* name, uint64_t cells, uint32_t flags);

/// The map in a slot of an array of maps, with its size; nothing where the slot is empty.
UniqueFd inner_map(int outer, uint32_t slot, uint64_t& cells);

}  // namespace linimo::xdp
