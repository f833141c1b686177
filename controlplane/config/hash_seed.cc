#include "controlplane/config/hash_seed.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "maglev/hash.h"

namespace linimo {
namespace {

constexpr size_t kLeastBytes = 16;
constexpr size_t kMostBytes = 4096;

}  // namespace

tl::expected<uint64_t, std::string> load_hash_seed(const std::filesystem::path& file) {
  const std::string name = file.string();
  const auto refuse = [&](std::string_view problem, std::string_view remedy) {
    return tl::unexpected(fmt::format("hash seed file {} {}; expected {}", name, problem, remedy));
  };
  constexpr std::string_view kFleets = "the fleet's seed, the same file as on the other nodes";
  const int fd = open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  const int error = errno;
  std::error_code unknown;
  if (fd < 0 && error == ENOENT && std::filesystem::is_symlink(file, unknown)) {
    // There is a seed, only not here at the moment.
    const auto target = std::filesystem::read_symlink(file, unknown);
    return refuse(fmt::format("is a symbolic link to {}, which does not exist", target.string()), kFleets);
  }
  if (fd < 0 && error == ENOENT) {
    return refuse(
        "does not exist",
        fmt::format("{}; for a first node: mkdir -p {} && head -c 32 /dev/urandom > {} && chmod 600 {}",
                    kFleets, file.parent_path().string(), name, name));
  }
  if (fd < 0) {
    return refuse(fmt::format("cannot be read: {}", std::strerror(error)),
                  fmt::format("a file that this user (uid {}) may read; leave the seed as it is", geteuid()));
  }
  struct stat status {};
  std::vector<char> bytes(kMostBytes + 1);
  const bool regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  const ssize_t length = regular ? read(fd, bytes.data(), bytes.size()) : -1;
  close(fd);

  if (!regular || length < 0) return refuse("is not a file that can be read", kFleets);
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return refuse("can be read by others than its owner", fmt::format("it to be secret: chmod 600 {}", name));
  }
  if (static_cast<size_t>(length) < kLeastBytes) {
    return refuse(fmt::format("has {} bytes, fewer than {}", length, kLeastBytes), kFleets);
  }
  if (static_cast<size_t>(length) > kMostBytes) return refuse("is larger than 4096 bytes", kFleets);
  return XXH3_64bits(bytes.data(), static_cast<size_t>(length));
}

// By a hash that nobody inverts: the seed's own would narrow it down to what can be tried.
uint32_t hash_seed_check(uint64_t seed) {
  constexpr std::string_view kLabel = "linimo hash seed";
  std::array<unsigned char, kLabel.size() + sizeof seed> message{};
  std::copy(kLabel.begin(), kLabel.end(), message.begin());
  std::memcpy(message.data() + kLabel.size(), &seed, sizeof seed);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  EVP_Digest(message.data(), message.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  uint32_t check = 0;
  std::memcpy(&check, digest.data(), sizeof check);
  return check;
}

}  // namespace linimo
