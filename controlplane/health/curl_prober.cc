#include "controlplane/health/curl_prober.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <strings.h>

#include "controlplane/health/curl_multi.h"
#include "controlplane/health/grpc_health.h"
#include "controlplane/health/own_failure.h"
#include "controlplane/health/socket_address.h"
#include "controlplane/health/tunnel_socket.h"

namespace linimo {
namespace {

constexpr size_t kMaxBodyBytes = 64 << 10;  // a longer answer is cut off: its status has been read by then

class CurlProbe final : public Probe {
 public:
  CurlProbe(CurlMulti& multi, const Address& backend, const HealthCheckConfig& config, Prober::Done done);
  ~CurlProbe() override { multi_.remove(easy_.get()); }

  void start() { multi_.add(easy_.get()); }
  void finish(CURLcode result) {
    const Verdict reached = verdict(result);
    const Prober::Done done = std::move(done_);
    done(reached);  // may destroy this
  }

 private:
  template <typename Value>
  void set(CURLoption option, Value value) {
    curl_easy_setopt(easy_.get(), option, value);
  }
  bool is(CheckType type) const { return config_.type == type; }
  bool over_tls() const { return is(CheckType::kTls) || is(CheckType::kHttps) || config_.tls; }
  bool connects_only() const { return is(CheckType::kTls); }

  void set_target(const Address& backend);
  void set_tls();
  void set_grpc();
  void add_header(const std::string& line);

  static curl_socket_t open_check_socket(void* self, curlsocktype purpose, curl_sockaddr* address);
  static size_t on_header(char* data, size_t size, size_t count, void* self);
  static size_t on_body(char* data, size_t size, size_t count, void* self);

  Verdict verdict(CURLcode result) const;
  Verdict http_verdict() const;
  Verdict grpc_verdict() const;
  Verdict connect_failure() const;
  std::string timeout_failure() const;
  const char* name() const { return is(CheckType::kGrpc) ? "grpc" : "http"; }

  CurlMulti& multi_;
  HealthCheckConfig config_;
  Address backend_;
  Prober::Done done_;
  unsigned device_ = 0;  // of a check through the tunnel, when it began
  int socket_error_ = 0;
  HeaderList headers_;
  HeaderList connect_to_;
  std::string request_;  // body
  std::string body_;
  int grpc_status_ = -1;  // none yet
  bool drains_ = false;   // the header was there
  std::array<char, CURL_ERROR_SIZE> reason_{};
  EasyHandle easy_;  // refers to those above
};

class CurlProber final : public Prober {
 public:
  explicit CurlProber(boost::asio::io_context& io)
      : multi_(io, [](CURL* easy, CURLcode result) {
          CurlProbe* probe = nullptr;
          curl_easy_getinfo(easy, CURLINFO_PRIVATE, &probe);
          probe->finish(result);
        }) {}

  std::unique_ptr<Probe> start(const Address& backend, const HealthCheckConfig& config, Done done) override {
    auto probe = std::make_unique<CurlProbe>(multi_, backend, config, std::move(done));
    probe->start();
    return probe;
  }

 private:
  CurlMulti multi_;
};

CurlProbe::CurlProbe(CurlMulti& multi, const Address& backend, const HealthCheckConfig& config,
                     Prober::Done done)
    : multi_(multi), config_(config), backend_(backend), done_(std::move(done)), easy_(curl_easy_init()) {
  set(CURLOPT_PRIVATE, this);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_PROXY, "");  // whatever the environment says
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(config.timeout.count()));
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(config.timeout.count()));
  set(CURLOPT_FRESH_CONNECT, 1L);
  set(CURLOPT_FORBID_REUSE, 1L);
  // Addresses are known here. A cache would keep each of them and be walked at the end of every transfer.
  set(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
  set(CURLOPT_ERRORBUFFER, reason_.data());
  if (config.tunnel) device_ = tunnel_device();
  set(CURLOPT_OPENSOCKETFUNCTION, &CurlProbe::open_check_socket);
  set(CURLOPT_OPENSOCKETDATA, this);
  set_target(config.tunnel ? config.tunnel->vip : backend);
  if (over_tls()) set_tls();
  if (connects_only()) {
    set(CURLOPT_CONNECT_ONLY, 1L);  // and the handshake
    return;
  }
  set(CURLOPT_PATH_AS_IS, 1L);
  set(CURLOPT_USERAGENT, "linimo/" LINIMO_VERSION);
  set(CURLOPT_WRITEFUNCTION, &CurlProbe::on_body);
  set(CURLOPT_WRITEDATA, this);
  if (is(CheckType::kGrpc)) set_grpc();
  if (is(CheckType::kGrpc) || !config.drain_header.empty()) {
    set(CURLOPT_HEADERFUNCTION, &CurlProbe::on_header);  // of trailers too
    set(CURLOPT_HEADERDATA, this);
  }
  set(CURLOPT_HTTPHEADER, headers_.get());
}

