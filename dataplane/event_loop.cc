#include "dataplane/event_loop.h"

#include <cerrno>
#include <csignal>
#include <system_error>

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

namespace linimo {

EventLoop::EventLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw std::system_error(errno, std::generic_category(), "epoll_create1");
}

void EventLoop::add(int fd, Callback on_readable) {
  callbacks_[fd] = std::make_shared<Callback>(std::move(on_readable));
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
}

void EventLoop::remove(int fd) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  callbacks_.erase(fd);
}

int EventLoop::every(std::chrono::milliseconds period, Callback callback) {
  UniqueFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer) throw std::system_error(errno, std::generic_category(), "timerfd_create");
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(period);
  const timespec span{.tv_sec = whole.count(), .tv_nsec = std::chrono::nanoseconds(period - whole).count()};
  const itimerspec spec{.it_interval = span, .it_value = span};
  timerfd_settime(timer.get(), 0, &spec, nullptr);
  const int fd = timer.get();
  owned_.push_back(std::move(timer));
  add(fd, [fd, callback = std::move(callback)] {
    uint64_t expirations = 0;
    if (read(fd, &expirations, sizeof expirations) == sizeof expirations) callback();
  });
  return fd;
}

void EventLoop::end(int timer) {
  remove(timer);
  std::erase_if(owned_, [timer](const UniqueFd& fd) { return fd.get() == timer; });
}

void EventLoop::on_signals(std::initializer_list<int> signals, std::function<void(int)> callback) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  UniqueFd source(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  const int fd = source.get();
  owned_.push_back(std::move(source));
  add(fd, [fd, callback = std::move(callback)] {
    signalfd_siginfo info;
    while (read(fd, &info, sizeof info) == sizeof info) callback(static_cast<int>(info.ssi_signo));
  });
}

void EventLoop::run() {
  running_ = true;
  while (running_) run_once(std::chrono::milliseconds(-1));
}

void EventLoop::run_once(std::chrono::milliseconds longest) {
  epoll_event events[16];
  const int count = epoll_wait(epoll_.get(), events, 16, static_cast<int>(longest.count()));
  for (int i = 0; i < count; ++i) {
    const auto found = callbacks_.find(events[i].data.fd);
    if (found == callbacks_.end()) continue;  // removed by a callback before it
    const auto callback = found->second;      // kept while it runs, even if it removes itself
    (*callback)();
  }
}

}  // namespace linimo
