#include "maglev/os/netlink.h"

#include <cerrno>
#include <cstring>
#include <system_error>

namespace linimo {
namespace {

constexpr size_t kBufferBytes = size_t{64} * 1024;
constexpr int kReceiveBufferBytes = 4 << 20;  // route changes come in floods

int call(const nlmsghdr* message, void* handler) {
  (*static_cast<const Netlink::Handler*>(handler))(*message);
  return MNL_CB_OK;
}

}  // namespace

Netlink::Netlink(uint32_t groups)
    : socket_(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC)), buffer_(kBufferBytes) {
  if (!socket_ || mnl_socket_bind(socket_.get(), groups, MNL_SOCKET_AUTOPID) < 0) {
    throw std::system_error(errno, std::generic_category(), "netlink socket");
  }
  port_ = mnl_socket_get_portid(socket_.get());
  if (groups != 0)
    setsockopt(fd(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBufferBytes, sizeof kReceiveBufferBytes);
}

int Netlink::transact(std::span<const uint8_t> message, const Handler* handler) {
  NetlinkMessage copy(message.begin(), message.end());
  auto* header = reinterpret_cast<nlmsghdr*>(copy.data());
  header->nlmsg_seq = ++sequence_;
  header->nlmsg_pid = 0;
  if (mnl_socket_sendto(socket_.get(), copy.data(), copy.size()) < 0) return -errno;
  for (;;) {
    const ssize_t length = mnl_socket_recvfrom(socket_.get(), buffer_.data(), buffer_.size());
    if (length < 0) return -errno;
    const int verdict = mnl_cb_run(buffer_.data(), static_cast<size_t>(length), sequence_, port_,
                                   handler != nullptr ? call : nullptr, const_cast<Handler*>(handler));
    if (verdict < 0) return -errno;
    if (verdict == MNL_CB_STOP) return 0;
    if ((header->nlmsg_flags & (NLM_F_DUMP | NLM_F_ACK)) == 0) return 0;  // one answer, and that was it
  }
}

bool Netlink::dump(uint16_t type, uint8_t family, size_t family_size, const Handler& handler) {
  NetlinkMessage message(NLMSG_HDRLEN + MNL_ALIGN(family_size));
  nlmsghdr* header = mnl_nlmsg_put_header(message.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  *static_cast<uint8_t*>(mnl_nlmsg_put_extra_header(header, family_size)) = family;
  return transact(message, &handler) == 0;
}

int Netlink::dump(std::span<const uint8_t> message, const Handler& handler) {
  NetlinkMessage copy(message.begin(), message.end());
  reinterpret_cast<nlmsghdr*>(copy.data())->nlmsg_flags |= NLM_F_REQUEST | NLM_F_DUMP;
  return transact(copy, &handler);
}

void Netlink::dump_what_is_asked_for() {
  int on = 1;
  (void)mnl_socket_setsockopt(socket_.get(), NETLINK_GET_STRICT_CHK, &on, sizeof on);
}

int Netlink::request(std::span<const uint8_t> message) {
  NetlinkMessage copy(message.begin(), message.end());
  reinterpret_cast<nlmsghdr*>(copy.data())->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  return transact(copy, nullptr);
}

bool Netlink::ask(std::span<const uint8_t> message, const Handler& handler) {
  return transact(message, &handler) == 0;
}

bool Netlink::receive(const Handler& handler) {
  for (;;) {
    const ssize_t length = recv(fd(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (length < 0) return errno == EAGAIN || errno == EINTR;
    mnl_cb_run(buffer_.data(), static_cast<size_t>(length), 0, 0, call, const_cast<Handler*>(&handler));
  }
}

}  // namespace linimo
