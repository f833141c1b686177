#include "dataplane/handover/taker.h"

#include <cstdlib>

#include <fcntl.h>
#include <poll.h>

#include "maglev/os/seqpacket.h"

namespace linimo::handover {

std::optional<Taker> Taker::from_environment() {
  if (std::getenv(kVariable) == nullptr) return std::nullopt;
  unsetenv(kVariable);  // of no meaning for whatever this process starts
  fcntl(kLinkFd, F_SETFD, FD_CLOEXEC);
  return Taker(UniqueFd(kLinkFd));
}

tl::expected<Taken, std::string> Taker::take(const Prepared& prepared) {
  const std::string gone = "the data plane that was to hand over has ended: nothing was taken over";
  if (!send_message(link_.get(), protocol::encode(prepared))) return tl::unexpected(gone);
  Taken taken;
  while (true) {
    pollfd ready{.fd = link_.get(), .events = POLLIN, .revents = 0};
    poll(&ready, 1, -1);
    auto message = receive_message(link_.get(), kMostBytes + 1);
    if (!message) return tl::unexpected(gone);
    if (!*message) continue;
    if (protocol::decode<Yours>((*message)->bytes)) break;
    const auto part = protocol::decode<Part>((*message)->bytes);
    if (!part || (*message)->fds.size() != 1)
      return tl::unexpected<std::string>("the data plane that was to hand over speaks another language");
    UniqueFd& fd = (*message)->fds.front();
    if (part->kind == PartKind::kLock)
      taken.lock = std::move(fd);
    else if (part->kind == PartKind::kProbeDevice)
      taken.probe_device = std::move(fd);
  }
  if (!taken.lock) return tl::unexpected<std::string>("the runtime folder's lock was not handed over");
  return taken;
}

void Taker::forwards() {
  (void)send_message(link_.get(), protocol::encode(Forwards{}));  // who cannot hear it has no say any more
  link_.reset();
}

void Taker::fail(const std::string& why) {
  Failed failed;
  protocol::set_text(failed.reason, why);
  (void)send_message(link_.get(), protocol::encode(failed));
}

}  // namespace linimo::handover
