#include "dataplane/dpdk/port.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <spdlog/spdlog.h>
#include <xxhash.h>

#include "dataplane/dpdk/rss_key.h"

namespace linimo::dpdk {
namespace {

constexpr uint16_t kDescriptors = 2048;
constexpr unsigned kMbufsPerQueue =
    16383;  // both rings, AF_XDP's fill ring, bursts in flight, the kernel's ring
constexpr unsigned kMbufCache = 256;

std::string pool_name(uint16_t port_id, uint16_t queue) {
  return fmt::format("linimo_{}_{}", port_id, queue);
}

constexpr uint32_t kLinkHeaders = 14 + 8;  // with two tags

// A frame of an AF_XDP port lies in one page, behind the packet buffer's own headers and what the kernel
// keeps in front of every frame (XDP_PACKET_HEADROOM). Not quite a page: DPDK gives packet buffers an odd
// number of cache lines, to spread them over memory channels.
constexpr uint32_t kXdpHeadroom = 256, kPage = 4096 - RTE_CACHE_LINE_SIZE;
constexpr uint32_t kBufferHeaders = RTE_CACHE_LINE_SIZE + sizeof(rte_mbuf) + RTE_PKTMBUF_HEADROOM;
constexpr uint16_t kLargestAfXdpMtu = kPage - kBufferHeaders - kXdpHeadroom - kLinkHeaders;

/// Room for a whole frame. NICs tell sizes apart in steps of 1 KiB and round down.
uint32_t bytes_for_frame(uint16_t mtu, bool af_xdp) {
  constexpr uint32_t kChecksum = 4, kStep = 1024;
  const uint32_t frame = af_xdp ? mtu + kLinkHeaders + kXdpHeadroom
                                : (mtu + kLinkHeaders + kChecksum + kStep - 1) / kStep * kStep;
  return std::max<uint32_t>(RTE_MBUF_DEFAULT_DATAROOM, frame);
}

uint16_t bytes_of_buffer(uint16_t mtu, bool af_xdp) {
  return static_cast<uint16_t>(RTE_PKTMBUF_HEADROOM + bytes_for_frame(mtu, af_xdp));
}

rte_mempool* make_pool(uint16_t port_id, uint16_t queue, uint16_t bytes) {
  const int socket = rte_eth_dev_socket_id(port_id);
  return rte_pktmbuf_pool_create(pool_name(port_id, queue).c_str(), kMbufsPerQueue, kMbufCache, 0, bytes,
                                 socket < 0 ? SOCKET_ID_ANY : socket);
}

}  // namespace

uint64_t bytes_of_pool(uint16_t mtu, bool af_xdp) {
  constexpr uint32_t kHeaders = sizeof(rte_mbuf) + 2 * RTE_CACHE_LINE_SIZE;  // and what keeps them apart
  return uint64_t{kMbufsPerQueue} * (bytes_of_buffer(mtu, af_xdp) + kHeaders);
}

tl::expected<PortFacts, std::string> configure_port(uint16_t port_id, uint16_t queues, uint16_t mtu,
                                                    std::span<const uint8_t> rss_key) {
  char name[RTE_ETH_NAME_MAX_LEN] = "?";
  rte_eth_dev_get_name_by_port(port_id, name);
  const auto failed = [&](const char* what, int error) {
    return tl::unexpected(fmt::format("port {}: {}: {}", name, what, rte_strerror(-error)));
  };
  rte_eth_dev_info info{};
  if (const int error = rte_eth_dev_info_get(port_id, &info)) return failed("read what it can do", error);
  if (info.max_rx_queues < queues || info.max_tx_queues < queues) {
    return tl::unexpected(
        fmt::format("port {} has {} receive and {} transmit queues, fewer than the {} workers; lower "
                    "[node] workers",
                    name, info.max_rx_queues, info.max_tx_queues, queues));
  }
  const bool af_xdp = info.driver_name != nullptr && std::string_view(info.driver_name) == "net_af_xdp";
  PortFacts facts;
  if (mtu != 0) {
    facts.mtu = mtu;
  } else {
    rte_eth_dev_get_mtu(port_id, &facts.mtu);
  }

  const uint16_t largest =
      std::min<uint16_t>(info.max_mtu == 0 ? 0xffff : info.max_mtu, af_xdp ? kLargestAfXdpMtu : 0xffff);
  if (facts.mtu > largest) {
    return tl::unexpected(fmt::format(
        "port {}: an MTU of {} is too large, DPDK can take {} there; lower it (`ip link set DEV mtu "
        "{}`){}",
        name, facts.mtu, largest, largest,
        af_xdp ? ", take engine \"xdp\", or bind the NIC to vfio-pci and configure its PCI address" : ""));
  }

  rte_eth_conf conf{};
  conf.rxmode.mtu = std::max<uint32_t>(facts.mtu, info.min_mtu);
  conf.rxmode.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
  const uint64_t rss = info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
  // A device that does not say how long its key is takes the usual one of 40 bytes.
  std::vector<uint8_t> key;
  if (queues > 1 && rss != 0) {
    key = of_length(rss_key, info.hash_key_size == 0 ? 40 : info.hash_key_size);
    conf.rx_adv_conf.rss_conf.rss_key = key.data();
    conf.rx_adv_conf.rss_conf.rss_key_len = static_cast<uint8_t>(key.size());
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = rss;
  } else if (queues > 1) {
    spdlog::warn("port {} has no RSS: how packets are spread over its {} queues is up to the device", name,
                 queues);
  }
  if (const int error = rte_eth_dev_configure(port_id, queues, queues, &conf))
    return failed("configure", error);
  uint16_t rx = kDescriptors;
  uint16_t tx = kDescriptors;
  if (const int error = rte_eth_dev_adjust_nb_rx_tx_desc(port_id, &rx, &tx))
    return failed("size its rings", error);
  const auto socket = static_cast<unsigned>(rte_eth_dev_socket_id(port_id));
  for (uint16_t queue = 0; queue < queues; ++queue) {
    rte_mempool* pool = make_pool(port_id, queue, bytes_of_buffer(facts.mtu, af_xdp));
    if (pool == nullptr) {
      return tl::unexpected(fmt::format("port {}: no memory for its packets ({}); reserve more hugepages",
                                        name, rte_strerror(rte_errno)));
    }
    if (const int error = rte_eth_rx_queue_setup(port_id, queue, rx, socket, nullptr, pool)) {
      return failed("set up a receive queue", error);
    }
    if (const int error = rte_eth_tx_queue_setup(port_id, queue, tx, socket, nullptr)) {
      return failed("set up a transmit queue", error);
    }
  }
  rte_ether_addr mac{};
  if (const int error = rte_eth_macaddr_get(port_id, &mac)) return failed("read its MAC address", error);
  std::memcpy(facts.mac.data(), mac.addr_bytes, 6);
  return facts;
}

tl::expected<void, std::string> start_port(uint16_t port_id) {
  if (const int error = rte_eth_dev_start(port_id)) {
    return tl::unexpected(fmt::format("port {} does not start: {}", port_id, rte_strerror(-error)));
  }
  // Neighbour discovery is multicast. virtio passes no VLAN that it was not told of, or everything. AF_XDP
  // cannot be asked: see receive_everything.
  rte_eth_allmulticast_enable(port_id);
  rte_eth_dev_info info{};
  if (rte_eth_dev_info_get(port_id, &info) == 0 && std::string_view(info.driver_name) == "net_virtio")
    rte_eth_promiscuous_enable(port_id);
  return {};
}

tl::expected<void, std::string> set_port_mtu(uint16_t port_id, uint16_t mtu) {
  uint16_t now = 0;
  if (rte_eth_dev_get_mtu(port_id, &now) != 0 || now == mtu) return {};
  const int error =
      bytes_for_frame(mtu, false) > room_for_frames(port_id) ? -EMSGSIZE : rte_eth_dev_set_mtu(port_id, mtu);
  if (error == 0 || error == -ENOTSUP) return {};
  return tl::unexpected(fmt::format("the port's MTU stays {}: {} is {}", now, mtu,
                                    error == -EMSGSIZE ? "more than its buffers were made for"
                                                       : fmt::format("refused ({})", rte_strerror(-error))));
}

uint64_t rss_digest(uint16_t port_id) {
  rte_eth_dev_info info{};
  std::array<uint8_t, 256> key{};
  rte_eth_rss_conf conf{};
  if (rte_eth_dev_info_get(port_id, &info) != 0 || info.hash_key_size > key.size()) return 0;
  conf.rss_key = key.data();
  conf.rss_key_len = info.hash_key_size;
  if (rte_eth_dev_rss_hash_conf_get(port_id, &conf) != 0) return 0;
  return XXH3_64bits_withSeed(key.data(), key.size(), conf.rss_hf);
}

void close_port(uint16_t port_id) {
  rte_eth_dev_stop(port_id);
  rte_eth_dev_close(port_id);
}

bool wait_for_link(uint16_t port_id, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (true) {
    rte_eth_link link{};
    if (rte_eth_link_get_nowait(port_id, &link) != 0 || link.link_status == RTE_ETH_LINK_UP) return true;
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

rte_mempool* pool_of(uint16_t port_id) {
  return rte_mempool_lookup(pool_name(port_id, 0).c_str());
}

uint32_t room_for_frames(uint16_t port_id) {
  return rte_pktmbuf_data_room_size(pool_of(port_id)) - RTE_PKTMBUF_HEADROOM;
}

}  // namespace linimo::dpdk
