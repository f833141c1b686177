#include "dataplane/xdp/native.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/bpf.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>

#include "maglev/os/netlink.h"
#include "maglev/unique_fd.h"

namespace linimo::xdp {
namespace {

// <linux/netdev.h>, which Debian 12 has not yet.
constexpr uint16_t kNetdevGet = 1, kNetdevIndex = 1, kNetdevXdpFeatures = 3;
constexpr uint64_t kSendsSeveralBuffers = 64;

/// One request of generic netlink(7), and what one attribute of the answer says; 0 where it has none.
uint64_t ask_generic(uint16_t family, uint8_t command, const std::function<void(nlmsghdr*)>& add,
                     uint16_t wanted) {
  const std::unique_ptr<mnl_socket, decltype(&mnl_socket_close)> socket(
      mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC), mnl_socket_close);
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) return 0;
  std::array<char, 8192> buffer;
  nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = family;
  message->nlmsg_flags = NLM_F_REQUEST;
  auto* generic = static_cast<genlmsghdr*>(mnl_nlmsg_put_extra_header(message, sizeof(genlmsghdr)));
  generic->cmd = command;
  generic->version = 1;
  add(message);
  if (mnl_socket_sendto(socket.get(), message, message->nlmsg_len) < 0) return 0;
  const ssize_t length = mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
  const auto* answer = reinterpret_cast<const nlmsghdr*>(buffer.data());
  if (length < 0 || !mnl_nlmsg_ok(answer, static_cast<int>(length)) || answer->nlmsg_type != family) return 0;
  uint64_t value = 0;
  for_each_attribute(*answer, sizeof(genlmsghdr), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) != wanted) return;
    std::memcpy(&value, mnl_attr_get_payload(attribute),
                std::min<size_t>(sizeof value, mnl_attr_get_payload_len(attribute)));
  });
  return value;
}

}  // namespace

bool sends_several_buffers(int device_index) {
  const auto family = static_cast<uint16_t>(ask_generic(
      GENL_ID_CTRL, CTRL_CMD_GETFAMILY,
      [](nlmsghdr* message) { mnl_attr_put_strz(message, CTRL_ATTR_FAMILY_NAME, "netdev"); },
      CTRL_ATTR_FAMILY_ID));
  if (family == 0) return false;
  const uint64_t features = ask_generic(
      family, kNetdevGet,
      [&](nlmsghdr* message) {
        mnl_attr_put_u32(message, kNetdevIndex, static_cast<uint32_t>(device_index));
      },
      kNetdevXdpFeatures);
  return (features & kSendsSeveralBuffers) != 0;
}

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
