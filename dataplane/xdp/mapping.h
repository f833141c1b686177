// The memory of a BPF array map (BPF_F_MMAPABLE), or of several side by side, as this process sees it.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include <sys/mman.h>

#include "maglev/unique_fd.h"

namespace linimo::xdp {

class Mapping {
 public:
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping(Mapping&& other) noexcept { *this = std::move(other); }
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Mapping() {
    if (address_ != nullptr) munmap(address_, size_);
  }

  /// Empty where the kernel refuses; errno says why.
  static Mapping of(int fd, size_t size) {
    Mapping mapping;
    void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (address == MAP_FAILED) return mapping;
    mapping.address_ = address;
    mapping.size_ = size;
    return mapping;
  }

  /// All of one size, a multiple of the system's pages.
  static Mapping of(std::span<const UniqueFd> maps, size_t size_of_each) {
    Mapping mapping;
    const size_t size = maps.size() * size_of_each;
    void* all = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return mapping;
    mapping.address_ = all;
    mapping.size_ = size;
    auto* next = static_cast<std::byte*>(all);
    for (const UniqueFd& map : maps) {
      if (mmap(next, size_of_each, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, map.get(), 0) ==
          MAP_FAILED)
        return {};
      next += size_of_each;
    }
    return mapping;
  }

  explicit operator bool() const { return address_ != nullptr; }
  size_t size() const { return size_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(address_);
  }

 private:
  void* address_ = nullptr;
  size_t size_ = 0;
};

}  // namespace linimo::xdp
