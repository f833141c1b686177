// The exception path's TAP, in a network namespace of this test's own.

#include "dataplane/dpdk/tap.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/utsname.h>

namespace linimo::dpdk {
namespace {

/// The address that the kernel would send from, to somebody whom only a default route leads to.
std::string source_to_the_world() {
  const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {}, .sin_zero = {}};
  inet_pton(AF_INET, "198.51.100.1", &address.sin_addr);
  socklen_t length = sizeof address;
  char text[INET_ADDRSTRLEN] = "";
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
    return std::strerror(errno);
  return inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
}

bool settles_when_asked() {
  utsname kernel{};
  int major = 0, minor = 0;
  return uname(&kernel) == 0 && std::sscanf(kernel.release, "%d.%d", &major, &minor) == 2 &&
         (major > 6 || (major == 6 && minor >= 8));
}

// Even if another TAP has lost its own a moment ago: the kernel makes the second one wait for a second.
TEST(Tap, ALostCarriersRoutesAreDeadAtOnce) {
  if (unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "no network namespace of its own: " << std::strerror(errno);
  if (!settles_when_asked()) GTEST_SKIP() << "Linux before 6.8 takes its time";
  ASSERT_EQ(std::system("sysctl -qw net.ipv4.conf.all.ignore_routes_with_linkdown=1 "
                        "net.ipv4.conf.default.ignore_routes_with_linkdown=1"),
            0);
  const auto first = create_tap("linimo0", {2, 0, 0, 0, 0, 1}, 1500, true);
  const auto second = create_tap("linimo1", {2, 0, 0, 0, 0, 2}, 1500, true);
  const auto third = create_tap("linimo2", {2, 0, 0, 0, 0, 3}, 1500, true);
  ASSERT_TRUE(first && second && third);
  ASSERT_EQ(std::system("ip address add 10.0.0.1/24 dev linimo0 && ip address add 10.0.1.1/24 dev linimo1 && "
                        "ip route add default via 10.0.0.2 metric 1 && "
                        "ip route add default via 10.0.1.2 metric 2"),
            0);
  EXPECT_EQ(source_to_the_world(), "10.0.0.1");
  set_carrier(*third, false);
  set_carrier(*first, false);
  EXPECT_EQ(source_to_the_world(), "10.0.1.1");
  set_carrier(*first, true);
  EXPECT_EQ(source_to_the_world(), "10.0.0.1");
}

}  // namespace
}  // namespace linimo::dpdk
