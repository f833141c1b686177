#include "controlplane/unix/seqpacket.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <sys/un.h>

namespace linimo {
namespace {

constexpr size_t kMaxFds = 4;

auto system_error(std::string_view what) {
  return tl::unexpected(std::string(what) + ": " + std::strerror(errno));
}

}  // namespace

tl::expected<UniqueFd, std::string> connect_seqpacket(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = path.string();
  if (name.size() >= sizeof address.sun_path)
    return tl::unexpected(std::string("the socket's path is too long"));
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);

  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return system_error("socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return system_error("connect");
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return system_error("peer credentials");
  if (peer.uid != 0 && peer.uid != geteuid()) {
    return tl::unexpected("the socket belongs to user " + std::to_string(peer.uid));
  }
  return fd;
}

tl::expected<void, std::string> send_packet(int socket, std::span<const std::byte> message, int fd) {
  iovec part{const_cast<std::byte*>(message.data()), message.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  if (sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return system_error("send");
  return {};
}

tl::expected<std::optional<Packet>, std::string> receive_packet(int socket, size_t most) {
  Packet packet;
  packet.bytes.resize(most);
  iovec part{packet.bytes.data(), packet.bytes.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t length = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (length < 0) {
    if (errno == EAGAIN || errno == EINTR) return std::nullopt;
    return system_error("receive");
  }
  // Whatever came is owned from here on, also when the message is refused.
  for (cmsghdr* part_header = CMSG_FIRSTHDR(&header); part_header != nullptr;
       part_header = CMSG_NXTHDR(&header, part_header)) {
    if (part_header->cmsg_level != SOL_SOCKET || part_header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part_header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part_header) + i * sizeof fd, sizeof fd);
      packet.fds.emplace_back(fd);
    }
  }
  if (length == 0) return tl::unexpected(std::string("the other side closed the connection"));
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    return tl::unexpected(std::string("an oversized message"));
  packet.bytes.resize(static_cast<size_t>(length));
  return packet;
}

}  // namespace linimo
