// A capture's filter as an XDP program: it stands in front of two others and says to which of them a packet
// goes, by a tail call.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <tl/expected.hpp>

#include "maglev/protocol.h"
#include "maglev/unique_fd.h"

namespace linimo::xdp {

/// Where it leads: slots of a map of programs. Where a slot is empty, packets go to the kernel.
struct FilterExits {
  int programs;  // the map's descriptor
  uint32_t wanted;
  uint32_t other;
};

/// `steps`: as Filter takes them. The error says why the kernel does not.
tl::expected<UniqueFd, std::string> load_filter(std::span<const protocol::FilterStep> steps,
                                                const FilterExits& exits);

}  // namespace linimo::xdp
