#include "controlplane/member/credentials.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/store/file_store.h"
#include "maglev/unique_fd.h"
#ifdef LINIMO_ETCD
#include "controlplane/store/etcd_store.h"
#endif

namespace linimo {
namespace {

constexpr size_t kMostBytes = 1 << 20;

tl::expected<std::string, std::string> read_file(const std::filesystem::path& file, const std::string& what,
                                                 mode_t forbidden) {
  const auto refuse = [&](const std::string& why) {
    return tl::unexpected(fmt::format("{} {}: {}", what, file.string(), why));
  };
  const UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return refuse(std::strerror(errno));
  struct stat status {};
  if (fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) return refuse("not a file");
  if ((status.st_mode & forbidden) != 0)
    return refuse(fmt::format("others than its owner can read it; expected it to be secret: chmod 600 {}",
                              file.string()));
  if (static_cast<size_t>(status.st_size) > kMostBytes) return refuse("larger than 1 MiB");
  std::string content(static_cast<size_t>(status.st_size), '\0');
  if (read(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
    return refuse("it changed while it was read");
  return content;
}

}  // namespace

tl::expected<std::string, std::string> read_secret(const std::filesystem::path& file,
                                                   const std::string& what) {
  auto content = read_file(file, what, S_IRWXG | S_IRWXO);
  if (!content) return content;
  while (!content->empty() && (content->back() == '\n' || content->back() == '\r')) content->pop_back();
  if (content->empty()) return tl::unexpected(fmt::format("{} {}: it is empty", what, file.string()));
  return content;
}

tl::expected<std::unique_ptr<ConfigStore>, std::string> make_store(boost::asio::io_context& io,
                                                                   const FleetConfig& fleet,
                                                                   const NodeConfig& node) {
  if (fleet.store == StoreEngine::kFile) return make_file_store(io, node.state_dir / "fleet-store");
#ifdef LINIMO_ETCD
  EtcdConfig etcd;
  etcd.endpoints = fleet.endpoints;
  etcd.user = fleet.user;
  // So that an answer that is late is known to be before another member is tried.
  etcd.timeout = std::min<std::chrono::milliseconds>(etcd.timeout, fleet.lease / 3);
  struct Wanted {
    const std::filesystem::path& file;
    const char* what;
    std::string& into;
    bool secret;
  };
  for (const Wanted& wanted : {Wanted{fleet.ca_file, "ca_file", etcd.ca, false},
                               Wanted{fleet.cert_file, "cert_file", etcd.certificate, false},
                               Wanted{fleet.key_file, "key_file", etcd.key, true},
                               Wanted{fleet.password_file, "password_file", etcd.password, true}}) {
    if (wanted.file.empty()) continue;
    const std::string what = fmt::format("[fleet] {}", wanted.what);
    auto content = wanted.secret ? read_secret(wanted.file, what) : read_file(wanted.file, what, 0);
    if (!content) return tl::unexpected(content.error());
    wanted.into = std::move(*content);
  }
  return make_etcd_store(io, std::move(etcd));
#else
  (void)io;
  return tl::unexpected(
      std::string("[fleet] store = \"etcd\", and this program was built without it; expected a build with "
                  "-Detcd=enabled"));
#endif
}

}  // namespace linimo
