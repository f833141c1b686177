// Sockets that a library owns, watched by the event loop as one descriptor of its own: an epoll set. So no
// socket is owned twice, whenever the library opens or closes it.
#pragma once

#include <functional>
#include <memory>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <sys/epoll.h>

namespace linimo {

class SocketSet {
 public:
  using OnReady = std::function<void(int socket, uint32_t events)>;  // EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP

  /// `on_ready` may change the set, but not destroy it. Throws std::system_error when there is no descriptor.
  SocketSet(boost::asio::io_context& io, OnReady on_ready);

  void watch(int socket, bool readable, bool writable);
  void forget(int socket);

 private:
  void wait();

  OnReady on_ready_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // handlers may be late
  boost::asio::posix::stream_descriptor ready_;
};

}  // namespace linimo
