#include "controlplane/health/curl_prober.h"

#include <array>
#include <cstring>
#include <stdexcept>
#include <utility>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/epoll.h>

namespace linimo {
namespace {

constexpr size_t kMaxBodyBytes = 64 << 10;  // a longer answer is cut off: its status has been read by then

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

class CurlProber;

class CurlProbe final : public Probe {
 public:
  CurlProbe(CurlProber& prober, const Address& backend, const HealthCheckConfig& config, Prober::Done done);
  ~CurlProbe() override;

  CURL* handle() const { return easy_.get(); }
  Verdict verdict(CURLcode result) const;
  Prober::Done take_done() { return std::move(done_); }

 private:
  static size_t on_body(char*, size_t size, size_t count, void* self);
  std::string connect_failure() const;

  CurlProber& prober_;
  HealthCheckConfig config_;
  Prober::Done done_;
  HeaderList headers_;
  EasyHandle easy_;
  size_t body_bytes_ = 0;
};

// libcurl says which sockets it waits for; they go into an epoll set of their own, and the event loop watches
// that set as a single descriptor. So no socket is owned twice, whenever libcurl opens or closes it.
class CurlProber final : public Prober {
 public:
  explicit CurlProber(boost::asio::io_context& io)
      : multi_(curl_multi_init()), ready_(io, epoll_create1(EPOLL_CLOEXEC)), timer_(io) {
    curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETFUNCTION, &CurlProber::on_socket);
    curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETDATA, this);
    curl_multi_setopt(multi_.get(), CURLMOPT_TIMERFUNCTION, &CurlProber::on_timer);
    curl_multi_setopt(multi_.get(), CURLMOPT_TIMERDATA, this);
    wait_for_sockets();
  }

  std::unique_ptr<Probe> start(const Address& backend, const HealthCheckConfig& config, Done done) override {
    auto probe = std::make_unique<CurlProbe>(*this, backend, config, std::move(done));
    curl_multi_add_handle(multi_.get(), probe->handle());
    return probe;
  }

  void cancel(CURL* easy) { curl_multi_remove_handle(multi_.get(), easy); }

 private:
  static int on_socket(CURL*, curl_socket_t socket, int what, void* self, void*) {
    auto& prober = *static_cast<CurlProber*>(self);
    epoll_event event{};
    event.data.fd = socket;
    event.events = (what != CURL_POLL_OUT ? EPOLLIN : 0u) | (what != CURL_POLL_IN ? EPOLLOUT : 0u);
    const int set = prober.ready_.native_handle();
    if (what == CURL_POLL_REMOVE) {
      epoll_ctl(set, EPOLL_CTL_DEL, socket, nullptr);
    } else if (epoll_ctl(set, EPOLL_CTL_MOD, socket, &event) != 0) {
      epoll_ctl(set, EPOLL_CTL_ADD, socket, &event);
    }
    return 0;
  }

  static int on_timer(CURLM*, long milliseconds, void* self) {
    auto& prober = *static_cast<CurlProber*>(self);
    if (milliseconds < 0) {
      prober.timer_.cancel();
      return 0;
    }
    prober.timer_.expires_after(std::chrono::milliseconds(milliseconds));
    prober.timer_.async_wait([&prober](const boost::system::error_code& error) {
      if (!error) prober.act(CURL_SOCKET_TIMEOUT, 0);
    });
    return 0;
  }

  void wait_for_sockets() {
    ready_.async_wait(boost::asio::posix::descriptor_base::wait_read, [this](const auto& error) {
      if (error) return;
      std::array<epoll_event, 64> events;
      const int count = epoll_wait(ready_.native_handle(), events.data(), events.size(), 0);
      for (int i = 0; i < count; ++i) {
        const uint32_t is = events[i].events;
        act(events[i].data.fd, ((is & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                                   ((is & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                                   ((is & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0));
      }
      wait_for_sockets();
    });
  }

  void act(curl_socket_t socket, int events) {
    int running = 0;
    curl_multi_socket_action(multi_.get(), socket, events, &running);
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CurlProbe* probe = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &probe);
      const Verdict verdict = probe->verdict(message->data.result);
      const Done done = probe->take_done();
      done(verdict);  // may destroy the probe
    }
  }

  MultiHandle multi_;
  boost::asio::posix::stream_descriptor ready_;
  boost::asio::steady_timer timer_;
};

CurlProbe::CurlProbe(CurlProber& prober, const Address& backend, const HealthCheckConfig& config,
                     Prober::Done done)
    : prober_(prober), config_(config), done_(std::move(done)), easy_(curl_easy_init()) {
  CURL* easy = easy_.get();
  const std::string host = backend.is_v4() ? backend.to_string() : "[" + backend.to_string() + "]";
  const std::string url = fmt::format("http://{}:{}{}", host, config.port, config.path);
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_PRIVATE, this);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");  // whatever the environment says
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(config.timeout.count()));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(config.timeout.count()));
  // A connection that is kept open would say nothing about whether a new client can still connect.
  curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
  curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
  if (config.type == CheckType::kTcp) {
    curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
    return;
  }
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "linimo/" LINIMO_VERSION);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &CurlProbe::on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
  if (!config.host.empty()) headers_.reset(curl_slist_append(nullptr, ("Host: " + config.host).c_str()));
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers_.get());
}

CurlProbe::~CurlProbe() {
  prober_.cancel(easy_.get());
}

size_t CurlProbe::on_body(char*, size_t size, size_t count, void* self) {
  auto& probe = *static_cast<CurlProbe*>(self);
  probe.body_bytes_ += size * count;
  return probe.body_bytes_ <= kMaxBodyBytes ? size * count : 0;
}

std::string CurlProbe::connect_failure() const {
  long error = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_OS_ERRNO, &error);
  return fmt::format("connect: {}", error != 0 ? std::strerror(static_cast<int>(error)) : "no connection");
}

Verdict CurlProbe::verdict(CURLcode result) const {
  const bool cut_off = result == CURLE_WRITE_ERROR && body_bytes_ > kMaxBodyBytes;
  if (result == CURLE_OPERATION_TIMEDOUT) {
    curl_off_t connected = 0;
    curl_easy_getinfo(easy_.get(), CURLINFO_CONNECT_TIME_T, &connected);
    return {false,
            fmt::format("{} within {} ms", connected == 0 ? "connect: no answer" : "http: no whole answer",
                        config_.timeout.count())};
  }
  if (result == CURLE_COULDNT_CONNECT) return {false, connect_failure()};
  if (result != CURLE_OK && !cut_off) return {false, fmt::format("http: {}", curl_easy_strerror(result))};
  if (config_.type == CheckType::kTcp) return {true, {}};
  long status = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status >= config_.status_first && status <= config_.status_last) return {true, {}};
  return {false, fmt::format("http: status {}", status)};
}

}  // namespace

std::unique_ptr<Prober> make_curl_prober(boost::asio::io_context& io) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) throw std::runtime_error("libcurl does not start");
  return std::make_unique<CurlProber>(io);
}

}  // namespace linimo
