#include "dataplane/xdp/oversized.h"

#include <algorithm>

#include "dataplane/packet/headers.h"
#include "dataplane/packet/outer_fragments.h"

namespace linimo::xdp {

std::vector<std::vector<uint8_t>> cut_frame(const linimo_xdp_handed& handed, std::span<const uint8_t> frame,
                                            uint32_t identification) {
  if (frame.size() < handed.link + sizeof(packet::Ipv6)) return {};
  const auto outer = frame.subspan(handed.link);
  const packet::OuterFragments fragments(outer.data(), static_cast<uint32_t>(outer.size()), handed.mtu,
                                         identification);
  std::vector<std::vector<uint8_t>> pieces;
  for (uint32_t i = 0; i < fragments.count(); ++i) {
    auto& piece = pieces.emplace_back(handed.link + fragments.length(i));
    std::copy_n(frame.begin(), handed.link, piece.begin());
    fragments.write(i, piece.data() + handed.link);
  }
  return pieces;
}

}  // namespace linimo::xdp
