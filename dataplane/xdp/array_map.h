// Array maps of cells that take each other's place in an array of maps.
#pragma once

#include <cstdint>
#include <filesystem>

#include "maglev/unique_fd.h"

namespace linimo::xdp {

/// Zeroed, and to be mapped. `flags`: BPF_F_INNER_MAP where maps of other sizes take each other's place.
/// Empty where the kernel refuses; errno says why.
UniqueFd create_array(const char* name, uint64_t cells, uint32_t flags);

/// Where a map is pinned that is in a slot of the array of maps `outer`: who starts later finds it there. By
/// the ids that the array itself shows, only CAP_SYS_ADMIN does. `pins`: empty where nothing is pinned.
std::filesystem::path pin_of_inner(const std::filesystem::path& pins, const char* outer, uint32_t slot);

/// Pins it in the place of what is pinned there, or does nothing where `pin` is empty. False: errno says why.
bool pin_map(const UniqueFd& map, const std::filesystem::path& pin);

/// The map that is pinned there, with its size; nothing where none is.
UniqueFd pinned_map(const std::filesystem::path& pin, uint64_t& cells);

}  // namespace linimo::xdp