void CurlProbe::set_target(const Address& backend) {
  const std::string address = backend.is_v4() ? backend.to_string() : "[" + backend.to_string() + "]";
  const std::string path = connects_only() ? "/" : is(CheckType::kGrpc) ? kGrpcHealthPath : config_.path;
  // In TLS the name is asked for (SNI, RFC 6066, 3) and verified, so it stands in the URL, and the connection
  // goes to the backend all the same. In plain HTTP it is a header's value, which may have a port of its own.
  const bool in_url = !config_.host.empty() && !is(CheckType::kHttp);
  const std::string url = fmt::format("{}://{}:{}{}", over_tls() ? "https" : "http",
                                      in_url ? config_.host : address, config_.port, path);
  set(CURLOPT_URL, url.c_str());
  if (in_url) {
    connect_to_.reset(curl_slist_append(nullptr, fmt::format("::{}:{}", address, config_.port).c_str()));
    set(CURLOPT_CONNECT_TO, connect_to_.get());
  } else if (!config_.host.empty()) {
    add_header("Host: " + config_.host);
  }
}

void CurlProbe::set_tls() {
  set(CURLOPT_SSL_VERIFYPEER, config_.verify ? 1L : 0L);
  set(CURLOPT_SSL_VERIFYHOST, config_.verify ? 2L : 0L);
  // A resumed session would not test the certificate's key; and libcurl keeps eight of them for all transfers
  // together.
  set(CURLOPT_SSL_SESSIONID_CACHE, 0L);
  // libcurl reads authorities anew for every connection, unless they are in one file: that it keeps.
  set(CURLOPT_CAPATH, nullptr);
  if (!config_.verify) set(CURLOPT_CAINFO, nullptr);
  if (!config_.ca_file.empty()) set(CURLOPT_CAINFO, config_.ca_file.c_str());
}

void CurlProbe::set_grpc() {
  request_ = grpc_health_request(config_.service);
  set(CURLOPT_HTTP_VERSION,
      static_cast<long>(over_tls() ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE));
  set(CURLOPT_POSTFIELDSIZE, static_cast<long>(request_.size()));
  set(CURLOPT_POSTFIELDS, request_.data());
  add_header("Content-Type: application/grpc");
  add_header("TE: trailers");
}

void CurlProbe::add_header(const std::string& line) {
  headers_.reset(curl_slist_append(headers_.release(), line.c_str()));
}

curl_socket_t CurlProbe::open_check_socket(void* self, curlsocktype, curl_sockaddr* address) {
  auto& probe = *static_cast<CurlProbe*>(self);
  const auto& tunnel = probe.config_.tunnel;
  if (tunnel && probe.device_ == 0) return CURL_SOCKET_BAD;
  UniqueFd fd = tunnel ? open_tunnel_socket(*tunnel, probe.backend_)
                       : open_socket(address->family, address->socktype, address->protocol);
  if (fd) return fd.release();
  probe.socket_error_ = errno;
  return CURL_SOCKET_BAD;
}

