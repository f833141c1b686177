#include "dataplane/link/counters_memory.h"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>

namespace linimo {

CountersMemory::CountersMemory(uint32_t rows)
    : fd_(memfd_create("linimo-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING)), size_(counters_size(rows)) {
  const auto failed = [] { return std::system_error(errno, std::generic_category(), "counters' memory"); };
  if (!fd_ || ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) throw failed();
  void* memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (memory == MAP_FAILED) throw failed();
  block_ = static_cast<CountersBlock*>(memory);
  block_->magic = kCountersMagic;
  block_->abi_version = LINIMO_ABI_VERSION;
  block_->workers = rows;
  // Readers rely on the size; and only this mapping may ever be written through.
  if (fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
    throw failed();
}

CountersMemory::~CountersMemory() {
  munmap(block_, size_);
}

}  // namespace linimo
