// Snapshots as descriptors: sealed memory that the receiver can check and the sender can no longer change.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <fcntl.h>
#include <tl/expected.hpp>

#include "maglev/unique_fd.h"

namespace linimo {

/// A memfd of that size whose pages are there already.
tl::expected<UniqueFd, std::string> make_memfd(const char* name, size_t size);

tl::expected<void, std::string> write_at(const UniqueFd& fd, size_t offset, std::span<const std::byte> bytes);

/// Against growing, shrinking, writing and unsealing (memfd_create(2), F_ADD_SEALS).
inline constexpr int kWholeSeal = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL;
tl::expected<void, std::string> seal(const UniqueFd& fd);

/// All of it: a memfd with these bytes, sealed.
tl::expected<UniqueFd, std::string> make_sealed_memfd(const char* name, std::span<const std::byte> bytes);

/// A copy of a file's bytes, at most `most` of them. By reading, never by mapping: whoever still has the file
/// may change or cut it meanwhile, and then the copy is wrong, which validation finds.
tl::expected<std::vector<std::byte>, std::string> copy_of_file(int fd, size_t most);

}  // namespace linimo
