// Messages and descriptors over a Unix socket of type SOCK_SEQPACKET. Nothing here blocks.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "maglev/unique_fd.h"

namespace linimo {

/// A connected, non-blocking socket. Refuses a listener that belongs neither to root nor to this user.
tl::expected<UniqueFd, std::string> connect_seqpacket(const std::filesystem::path& path);

/// One message, with a descriptor beside it unless that is -1.
tl::expected<void, std::string> send_packet(int socket, std::span<const std::byte> message, int fd = -1);

struct Packet {
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> fds;
};

/// One message of at most `most` bytes and four descriptors. Nothing when none has arrived yet; an error when
/// the other side has gone or sent more than that.
tl::expected<std::optional<Packet>, std::string> receive_packet(int socket, size_t most);

}  // namespace linimo
