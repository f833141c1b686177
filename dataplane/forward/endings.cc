// Where a packet's way ends that is not sent into a tunnel: dropped, or the kernel's.

#include <rte_mbuf.h>

#include "dataplane/forward/frame_addresses.h"
#include "dataplane/forward/pipeline.h"

namespace linimo {

__attribute__((cold)) void Pipeline::undeliverable(rte_mbuf* mbuf, NextHop::State why) {
  drop(mbuf, linimo_next_hop_outcome(why));
}

// To a VIP, and nothing that Linimo does anything with. The host may have the address too. If it has not, its
// kernel would route the packet back: a loop.
__attribute__((cold)) bool Pipeline::no_service(const Generation& generation, const Packet& packet,
                                                BurstOutput& out) {
  if (generation.is_host_address(destination_of(packet.frame)))
    return to_kernel(packet.mbuf, &generation, out);
  return drop(packet.mbuf, LINIMO_OUTCOME_no_service);
}

bool Pipeline::drop(rte_mbuf* mbuf, linimo_outcome reason) {
  count(counters_.outcomes[reason]);
  rte_pktmbuf_free(mbuf);
  return false;
}

bool Pipeline::to_kernel(rte_mbuf* mbuf, const Generation* generation, BurstOutput& out) {
  const auto* bytes = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  const uint32_t length = rte_pktmbuf_data_len(mbuf);
  packet::Frame located;
  const packet::Frame* const frame = packet::locate(bytes, length, located) ? &located : nullptr;
  if (packet::is_control(bytes, length, frame))
    out.control.push(mbuf);
  else if (generation != nullptr && frame != nullptr && generation->may_answer_checks(source_of(*frame)))
    out.answers.push(mbuf);
  else
    out.kernel.push(mbuf);
  return false;
}

}  // namespace linimo
