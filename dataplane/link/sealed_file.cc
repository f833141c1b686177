#include "dataplane/link/sealed_file.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "maglev/abi.h"
#include "maglev/os/memfd.h"

namespace linimo {

tl::expected<SealedFile, std::string> SealedFile::map(int fd) {
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0) return tl::unexpected<std::string>("the descriptor is no memfd");
  if ((seals & kWholeSeal) != kWholeSeal) {
    return tl::unexpected(
        fmt::format("the memfd is not sealed against grow, shrink, write and seal (has {:#x})", seals));
  }
  struct stat status {};
  if (fstat(fd, &status) != 0) return tl::unexpected(std::string("fstat: ") + std::strerror(errno));
  SealedFile file;
  file.size_ = static_cast<size_t>(status.st_size);
  if (file.size_ < sizeof(linimo_header) || file.size_ > LINIMO_MAX_SNAPSHOT_BYTES) {
    return tl::unexpected(fmt::format("{} bytes are no snapshot", file.size_));
  }
  if (static_cast<uint64_t>(status.st_blocks) * 512 < file.size_) {  // to read a hole would allocate it
    return tl::unexpected(std::string("the memfd has holes"));
  }
  void* memory = mmap(nullptr, file.size_, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (memory == MAP_FAILED) return tl::unexpected(std::string("mmap: ") + std::strerror(errno));
  file.memory_ = {static_cast<const std::byte*>(memory), [size = file.size_](const std::byte* block) {
                    munmap(const_cast<std::byte*>(block), size);
                  }};
  return file;
}

}  // namespace linimo
