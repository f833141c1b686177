#include "controlplane/health/socket_set.h"

#include <array>
#include <cerrno>
#include <system_error>

namespace linimo {
namespace {

int new_set() {
  const int set = epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  return set;
}

}  // namespace

SocketSet::SocketSet(boost::asio::io_context& io, OnReady on_ready)
    : on_ready_(std::move(on_ready)), ready_(io, new_set()) {
  wait();
}

void SocketSet::watch(int socket, bool readable, bool writable) {
  epoll_event event{};
  event.data.fd = socket;
  event.events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
  const int set = ready_.native_handle();
  if (epoll_ctl(set, EPOLL_CTL_MOD, socket, &event) != 0) epoll_ctl(set, EPOLL_CTL_ADD, socket, &event);
}

void SocketSet::forget(int socket) {
  epoll_ctl(ready_.native_handle(), EPOLL_CTL_DEL, socket, nullptr);
}

void SocketSet::wait() {
  ready_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                    [this, weak = std::weak_ptr(alive_)](const auto& error) {
                      if (error || weak.expired()) return;
                      // As many as may be: whoever waits in the set waits behind no other round of the loop,
                      // so the loop's own delay tells theirs.
                      std::array<epoll_event, 1024> events;
                      const int count = epoll_wait(ready_.native_handle(), events.data(), events.size(), 0);
                      for (int i = 0; i < count; ++i) on_ready_(events[i].data.fd, events[i].events);
                      wait();
                    });
}

}  // namespace linimo
