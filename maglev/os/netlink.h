// Route netlink (rtnetlink(7)) over libmnl: requests, dumps, subscriptions.
//
//   Netlink netlink;
//   netlink.dump(RTM_GETADDR, AF_UNSPEC, sizeof(ifaddrmsg), [](const nlmsghdr& message) { ... });
//   int error = netlink.request(message);          // 0 or a negative errno
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

namespace linimo {

/// A netlink message with its header, owned.
using NetlinkMessage = std::vector<uint8_t>;

/// Visits the attributes behind a message's fixed header of `fixed_size` bytes; those that do not fit are not
/// visited.
template <typename Visit>
void for_each_attribute(const nlmsghdr& message, size_t fixed_size, Visit visit) {
  const auto call = [](const nlattr* attribute, void* visitor) {
    (*static_cast<Visit*>(visitor))(attribute);
    return MNL_CB_OK;
  };
  if (mnl_nlmsg_get_payload_len(&message) >= fixed_size) {
    mnl_attr_parse(&message, static_cast<unsigned>(fixed_size), call, &visit);
  }
}

/// The same for attributes inside an attribute.
template <typename Visit>
void for_each_nested(const nlattr* outer, Visit visit) {
  const auto call = [](const nlattr* attribute, void* visitor) {
    (*static_cast<Visit*>(visitor))(attribute);
    return MNL_CB_OK;
  };
  mnl_attr_parse_nested(outer, call, &visit);
}

class Netlink {
 public:
  using Handler = std::function<void(const nlmsghdr&)>;

  /// `groups`: of RTMGRP_*, for a socket that is only listened to. Throws std::system_error.
  explicit Netlink(uint32_t groups = 0);

  int fd() const { return mnl_socket_get_fd(socket_.get()); }

  /// Everything of one kind: `family_size` is that of the kind's fixed header, which begins with the family.
  /// False: interrupted by a change or an error; ask again.
  bool dump(uint16_t type, uint8_t family, size_t family_size, const Handler& handler);

  /// The same by a message of one's own (its flags are set here): 0 or a negative errno.
  int dump(std::span<const uint8_t> message, const Handler& handler);

  /// From here on the kernel heeds what a dump's message asks for, one table for example, and does not tell
  /// of all (NETLINK_GET_STRICT_CHK). Older kernels go on telling of all.
  void dump_what_is_asked_for();

  /// Sends one request and waits for its acknowledgement: 0 or a negative errno.
  int request(std::span<const uint8_t> message);

  /// Sends one request that is answered by one message; false on error.
  bool ask(std::span<const uint8_t> message, const Handler& handler);

  /// What has come on a listening socket, without blocking. False: messages were lost (dump again).
  bool receive(const Handler& handler);

 private:
  struct Close {
    void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
  };
  int transact(std::span<const uint8_t> message, const Handler* handler);

  std::unique_ptr<mnl_socket, Close> socket_;
  uint32_t port_ = 0;
  uint32_t sequence_ = 0;
  std::vector<uint8_t> buffer_;
};

}  // namespace linimo
