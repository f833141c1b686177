#include "dataplane/link/capture_session.h"

#include <cerrno>

#include <poll.h>
#include <sys/socket.h>

#include "maglev/protocol.h"

namespace linimo {
namespace {

constexpr std::chrono::seconds kSilence{1};
constexpr int kBuffer = 4 << 20;  // some hundred frames, while the other side does something else

}  // namespace

bool is_packet_socket(int fd) {
  int type = 0, family = 0;
  socklen_t size = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET &&
         getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && family == AF_UNIX;
}

CaptureSession::CaptureSession(UniqueFd to, std::unique_ptr<Capture> capture)
    : to_(std::move(to)), capture_(std::move(capture)), told_(std::chrono::steady_clock::now()) {
  if (setsockopt(to_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kBuffer, sizeof kBuffer) != 0)
    (void)setsockopt(to_.get(), SOL_SOCKET, SO_SNDBUF, &kBuffer, sizeof kBuffer);
}

CaptureSession::Sent CaptureSession::send(linimo_captured& captured) {
  captured.type = static_cast<uint32_t>(protocol::Type::kCaptured);
  captured.missed = capture_->missed();
  const size_t length = protocol::kCapturedHead + captured.in_kept + captured.out_kept;
  if (::send(to_.get(), &captured, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
    return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? Sent::kNotNow : Sent::kGone;
  told_ = std::chrono::steady_clock::now();
  return Sent::kAll;
}

bool CaptureSession::pump() {
  if (capture_->loading()) return true;  // that cannot be broken off
  pollfd other{.fd = to_.get(), .events = POLLIN | POLLRDHUP, .revents = 0};
  if (poll(&other, 1, 0) != 0) return false;  // they have nothing to say
  bool gone = false;
  capture_->read([&](linimo_captured& captured) {
    const Sent sent = send(captured);
    gone = sent == Sent::kGone;
    sent_ += sent == Sent::kAll ? 1 : 0;
    return sent == Sent::kAll;
  });
  if (const std::string why = capture_->ended(); !why.empty()) {
    protocol::Capturing last;
    protocol::set_text(last.error, why);
    // Whoever does not take it sees the socket closed.
    (void)::send(to_.get(), &last, sizeof last, MSG_DONTWAIT | MSG_NOSIGNAL);
    return false;
  }
  if (!gone && std::chrono::steady_clock::now() - told_ >= kSilence) {  // no packet, but how many are missed
    linimo_captured nothing{};
    gone = send(nothing) == Sent::kGone;
  }
  return !gone;
}

}  // namespace linimo
