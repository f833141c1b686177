// Where a file may lie that lies in memory and outlives the process: on a hugetlbfs, else on a tmpfs.
//
//   for (const KeptPlace& place : kept_places("/run/linimo").usable) look_at(place.file);
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace linimo::dpdk {

struct KeptPlace {
  std::filesystem::path file;
  size_t page_bytes;
  bool hugepages;

  uint64_t whole_pages(uint64_t bytes) const { return (bytes + page_bytes - 1) / page_bytes * page_bytes; }
  /// Why so much must not be put there; empty: it may. A tmpfs is other programs' as well, and is never taken
  /// for more than half of what is free.
  std::string why_no_room(uint64_t bytes) const;
};

struct KeptPlaces {
  std::vector<KeptPlace> usable;     // hugepages first, and of those the smallest pages
  std::vector<std::string> why_not;  // of each kind that is missing
};

/// Of the node with that runtime folder.
KeptPlaces kept_places(const std::filesystem::path& runtime_dir);

/// The folder's path as one word's parts: the same for all ways to it.
std::string plain_path(const std::filesystem::path& runtime_dir);

}  // namespace linimo::dpdk
