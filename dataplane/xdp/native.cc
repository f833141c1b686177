#include "dataplane/xdp/native.h"

#include <cstdint>
#include <iterator>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
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

}  // namespace linimo::xdp
