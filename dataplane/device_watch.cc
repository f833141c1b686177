#include "dataplane/device_watch.h"

#include <algorithm>
#include <chrono>
#include <string_view>

#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/if_link.h>

namespace linimo {
namespace {

constexpr auto kPeriod = std::chrono::seconds(1);

std::string_view name_in(const nlmsghdr& message) {
  std::string_view name;
  for_each_attribute(message, sizeof(ifinfomsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) != IFLA_IFNAME) return;
    name = {static_cast<const char*>(mnl_attr_get_payload(attribute)), mnl_attr_get_payload_len(attribute)};
    name = name.substr(0, name.find('\0'));
  });
  return name;
}

/// Frames of a machine's own stack come by it, which may leave to a NIC what no NIC will do. virtio's driver
/// asks its host to finish them while a native XDP program is on it.
bool may_get_unfinished_frames(const NetdevFacts& facts) {
  if (facts.driver == "veth" || facts.driver == "tun") return true;
  LIBBPF_OPTS(bpf_xdp_query_opts, xdp);
  return facts.driver == "virtio_net" && bpf_xdp_query(facts.index, 0, &xdp) == 0 &&
         xdp.attach_mode != XDP_ATTACHED_DRV;
}

}  // namespace

DeviceWatch::DeviceWatch(EventLoop& loop, std::vector<std::string> names, ConditionBoard& board,
                         std::string mend, Look look)
    : names_(std::move(names)),
      board_(board),
      mend_(std::move(mend)),
      look_(std::move(look)),
      events_(RTMGRP_LINK) {
  loop.add(events_.fd(), [this] {
    bool ours = false;
    const bool all = events_.receive([&](const nlmsghdr& message) {
      ours |= std::find(names_.begin(), names_.end(), name_in(message)) != names_.end();
    });
    if (ours || !all) this->look();
  });
  loop.every(kPeriod, [this] { this->look(); });
}

void DeviceWatch::look() {
  for (size_t i = 0; i < names_.size(); ++i) {
    const auto facts = netdev_facts(names_[i]);
    const NetdevFacts* now = facts ? &*facts : nullptr;
    judge(names_[i], now, look_(i, now));
    judge_offloads(names_[i], now);
  }
}

void DeviceWatch::judge(const std::string& name, const NetdevFacts* now, const std::string& useless) {
  using enum ConditionState;
  if (now == nullptr) {
    board_.set("interface-present", name, kFails, fmt::format("there is no interface {}", name), mend_);
    board_.set("carrier", name, kFails, "the interface is gone");
    return;
  }
  if (useless.empty())
    board_.set("interface-present", name, kHolds);
  else
    board_.set("interface-present", name, kFails, useless, mend_);
  if (now->carrier)
    board_.set("carrier", name, kHolds);
  else if (now->up)
    board_.set("carrier", name, kFails, "no carrier", "check the cable, or the port at its other end");
  else
    board_.set("carrier", name, kFails, "the interface is down", fmt::format("ip link set {} up", name));
}

void DeviceWatch::judge_offloads(const std::string& name, const NetdevFacts* now) {
  using enum ConditionState;
  if (now == nullptr) {
    board_.set("vlan-tags", name, kUnknown, "the interface is gone");
    board_.forget("peer-offloads", name);
    return;
  }
  if (keep_vlan_tags(name))
    board_.set("vlan-tags", name, kHolds);
  else
    board_.set("vlan-tags", name, kFails, "the driver takes VLAN tags out of frames: VLANs do not work there",
               fmt::format("ethtool -K {} rxvlan off", name));
  if (may_get_unfinished_frames(*now))
    board_.set(
        "peer-offloads", name, kUnknown,
        "what its other end leaves to a NIC (checksums, VLAN tags) nobody does: backends drop such frames",
        "`ethtool -K DEV tx off txvlan off` there");
  else
    board_.forget("peer-offloads", name);
}

}  // namespace linimo
