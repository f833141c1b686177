// The memory of a BPF array map (BPF_F_MMAPABLE), as this process sees it.
#pragma once

#include <cstddef>
#include <utility>

#include <sys/mman.h>

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
