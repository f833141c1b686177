#include "dataplane/handover/upgrade.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "dataplane/handover/phases.h"
#include "maglev/config/node.h"
#include "maglev/os/seqpacket.h"
#include "maglev/program.h"
#include "maglev/protocol.h"

namespace linimo::handover {
namespace {

constexpr auto kLimit = kPreparingLimit + 2 * giving_limit(true);

tl::expected<protocol::Upgraded, std::string> ask(const std::filesystem::path& socket) {
  struct stat folder {};  // whose it is may well listen there
  const bool known = stat(socket.parent_path().c_str(), &folder) == 0;
  const auto fd = connect_seqpacket(socket, known ? folder.st_uid : geteuid());
  if (!fd)
    return tl::unexpected(
        fmt::format("no data plane answers on {} ({}): start it instead", socket.string(), fd.error()));
  if (auto sent = send_message(fd->get(), protocol::encode(protocol::Upgrade{})); !sent)
    return tl::unexpected(sent.error());
  pollfd ready{.fd = fd->get(), .events = POLLIN, .revents = 0};
  if (poll(&ready, 1, static_cast<int>(std::chrono::milliseconds(kLimit).count())) == 0)
    return tl::unexpected(
        fmt::format("the data plane has not answered within {} s; see its log", kLimit.count()));
  const auto message = receive_message(fd->get(), protocol::kMaxMessageSize);
  if (!message || !*message)
    return tl::unexpected<std::string>(
        "the data plane has ended before it could say how the hand-over went; see its log");
  if (const auto told = protocol::decode<protocol::Upgraded>((*message)->bytes)) return *told;
  if (const auto refused = protocol::decode<protocol::Refused>((*message)->bytes))
    return tl::unexpected(
        fmt::format("the data plane refuses: {} (one of a version without hand-over can only be restarted)",
                    protocol::text_of(refused->reason)));
  return tl::unexpected<std::string>("the data plane has answered what nobody understands");
}

}  // namespace

int upgrade(const std::string& config_file) {
  const auto config = load_node_config(config_file);
  if (!config) {
    spdlog::error("{}", config.error());
    return kFailed;
  }
  const auto told = ask(config->dataplane_socket());
  const std::string error =
      told ? std::string(protocol::text_of(told->error)) : fmt::format("no hand-over: {}", told.error());
  if (!error.empty()) {
    spdlog::error("{}", error);
    return kFailed;
  }
  const auto milliseconds = [](uint64_t us) { return (us + 999) / 1000; };
  spdlog::info("handed over to pid {} in {} ms: {}", told->pid, milliseconds(told->took_us),
               protocol::text_of(told->engine) == "xdp"
                   ? fmt::format("the program in the kernel forwarded all the time, {} ms of it by itself",
                                 milliseconds(told->away_us))
                   : fmt::format("nothing was forwarded for {} ms", milliseconds(told->away_us)));
  return 0;
}

}  // namespace linimo::handover
