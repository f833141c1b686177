#include "dataplane/probe/probe_path.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include "dataplane/packet/encapsulate.h"
#include "dataplane/probe/probe_device.h"
#include "maglev/os/device_socket.h"
#include "maglev/probes.h"
#include "maglev/state_file.h"

namespace linimo {
namespace {

constexpr size_t kHeadroom =
    64;  // for the outer header; the link header before the inner one gives way to it
constexpr size_t kMostPacket = 2048;
constexpr std::string_view kCondition = "tunnel-check-path";
constexpr auto kLook = std::chrono::milliseconds(500);  // not everything that goes is told of
constexpr int kBurst = 64;                              // then others of this thread have their turn

UniqueFd raw_socket(int family) {
  // IPPROTO_RAW: what is sent has its own IP header, in either family (raw(7), ipv6(7)).
  return UniqueFd(socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW));
}

}  // namespace

tl::expected<std::unique_ptr<ProbePath>, std::string> ProbePath::open(EventLoop& loop,
                                                                      const NodeConfig& config,
                                                                      const EngineBase& engine,
                                                                      ConditionBoard& board,
                                                                      UniqueFd device) {
  std::unique_ptr<ProbePath> path(new ProbePath(loop, engine, board));
  path->source4_ = config.encap_source4;
  path->source6_ = config.encap_source6;
  const auto file = probe_file(config.runtime_dir);
  auto routes = open_own_file(file);
  if (!routes) return tl::unexpected(routes.error());
  path->routes_ = std::move(*routes);
  path->out4_ = raw_socket(AF_INET);
  path->out6_ = raw_socket(AF_INET6);
  if (!path->out4_) return tl::unexpected(fmt::format("raw socket: {}", std::strerror(errno)));
  if (device)
    path->take_device(std::move(device));
  else if (auto made = path->make_device(); !made)
    return tl::unexpected(made.error());
  if (auto mended = mend_probe_path(path->requests_); !mended) return tl::unexpected(mended.error());
  board.set(kCondition, "", ConditionState::kHolds);
  loop.add(path->events_.fd(), [path = path.get()] {
    bool any = false;
    (void)path->events_.receive([&](const nlmsghdr& message) { any |= breaks_probe_path(message); });
    if (any) path->mend();
  });
  loop.every(kLook, [path = path.get()] { path->mend(); });
  return path;
}

ProbePath::ProbePath(EventLoop& loop, const EngineBase& engine, ConditionBoard& board)
    : loop_(loop), engine_(engine), board_(board), events_(probe_path_groups()) {}

tl::expected<void, std::string> ProbePath::make_device() {
  auto device = create_probe_device();
  if (!device) return tl::unexpected(device.error());
  take_device(std::move(*device));
  return {};
}

void ProbePath::take_device(UniqueFd device) {
  device_ = std::move(device);
  loop_.add(device_.get(), [this] { serve(); });
}

UniqueFd ProbePath::hand_over() {
  if (device_) loop_.remove(device_.get());
  return std::move(device_);
}

void ProbePath::mend() {
  std::string made;
  if (device_index(kProbeDevice) == 0) {  // deleted: the descriptor reads nothing any more
    if (device_) loop_.remove(device_.get());
    device_.reset();
    if (auto remade = make_device(); !remade)
      return board_.set(kCondition, "", ConditionState::kFails, remade.error());
    made = "device, ";
  }
  const auto mended = mend_probe_path(requests_);
  if (!mended) return board_.set(kCondition, "", ConditionState::kFails, mended.error());
  if (!made.empty() || !mended->empty())
    spdlog::warn("checks through the tunnel: somebody took away what they need; put back: {}{}", made,
                 *mended);
  board_.set(kCondition, "", ConditionState::kHolds);
}

ProbePath::~ProbePath() {
  loop_.remove(events_.fd());
  if (!device_) return;
  loop_.remove(device_.get());
  remove_probe_rules(requests_);
}

void ProbePath::serve() {
  std::array<uint8_t, kHeadroom + sizeof(packet::Ethernet) + kMostPacket> buffer;
  uint8_t* const ip = buffer.data() + kHeadroom + sizeof(packet::Ethernet);
  for (int i = 0; i < kBurst; ++i) {
    const ssize_t length = read(device_.get(), ip, kMostPacket);
    if (length <= 0) return;
    // What reads packets wants a link header.
    uint8_t* const frame = ip - sizeof(packet::Ethernet);
    std::memset(frame, 0, sizeof(packet::Ethernet));
    const uint16_t* type = *ip >> 4 == 6 ? &packet::kTypeIpv6 : &packet::kTypeIpv4;
    std::memcpy(frame + offsetof(packet::Ethernet, type), type, sizeof *type);
    forward({frame, sizeof(packet::Ethernet) + static_cast<size_t>(length)});
  }
}

void ProbePath::forward(std::span<uint8_t> bytes) {
  packet::Frame frame;
  packet::Flow flow;
  if (!packet::locate(bytes.data(), static_cast<uint32_t>(bytes.size()), frame) ||
      packet::judge(frame, packet::HeaderChecksum::kUnknown, flow) != packet::Verdict::kFlow ||
      flow.protocol != IPPROTO_TCP)
    return;
  ProbeRoute route;
  const uint16_t port = ntohs(flow.source_port);
  if (pread(routes_.get(), &route, sizeof route, probe_route_offset(frame.is_v6, port)) != sizeof route ||
      route.is_set == 0 || route.encapsulation >= LINIMO_ENCAP_COUNT)
    return;
  const auto live = engine_.live();
  const Address backend = Address::from_abi(route.backend);
  const bool v4 = backend.is_v4();
  packet::TunnelEnds ends{v4 ? source4_ : source6_, backend};
  if (live) {
    const linimo_header& header = live->header();
    ends.source = Address::from_abi(v4 ? header.encap_source4 : header.encap_source6);
    ends.source_prefix = v4 ? header.encap_prefix4 : header.encap_prefix6;
  }
  if (ends.source == Address{}) return;  // no tunnel of that family begins here
  const packet::Tunnel tunnel =
      packet::make_tunnel(static_cast<linimo_encapsulation>(route.encapsulation), ends, route.gue_port);
  uint8_t* const outer = bytes.data() + frame.ip_offset - tunnel.header_length;
  packet::encapsulate(tunnel, {frame.ip, flow.ip_length, frame.is_v6}, port * 0x9e3779b97f4a7c15, outer);
  if (packet::is_checksummed(tunnel)) packet::put_checksum(frame, flow, outer);
  const size_t length = size_t{tunnel.header_length} + flow.ip_length;
  if (v4) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    std::memcpy(&to.sin_addr, backend.bytes.data() + 12, 4);
    sendto(out4_.get(), outer, length, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  } else {
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6;
    std::memcpy(&to.sin6_addr, backend.bytes.data(), 16);
    sendto(out6_.get(), outer, length, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
}

}  // namespace linimo