size_t CurlProbe::on_header(char* data, size_t size, size_t count, void* self) {
  auto& probe = *static_cast<CurlProbe*>(self);
  const std::string line(data, size * count);
  const auto value_of = [&](const std::string& name) {
    const bool found = strncasecmp(line.c_str(), name.c_str(), name.size()) == 0 && line[name.size()] == ':';
    return found ? line.c_str() + name.size() + 1 : nullptr;
  };
  if (!probe.config_.drain_header.empty() && value_of(probe.config_.drain_header) != nullptr)
    probe.drains_ = true;
  if (const char* status = value_of("grpc-status")) probe.grpc_status_ = std::atoi(status);
  return size * count;
}

/// Taking less than there is ends the transfer.
size_t CurlProbe::on_body(char* data, size_t size, size_t count, void* self) {
  std::string& body = static_cast<CurlProbe*>(self)->body_;
  const size_t taken = std::min(size * count, kMaxBodyBytes - body.size());
  body.append(data, taken);
  return taken;
}

Verdict CurlProbe::connect_failure() const {
  long error = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_OS_ERRNO, &error);
  if (error == 0) return {false, "connect: no connection"};
  return failed_call("connect", static_cast<int>(error));
}

std::string CurlProbe::timeout_failure() const {
  long connected = 0;  // from which port; the time of it is set after TLS only
  curl_off_t handshaken = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_LOCAL_PORT, &connected);
  curl_easy_getinfo(easy_.get(), CURLINFO_APPCONNECT_TIME_T, &handshaken);
  const std::string missing = connected == 0                  ? "connect: no answer"
                              : over_tls() && handshaken == 0 ? "tls: no handshake"
                                                              : fmt::format("{}: no whole answer", name());
  return fmt::format("{} within {} ms", missing, config_.timeout.count());
}

Verdict CurlProbe::verdict(CURLcode result) const {
  if (config_.tunnel && tunnel_lost(device_)) return no_tunnel();
  if (socket_error_ != 0)
    return config_.tunnel ? no_tunnel_socket(socket_error_) : cannot_check(socket_error_);
  const bool cut_off = result == CURLE_WRITE_ERROR && body_.size() == kMaxBodyBytes;
  if (result == CURLE_OUT_OF_MEMORY) return cannot_check(ENOMEM);
  if (result == CURLE_OPERATION_TIMEDOUT) return {false, timeout_failure()};
  if (result == CURLE_COULDNT_CONNECT) return connect_failure();
  if (result == CURLE_SSL_CONNECT_ERROR || result == CURLE_PEER_FAILED_VERIFICATION ||
      result == CURLE_SSL_CACERT_BADFILE) {
    return {false, fmt::format("tls: {}", reason_[0] != 0 ? reason_.data() : curl_easy_strerror(result))};
  }
  if (result != CURLE_OK && !cut_off)
    return {false, fmt::format("{}: {}", name(), curl_easy_strerror(result))};
  if (connects_only()) return {true, {}};
  return is(CheckType::kGrpc) ? grpc_verdict() : http_verdict();
}

Verdict CurlProbe::http_verdict() const {
  long status = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status == 503 && drains_) return {.healthy = true, .detail = {}, .drains = true};
  const bool wanted =
      std::any_of(config_.statuses.begin(), config_.statuses.end(),
                  [&](const StatusRange& range) { return status >= range.first && status <= range.last; });
  if (!wanted) return {false, fmt::format("http: status {}", status)};
  if (body_.find(config_.body) == std::string::npos) return {false, "http: the body is not as expected"};
  return {true, {}};
}

Verdict CurlProbe::grpc_verdict() const {
  long status = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) return {false, fmt::format("grpc: HTTP status {}", status)};
  if (grpc_status_ != 0) return {false, fmt::format("grpc: status {}", grpc_status_)};
  const auto serving = grpc_serving_status(body_);
  if (!serving) return {false, "grpc: not a HealthCheckResponse"};
  if (*serving != kGrpcServing) return {false, fmt::format("grpc: serving status {}", *serving)};
  return {true, {}};
}

}  // namespace

std::unique_ptr<Prober> make_curl_prober(boost::asio::io_context& io) {
  return std::make_unique<CurlProber>(io);
}

}  // namespace linimo
