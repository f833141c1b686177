#include "controlplane/cli/vip_answers.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <set>

#include <fmt/format.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "maglev/address.h"
#include "maglev/unique_fd.h"

namespace linimo {
namespace {

using Clock = std::chrono::steady_clock;
using Mac = std::array<uint8_t, ETH_ALEN>;

constexpr std::chrono::milliseconds kPatience{500};
constexpr size_t kMostVips = 64;

std::string mac_text(const uint8_t* mac) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4],
                     mac[5]);
}

/// What the kernel says of a device: its MAC address, or its IPv4 address.
bool ask_device(unsigned long question, const std::string& device, ifreq& answer) {
  const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  answer = {};
  device.copy(answer.ifr_name, IFNAMSIZ - 1);
  return fd && ioctl(fd.get(), question, &answer) == 0;
}

/// A LAN, and how to ask there.
class Asker {
 public:
  explicit Asker(std::string device) : device_(std::move(device)), index_(if_nametoindex(device_.c_str())) {
    ifreq answer{};
    if (index_ == 0 || !ask_device(SIOCGIFHWADDR, device_, answer)) return;
    std::memcpy(mac_.data(), answer.ifr_hwaddr.sa_data, mac_.size());
    open_arp();
    open_icmpv6();
  }

  void ask(const Address& vip) const { vip.is_v4() ? ask_arp(vip) : ask_icmpv6(vip); }

  pollfd arp() const { return {arp_ ? arp_.get() : -1, POLLIN, 0}; }
  pollfd icmpv6() const { return {icmpv6_ ? icmpv6_.get() : -1, POLLIN, 0}; }
  const std::string& device() const { return device_; }

  /// Whose address a frame or message says that it is, and by which MAC address.
  static std::optional<std::pair<Address, Mac>> read_arp(int fd) {
    ether_arp told{};
    if (recv(fd, &told, sizeof told, 0) < static_cast<ssize_t>(sizeof told) ||
        told.ea_hdr.ar_op != htons(ARPOP_REPLY) || told.ea_hdr.ar_pln != 4 || told.ea_hdr.ar_hln != ETH_ALEN)
      return {};
    uint32_t address = 0;
    std::memcpy(&address, told.arp_spa, sizeof address);
    Mac mac{};
    std::memcpy(mac.data(), told.arp_sha, mac.size());
    return std::pair(Address::v4(address), mac);
  }

  static std::optional<std::pair<Address, Mac>> read_icmpv6(int fd) {
    struct {
      nd_neighbor_advert advert;
      nd_opt_hdr option;
      uint8_t mac[ETH_ALEN];
    } told{};
    if (recv(fd, &told, sizeof told, 0) < static_cast<ssize_t>(sizeof told) ||
        told.advert.nd_na_type != ND_NEIGHBOR_ADVERT || told.option.nd_opt_type != ND_OPT_TARGET_LINKADDR)
      return {};
    Address address;
    std::memcpy(address.bytes.data(), &told.advert.nd_na_target, address.bytes.size());
    Mac mac{};
    std::memcpy(mac.data(), told.mac, mac.size());
    return std::pair(address, mac);
  }

