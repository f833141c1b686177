// libcurl's transfers on the event loop: any number at once, none of them blocking it.
#pragma once

#include <functional>
#include <memory>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <curl/curl.h>

#include "controlplane/health/socket_set.h"

namespace linimo {

template <auto free_function>
struct FreeBy {
  template <typename T>
  void operator()(T* object) const {
    free_function(object);
  }
};
using EasyHandle = std::unique_ptr<CURL, FreeBy<curl_easy_cleanup>>;
using MultiHandle = std::unique_ptr<CURLM, FreeBy<curl_multi_cleanup>>;
using HeaderList = std::unique_ptr<curl_slist, FreeBy<curl_slist_free_all>>;

class CurlMulti {
 public:
  using OnEnd = std::function<void(CURL*, CURLcode)>;  // may remove the transfer

  CurlMulti(boost::asio::io_context& io, OnEnd on_end);

  void add(CURL* transfer) { curl_multi_add_handle(multi_.get(), transfer); }
  void remove(CURL* transfer) { curl_multi_remove_handle(multi_.get(), transfer); }

 private:
  static int on_socket(CURL*, curl_socket_t socket, int what, void* self, void*);
  static int on_timer(CURLM*, long milliseconds, void* self);
  void act(curl_socket_t socket, int events);

  OnEnd on_end_;
  MultiHandle multi_;
  SocketSet sockets_;
  boost::asio::steady_timer timer_;
};

}  // namespace linimo
