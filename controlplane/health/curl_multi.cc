#include "controlplane/health/curl_multi.h"

#include <stdexcept>

namespace linimo {
namespace {

MultiHandle make_multi() {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) throw std::runtime_error("libcurl does not start");
  return MultiHandle(curl_multi_init());
}

}  // namespace

CurlMulti::CurlMulti(boost::asio::io_context& io, OnEnd on_end)
    : on_end_(std::move(on_end)),
      multi_(make_multi()),
      sockets_(io,
               [this](int socket, uint32_t is) {
                 act(socket, ((is & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                                 ((is & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                                 ((is & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0));
               }),
      timer_(io) {
  curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETFUNCTION, &CurlMulti::on_socket);
  curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_.get(), CURLMOPT_TIMERFUNCTION, &CurlMulti::on_timer);
  curl_multi_setopt(multi_.get(), CURLMOPT_TIMERDATA, this);
}

int CurlMulti::on_socket(CURL*, curl_socket_t socket, int what, void* self, void*) {
  auto& sockets = static_cast<CurlMulti*>(self)->sockets_;
  if (what == CURL_POLL_REMOVE) {
    sockets.forget(socket);
  } else {
    sockets.watch(socket, what != CURL_POLL_OUT, what != CURL_POLL_IN);
  }
  return 0;
}

int CurlMulti::on_timer(CURLM*, long milliseconds, void* self) {
  auto& multi = *static_cast<CurlMulti*>(self);
  if (milliseconds < 0) {
    multi.timer_.cancel();
    return 0;
  }
  multi.timer_.expires_after(std::chrono::milliseconds(milliseconds));
  multi.timer_.async_wait([&multi](const boost::system::error_code& error) {
    if (!error) multi.act(CURL_SOCKET_TIMEOUT, 0);
  });
  return 0;
}

void CurlMulti::act(curl_socket_t socket, int events) {
  int running = 0;
  curl_multi_socket_action(multi_.get(), socket, events, &running);
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
    if (message->msg == CURLMSG_DONE) on_end_(message->easy_handle, message->data.result);
  }
}

}  // namespace linimo
