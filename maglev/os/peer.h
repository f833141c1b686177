// Who is at the other end of a Unix socket, as the kernel knew it when it connected, and what it may do
// there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>
#include <tl/expected.hpp>

namespace linimo {

/// Its members may steer a node without being root.
inline constexpr const char* kOperatorsGroup = "linimo";

struct Peer {
  pid_t pid = 0;  // 0: of another PID namespace
  uid_t uid = 0;
  std::vector<gid_t> groups;  // the primary one first
};

/// unix(7), SO_PEERCRED and SO_PEERGROUPS. Nothing when the kernel does not say.
std::optional<Peer> peer_of(int socket);

/// The id of kOperatorsGroup; nothing where there is no such group.
std::optional<gid_t> operators_group();

/// Root, the user that this process runs as, and the operators may. The error says what to do about it.
tl::expected<void, std::string> may_operate(const Peer& peer, uid_t own, std::optional<gid_t> operators);

}  // namespace linimo
