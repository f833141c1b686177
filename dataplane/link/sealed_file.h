// Snapshots on their way between processes: anonymous files that nobody can change any more.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include <tl/expected.hpp>

namespace linimo {

/// A read-only mapping of a descriptor that came from another process; refused unless it is sealed against
/// growing, shrinking, writing and unsealing, so that reading it can neither fault nor see it change.
class SealedFile {
 public:
  static tl::expected<SealedFile, std::string> map(int fd);
  std::span<const std::byte> bytes() const { return {memory_.get(), size_}; }

 private:
  std::shared_ptr<const std::byte> memory_;
  size_t size_ = 0;
};

}  // namespace linimo
