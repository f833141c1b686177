// How many make a majority.
#pragma once

#include <cstddef>

namespace linimo::fleet {

/// More than half of all who may speak, whether they do or not: two majorities always share somebody.
bool is_majority(size_t agree, size_t may_speak);

}  // namespace linimo::fleet
