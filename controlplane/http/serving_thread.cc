#include "controlplane/http/serving_thread.h"

#include <csignal>
#include <exception>

#include <boost/asio/executor_work_guard.hpp>
#include <sys/resource.h>
#include <unistd.h>

#include "controlplane/log.h"

namespace linimo {
namespace {

constexpr int kNice = 10;  // checks come first where there are too few CPUs

void serve(boost::asio::io_context& io) {
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  const auto work = boost::asio::make_work_guard(io);
  while (!io.stopped()) {
    try {
      io.run();
    } catch (const std::exception& error) {  // out of memory, for example: one request is lost by it
      log_error("a request failed", {{"why", error.what()}});
    }
  }
}

}  // namespace

ServingThread::ServingThread(boost::asio::io_context& io) : io_(io) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the loop that decides
  thread_ = std::thread([this] { serve(io_); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ServingThread::~ServingThread() {
  io_.stop();
  thread_.join();
}

}  // namespace linimo