 private:
  void open_arp() {
    ifreq answer{};
    if (!ask_device(SIOCGIFADDR, device_, answer))
      return;  // as whoever has no address: it cannot be answered
    sockaddr_in own{};
    std::memcpy(&own, &answer.ifr_addr, sizeof own);
    address_ = own.sin_addr.s_addr;
    UniqueFd fd(socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ARP)));
    const sockaddr_ll here{.sll_family = AF_PACKET,
                           .sll_protocol = htons(ETH_P_ARP),
                           .sll_ifindex = static_cast<int>(index_),
                           .sll_hatype = 0,
                           .sll_pkttype = 0,
                           .sll_halen = 0,
                           .sll_addr = {}};
    if (fd && bind(fd.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here) == 0)
      arp_ = std::move(fd);
  }

  void open_icmpv6() {
    UniqueFd fd(socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6));
    icmp6_filter adverts{};
    ICMP6_FILTER_SETBLOCKALL(&adverts);
    ICMP6_FILTER_SETPASS(ND_NEIGHBOR_ADVERT, &adverts);
    const int hops = 255, index = static_cast<int>(index_);
    if (fd && setsockopt(fd.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &adverts, sizeof adverts) == 0 &&
        setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, device_.c_str(),
                   static_cast<socklen_t>(device_.size())) == 0 &&
        setsockopt(fd.get(), IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) == 0 &&
        setsockopt(fd.get(), IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index) == 0)
      icmpv6_ = std::move(fd);
  }

  void ask_arp(const Address& vip) const {
    if (!arp_) return;
    ether_arp question{};
    question.ea_hdr = {.ar_hrd = htons(ARPHRD_ETHER),
                       .ar_pro = htons(ETH_P_IP),
                       .ar_hln = ETH_ALEN,
                       .ar_pln = 4,
                       .ar_op = htons(ARPOP_REQUEST)};
    const uint32_t target = vip.v4_network_order();
    std::memcpy(question.arp_sha, mac_.data(), mac_.size());
    std::memcpy(question.arp_spa, &address_, sizeof address_);
    std::memcpy(question.arp_tpa, &target, sizeof target);
    sockaddr_ll all{};
    all.sll_family = AF_PACKET;
    all.sll_protocol = htons(ETH_P_ARP);
    all.sll_ifindex = static_cast<int>(index_);
    all.sll_halen = ETH_ALEN;
    std::memset(all.sll_addr, 0xff, ETH_ALEN);
    sendto(arp_.get(), &question, sizeof question, 0, reinterpret_cast<const sockaddr*>(&all), sizeof all);
  }

  void ask_icmpv6(const Address& vip) const {
    if (!icmpv6_) return;
    struct {
      nd_neighbor_solicit solicit;
      nd_opt_hdr option;
      uint8_t mac[ETH_ALEN];
    } question{};
    question.solicit.nd_ns_type = ND_NEIGHBOR_SOLICIT;
    std::memcpy(&question.solicit.nd_ns_target, vip.bytes.data(), vip.bytes.size());
    question.option = {.nd_opt_type = ND_OPT_SOURCE_LINKADDR, .nd_opt_len = 1};
    std::memcpy(question.mac, mac_.data(), mac_.size());
    sockaddr_in6 to{};  // the solicited-node address (RFC 4291, 2.7.1)
    to.sin6_family = AF_INET6;
    to.sin6_addr.s6_addr[0] = 0xff;
    to.sin6_addr.s6_addr[1] = 0x02;
    to.sin6_addr.s6_addr[11] = 0x01;
    to.sin6_addr.s6_addr[12] = 0xff;
    std::memcpy(&to.sin6_addr.s6_addr[13], &vip.bytes[13], 3);
    to.sin6_scope_id = index_;
    sendto(icmpv6_.get(), &question, sizeof question, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }

  std::string device_;
  unsigned index_ = 0;
  Mac mac_{};
  uint32_t address_ = 0;  // network byte order
  UniqueFd arp_, icmpv6_;
};

}  // namespace

size_t vips_left_out(const std::vector<std::string>& vips) {
  std::set<Address> all;
  for (const std::string& vip : vips)
    if (const auto address = Address::parse(vip)) all.insert(*address);
  return all.size() - std::min(all.size(), kMostVips);
}

std::vector<VipAnswer> ask_for_vips(const std::vector<std::string>& vips,
                                    const std::vector<std::string>& devices) {
  std::map<Address, std::string> asked;
  for (const std::string& vip : vips) {
    const auto address = Address::parse(vip);
    if (address && asked.size() < kMostVips) asked[*address] = vip;
  }
  std::vector<Asker> askers;
  std::vector<pollfd> waited;
  for (const std::string& device : devices) {
    const Asker& asker = askers.emplace_back(device);
    for (const auto& [address, text] : asked) asker.ask(address);
    waited.push_back(asker.arp());
    waited.push_back(asker.icmpv6());
  }
  std::vector<VipAnswer> answers;
  const auto until = Clock::now() + kPatience;
  for (auto left = kPatience; left.count() > 0;
       left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now())) {
    if (poll(waited.data(), waited.size(), static_cast<int>(left.count())) <= 0) break;
    for (size_t i = 0; i < waited.size(); ++i) {
      if (waited[i].revents == 0) continue;
      const auto told = i % 2 == 0 ? Asker::read_arp(waited[i].fd) : Asker::read_icmpv6(waited[i].fd);
      const auto vip = told ? asked.find(told->first) : asked.end();
      if (vip == asked.end()) continue;
      VipAnswer answer{vip->second, askers[i / 2].device(), mac_text(told->second.data())};
      if (std::ranges::find(answers, answer) == answers.end()) answers.push_back(std::move(answer));
    }
  }
  return answers;
}

}  // namespace linimo
