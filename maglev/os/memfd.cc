#include "maglev/os/memfd.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace linimo {
namespace {

auto system_error(std::string_view what) {
  return tl::unexpected(std::string(what) + ": " + std::strerror(errno));
}

}  // namespace

tl::expected<UniqueFd, std::string> make_memfd(const char* name, size_t size) {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return system_error("memfd_create");
  if (size != 0 && fallocate(fd.get(), 0, 0, static_cast<off_t>(size)) != 0) return system_error("memory");
  return fd;
}

tl::expected<void, std::string> write_at(const UniqueFd& fd, size_t offset,
                                         std::span<const std::byte> bytes) {
  for (size_t written = 0; written < bytes.size();) {
    const ssize_t count = pwrite(fd.get(), bytes.data() + written, bytes.size() - written,
                                 static_cast<off_t>(offset + written));
    if (count < 0 && errno != EINTR) return system_error("write to memfd");
    if (count > 0) written += static_cast<size_t>(count);
  }
  return {};
}

tl::expected<void, std::string> seal(const UniqueFd& fd) {
  if (fcntl(fd.get(), F_ADD_SEALS, kWholeSeal) != 0) {
    return system_error("seal memfd");
  }
  return {};
}

tl::expected<UniqueFd, std::string> make_sealed_memfd(const char* name, std::span<const std::byte> bytes) {
  auto fd = make_memfd(name, bytes.size());
  if (!fd) return fd;
  if (auto written = write_at(*fd, 0, bytes); !written) return tl::unexpected(written.error());
  if (auto sealed = seal(*fd); !sealed) return tl::unexpected(sealed.error());
  return fd;
}

tl::expected<std::vector<std::byte>, std::string> copy_of_file(int fd, size_t most) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return system_error("fstat");
  if (!S_ISREG(status.st_mode)) return tl::unexpected(std::string("not memory"));
  const auto size = static_cast<size_t>(status.st_size);
  if (size > most) return tl::unexpected("larger than " + std::to_string(most) + " bytes");
  std::vector<std::byte> bytes(size);
  for (size_t done = 0; done < size;) {
    const ssize_t count = pread(fd, bytes.data() + done, size - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error("read");
    if (count == 0) return tl::unexpected(std::string("became shorter while it was read"));
    done += static_cast<size_t>(count);
  }
  return bytes;
}

}  // namespace linimo
