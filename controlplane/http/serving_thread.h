// The thread that serves HTTP, beside the loop that decides: it reads, parses, makes pages and writes, so
// that no client, however slow or hostile, delays a check, a failover or a drain. It asks the other loop for
// what it needs (inquiry.h).
//
//   boost::asio::io_context serving;   // before the loop that decides: what waits there may belong here
//   HttpServer server(serving, ...);
//   ServingThread thread(serving);     // from here on `server` is that thread's, until `thread` goes
#pragma once

#include <thread>

#include <boost/asio/io_context.hpp>

namespace linimo {

class ServingThread {
 public:
  explicit ServingThread(boost::asio::io_context& io);
  ~ServingThread();
  ServingThread(const ServingThread&) = delete;

 private:
  boost::asio::io_context& io_;
  std::thread thread_;
};

}  // namespace linimo
