#include "controlplane/tables/snapshot_memory.h"

#include <utility>

#include "maglev/os/memfd.h"
#include "maglev/snapshot.h"

namespace linimo {
namespace {

constexpr const char* kName = "linimo-snapshot";

}  // namespace

tl::expected<UniqueFd, std::string> SnapshotMemory::sealed_with(std::span<const std::byte> snapshot) {
  if (!prepared_ || size_ != snapshot.size()) return make_sealed_memfd(kName, snapshot);
  UniqueFd fd = std::move(prepared_);
  for (const Stretch& stretch : changed_stretches(head_, snapshot)) {
    const auto written = write_at(fd, stretch.offset, snapshot.subspan(stretch.offset, stretch.size));
    if (!written) return tl::unexpected(written.error());
  }
  if (auto sealed = seal(fd); !sealed) return tl::unexpected(sealed.error());
  return fd;
}

void SnapshotMemory::prepare(std::span<const std::byte> snapshot) {
  prepared_.reset();  // before the new one: there need be memory for one only
  auto fd = make_memfd(kName, snapshot.size());
  if (!fd || !write_at(*fd, 0, snapshot)) return;
  const auto head = head_of(snapshot);
  head_.assign(head.begin(), head.end());
  size_ = snapshot.size();
  prepared_ = std::move(*fd);
}

}  // namespace linimo
