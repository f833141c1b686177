#include "dataplane/dpdk/port.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

namespace linimo::dpdk {
namespace {

constexpr uint16_t kDescriptors = 2048;
constexpr unsigned kMbufsPerQueue =
    16383;  // both rings, AF_XDP's fill ring, bursts in flight, the kernel's ring
constexpr unsigned kMbufCache = 256;

std::string pool_name(uint16_t port_id, uint16_t queue) {
  return fmt::format("linimo_{}_{}", port_id, queue);
}

rte_mempool* make_pool(uint16_t port_id, uint16_t queue, uint16_t mtu) {
  constexpr uint32_t kLinkHeaders = 14 + 8;
  const uint32_t data = std::max<uint32_t>(RTE_MBUF_DEFAULT_DATAROOM, mtu + kLinkHeaders);
  const int socket = rte_eth_dev_socket_id(port_id);
  return rte_pktmbuf_pool_create(pool_name(port_id, queue).c_str(), kMbufsPerQueue, kMbufCache, 0,
                                 static_cast<uint16_t>(RTE_PKTMBUF_HEADROOM + data),
                                 socket < 0 ? SOCKET_ID_ANY : socket);
}

}  // namespace

tl::expected<PortFacts, std::string> configure_port(uint16_t port_id, uint16_t queues, uint16_t mtu) {
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
  PortFacts facts;
  if (mtu != 0) {
    facts.mtu = mtu;
  } else {
    rte_eth_dev_get_mtu(port_id, &facts.mtu);
  }

  rte_eth_conf conf{};
  conf.rxmode.mtu = std::clamp<uint32_t>(facts.mtu, info.min_mtu, info.max_mtu == 0 ? 0xffff : info.max_mtu);
  conf.rxmode.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
  if (queues > 1) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf =
        info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
  }
  if (const int error = rte_eth_dev_configure(port_id, queues, queues, &conf))
    return failed("configure", error);
  uint16_t rx = kDescriptors;
  uint16_t tx = kDescriptors;
  if (const int error = rte_eth_dev_adjust_nb_rx_tx_desc(port_id, &rx, &tx))
    return failed("size its rings", error);
  const auto socket = static_cast<unsigned>(rte_eth_dev_socket_id(port_id));
  for (uint16_t queue = 0; queue < queues; ++queue) {
    rte_mempool* pool = make_pool(port_id, queue, facts.mtu);
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
  // Neighbour discovery is multicast. A driver without the call passes all multicast anyway.
  rte_eth_allmulticast_enable(port_id);
  return {};
}

void close_port(uint16_t port_id) {
  rte_eth_dev_stop(port_id);
  rte_eth_dev_close(port_id);
}

rte_mempool* pool_of(uint16_t port_id) {
  return rte_mempool_lookup(pool_name(port_id, 0).c_str());
}

uint32_t room_for_frames(uint16_t port_id) {
  return rte_pktmbuf_data_room_size(pool_of(port_id)) - RTE_PKTMBUF_HEADROOM;
}

}  // namespace linimo::dpdk
