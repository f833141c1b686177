#include "dataplane/link/kept_snapshot.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "maglev/unique_fd.h"

namespace linimo {

bool keep_snapshot(const std::filesystem::path& file, std::span<const std::byte> bytes) {
  const std::filesystem::path next = file.string() + ".next";
  UniqueFd fd(open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));  // it holds the hash seed
  while (fd && !bytes.empty()) {
    const ssize_t written = write(fd.get(), bytes.data(), bytes.size());
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return fd && rename(next.c_str(), file.c_str()) == 0;
}

std::optional<std::vector<std::byte>> read_kept_snapshot(const std::filesystem::path& file) {
  const UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!fd || fstat(fd.get(), &status) != 0 ||
      static_cast<uint64_t>(status.st_size) > LINIMO_MAX_SNAPSHOT_BYTES) {
    return std::nullopt;
  }
  std::vector<std::byte> bytes(static_cast<size_t>(status.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = read(fd.get(), bytes.data() + done, bytes.size() - done);
    if (count <= 0) return std::nullopt;
    done += static_cast<size_t>(count);
  }
  return bytes;
}

}  // namespace linimo
