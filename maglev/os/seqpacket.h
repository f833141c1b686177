// Messages and descriptors over a Unix socket of type SOCK_SEQPACKET. Nothing here blocks.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <sys/types.h>
#include <tl/expected.hpp>
#include <unistd.h>

#include "maglev/unique_fd.h"

namespace linimo {

/// A listening, non-blocking socket (0600) in the place of whatever has that name: the caller holds the
/// folder's lock, so that is left of a process that was killed. Throws std::system_error.
UniqueFd listen_seqpacket(const std::filesystem::path& path, int backlog);

/// A connected, non-blocking socket. Refuses a listener that belongs neither to root nor to `user`.
tl::expected<UniqueFd, std::string> connect_seqpacket(const std::filesystem::path& path,
                                                      uid_t user = geteuid());

inline constexpr size_t kMaxMessageFds = 4;

/// One message, with up to kMaxMessageFds descriptors beside it.
tl::expected<void, std::string> send_message(int socket, std::span<const std::byte> bytes,
                                             std::span<const int> fds = {});

/// Whether so little waits to be read by the other side that what can be spared may be sent, too: it must
/// never take the room of what cannot.
bool has_room_to_spare(int socket);

struct Message {
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> fds;
  bool oversized = false;  // more came than there was room for, and is lost
};

/// One message of at most `most` bytes and kMaxMessageFds descriptors. Nothing when none has arrived yet; an
/// error when the other side has gone.
tl::expected<std::optional<Message>, std::string> receive_message(int socket, size_t most);

/// To be called before closing: with messages unread the kernel would reset the connection, and the peer not
/// read why.
void hang_up(int socket);

}  // namespace linimo
