#include "maglev/os/peer.h"

#include <algorithm>

#include <fmt/format.h>
#include <grp.h>
#include <sys/socket.h>

namespace linimo {

std::optional<Peer> peer_of(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  const bool told = getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0;
  if (!told || credentials.uid == static_cast<uid_t>(-1)) return std::nullopt;  // TCP has no such peer
  Peer peer{.pid = credentials.pid, .uid = credentials.uid, .groups = {credentials.gid}};
  socklen_t bytes = 0;
  getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, nullptr, &bytes);  // fails, and says how many
  std::vector<gid_t> more(bytes / sizeof(gid_t));
  if (!more.empty() && getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, more.data(), &bytes) == 0)
    peer.groups.insert(peer.groups.end(), more.begin(), more.end());
  return peer;
}

std::optional<gid_t> operators_group() {
  const group* entry = getgrnam(kOperatorsGroup);
  return entry != nullptr ? std::optional(entry->gr_gid) : std::nullopt;
}

tl::expected<void, std::string> may_operate(const Peer& peer, uid_t own, std::optional<gid_t> operators) {
  if (peer.uid == 0 || peer.uid == own) return {};
  if (operators && std::find(peer.groups.begin(), peer.groups.end(), *operators) != peer.groups.end())
    return {};
  return tl::unexpected(
      operators ? fmt::format("user {} may only read here: try again as root, or as a member of group {}",
                              peer.uid, kOperatorsGroup)
                : fmt::format("user {} may only read here: try again as root; or make a group {}, restart "
                              "linimo-controlplane and be a member of it",
                              peer.uid, kOperatorsGroup));
}

}  // namespace linimo
