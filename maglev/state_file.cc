#include "maglev/state_file.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

namespace linimo {
namespace {

tl::unexpected<std::string> failure(const std::filesystem::path& path, int error) {
  return tl::unexpected(error == ELOOP
                            ? fmt::format("{} is a symbolic link, which is refused here", path.string())
                            : fmt::format("{}: {}", path.string(), std::strerror(error)));
}

/// 0, or the errno.
int write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return 0;
}

/// What a folder holds is on the disk when the folder is. 0, or the errno; not every file system can say so.
int sync_folder(const std::filesystem::path& file) {
  const UniqueFd folder(open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return errno;
  return fsync(folder.get()) == 0 || errno == EINVAL ? 0 : errno;
}

}  // namespace

tl::expected<void, std::string> make_own_folder(const std::filesystem::path& folder, mode_t mode) {
  std::error_code error;
  if (folder.has_parent_path()) std::filesystem::create_directories(folder.parent_path(), error);
  if (error) return failure(folder.parent_path(), error.value());
  const bool made = mkdir(folder.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) return failure(folder, errno);
  const UniqueFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  // With O_DIRECTORY a link is "not a directory".
  if (!fd) return failure(folder, std::filesystem::is_symlink(folder, error) ? ELOOP : errno);
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return failure(folder, errno);
  if (status.st_uid != 0 && status.st_uid != geteuid()) {
    return tl::unexpected(
        fmt::format("{} belongs to user {}, who could replace what is kept there: chown it to root, or name "
                    "another folder",
                    folder.string(), status.st_uid));
  }
  if ((status.st_mode & 022) != 0) {
    return tl::unexpected(
        fmt::format("{} may be written to by others (mode {:04o}): chmod {:04o} it, or name another folder",
                    folder.string(), status.st_mode & 07777, mode));
  }
  if (made && fchmod(fd.get(), mode) != 0) return failure(folder, errno);  // whatever the umask
  return {};
}

tl::expected<UniqueFd, std::string> open_own_file(const std::filesystem::path& file) {
  UniqueFd fd(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return failure(file, errno);
  return fd;
}

tl::expected<void, std::string> write_state_file(const std::filesystem::path& file,
                                                 std::span<const std::byte> content, Outlives outlives) {
  const std::filesystem::path next = file.string() + ".next";
  unlink(next.c_str());  // half of one, left by a process that was killed, takes the room of the whole
  UniqueFd fd(open(next.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return failure(file, errno);
  int error = write_all(fd.get(), content);
  if (error == 0 && outlives == Outlives::kPowerCut && fsync(fd.get()) != 0) error = errno;
  fd.reset();
  if (error == 0 && rename(next.c_str(), file.c_str()) != 0) error = errno;
  if (error != 0) {
    unlink(next.c_str());
    return failure(file, error);
  }
  if (outlives == Outlives::kPowerCut) error = sync_folder(file);
  if (error != 0) return failure(file.parent_path(), error);
  return {};
}

tl::expected<void, std::string> remove_state_file(const std::filesystem::path& file) {
  if (unlink(file.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return failure(file, errno);
  }
  if (const int error = sync_folder(file); error != 0) return failure(file.parent_path(), error);
  return {};
}

tl::expected<std::optional<std::string>, std::string> read_state_file(const std::filesystem::path& file,
                                                                      size_t most) {
  const UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd && errno == ENOENT) return std::nullopt;
  struct stat status {};
  if (!fd || fstat(fd.get(), &status) != 0) return failure(file, errno);
  if (!S_ISREG(status.st_mode)) return tl::unexpected(fmt::format("{} is not a plain file", file.string()));
  const auto size = static_cast<size_t>(status.st_size);
  if (size > most) return tl::unexpected(fmt::format("{} is larger than {} bytes", file.string(), most));
  std::string content(size, '\0');
  for (size_t done = 0; done < size;) {
    const ssize_t count = read(fd.get(), content.data() + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failure(file, errno);
    if (count == 0) return tl::unexpected(fmt::format("{} became shorter while it was read", file.string()));
    done += static_cast<size_t>(count);
  }
  return content;
}

}  // namespace linimo
