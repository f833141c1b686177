#include "maglev/os/seqpacket.h"

#include <cerrno>
#include <cstring>
#include <system_error>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace linimo {
namespace {

auto system_error(std::string_view what) {
  return tl::unexpected(std::string(what) + ": " + std::strerror(errno));
}

std::vector<UniqueFd> fds_of(msghdr& message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return fds;
}

constexpr int kSpared = 4;  // of the send buffer so much, at most, is taken by what can be spared

}  // namespace

bool has_room_to_spare(int socket) {
  int waiting = 0, most = 0;
  socklen_t size = sizeof most;
  return ioctl(socket, SIOCOUTQ, &waiting) == 0 &&
         getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &most, &size) == 0 && waiting < most / kSpared;
}

UniqueFd listen_seqpacket(const std::filesystem::path& path, int backlog) {
  const auto failed = [&] { return std::system_error(errno, std::generic_category(), path.string()); };
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.native().size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    throw failed();
  }
  path.native().copy(address.sun_path, sizeof address.sun_path - 1);
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  std::filesystem::remove(path);
  const mode_t before = umask(0177);
  const bool bound = fd && bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  umask(before);
  if (!bound || listen(fd.get(), backlog) != 0) throw failed();
  return fd;
}

tl::expected<UniqueFd, std::string> connect_seqpacket(const std::filesystem::path& path, uid_t user) {
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
  if (peer.uid != 0 && peer.uid != user) {
    return tl::unexpected("the socket belongs to user " + std::to_string(peer.uid));
  }
  return fd;
}

tl::expected<void, std::string> send_message(int socket, std::span<const std::byte> bytes,
                                             std::span<const int> fds) {
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxMessageFds * sizeof(int))] = {};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  if (sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return system_error("send");
  return {};
}

tl::expected<std::optional<Message>, std::string> receive_message(int socket, size_t most) {
  Message received;
  received.bytes.resize(most);
  iovec part{received.bytes.data(), received.bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxMessageFds * sizeof(int))] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t length = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (length < 0) {
    if (errno == EAGAIN || errno == EINTR) return std::nullopt;
    return system_error("receive");
  }
  // Whatever came is owned from here on, also when the message is refused; an empty one may bring some too.
  received.fds = fds_of(message);
  if (length == 0) return tl::unexpected(std::string("the other side closed the connection"));
  received.oversized = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  received.bytes.resize(static_cast<size_t>(length));
  return received;
}

void hang_up(int socket) {
  shutdown(socket, SHUT_RD);
  char unread = 0;
  while (recv(socket, &unread, sizeof unread, MSG_DONTWAIT) > 0) continue;
}

}  // namespace linimo
