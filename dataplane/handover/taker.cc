#include "dataplane/handover/taker.h"

#include <cstdlib>

#include <fcntl.h>
#include <poll.h>

#include "maglev/os/seqpacket.h"

namespace linimo::handover {
namespace {

void keep(Taken& taken, PartKind kind, UniqueFd fd) {
  switch (kind) {
    case PartKind::kLock:
      taken.lock = std::move(fd);
      break;
    case PartKind::kProbeDevice:
      taken.probe_device = std::move(fd);
      break;
    case PartKind::kGuardian:
      taken.guardian = std::move(fd);
      break;
    case PartKind::kGuardianEnd:
      taken.guardian_end = std::move(fd);
      break;
    case PartKind::kTap:
      taken.taps.push_back(std::move(fd));
      break;
  }
}

}  // namespace

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
    keep(taken, part->kind, std::move((*message)->fds.front()));
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
