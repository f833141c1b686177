// The descriptors that health checks need, and this process's limit of them.
#pragma once

#include <cstdint>

#include "controlplane/config/config.h"

namespace linimo {

struct DescriptorLimit {
  uint64_t needed = 0;  // if every check waits for its answer at once
  uint64_t limit = 0;

  bool enough() const { return limit >= needed; }
};

uint64_t descriptors_needed(const Config& config);

/// Raises the limit to what is needed as far as this process may: above the hard limit with CAP_SYS_RESOURCE
/// alone. Never lowers it.
DescriptorLimit raise_descriptor_limit(uint64_t needed);

}  // namespace linimo
