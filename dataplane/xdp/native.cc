#include "dataplane/xdp/native.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/if_link.h>

#include "maglev/unique_fd.h"

namespace linimo::xdp {

bool takes_native_xdp(int device_index) {
  if (uint32_t id = 0; bpf_xdp_query_id(device_index, XDP_FLAGS_DRV_MODE, &id) == 0 && id != 0) return true;
  const bpf_insn pass[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = XDP_PASS},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  const UniqueFd program(
      bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "Dual BSD/GPL", pass, std::size(pass), nullptr));
  constexpr uint32_t kFlags = XDP_FLAGS_DRV_MODE | XDP_FLAGS_UPDATE_IF_NOEXIST;
  if (!program || bpf_xdp_attach(device_index, program.get(), kFlags, nullptr) != 0) return false;
  bpf_xdp_detach(device_index, XDP_FLAGS_DRV_MODE, nullptr);
  return true;
}

// virtio_net sends by a queue of each CPU's own what XDP sends. Where it has too few for that, CPUs share
// those that there are; but if those are more than there are CPUs it takes one past the last (Linux 6.1,
// virtnet_xdp_get_sq).
std::string danger_of_native_xdp(const std::string& name, const NetdevFacts& facts, uint32_t cpus) {
  if (facts.driver != "virtio_net" || facts.queues <= cpus || facts.queues + cpus <= facts.most_queues)
    return {};
  return fmt::format(
      "{} queues for {} CPUs leave none for what XDP sends, which crashes the kernel's virtio_net: `ethtool "
      "-L {} "
      "combined {}` first",
      facts.queues, cpus, name, std::max(facts.most_queues - cpus, cpus));
}

}  // namespace linimo::xdp
