// The memory of connection tables and fragments: a file that lies in memory and outlives the process.
//
//   <hugetlbfs>/linimo@run-linimo/tables      of the runtime folder /run/linimo
//   /run/linimo/kept/tables                   where no hugetlbfs can hold it and that folder is on a tmpfs
//
// Any end of the process leaves it as it is, an orderly one too, and the next process takes it over
// (dataplane/flow/kept_flows.h), from either place; into hugepages as soon as there are such. What frees its
// pages: `forget`, and a reboot. One process has it at a time.
#pragma once

#include <filesystem>
#include <string>

#include <tl/expected.hpp>

#include "dataplane/dpdk/kept_places.h"
#include "dataplane/flow/kept_flows.h"
#include "maglev/unique_fd.h"

namespace linimo::dpdk {

class KeptMemory {
 public:
  /// Finds the file of that runtime folder, or makes it; `shape` but owner and boot says what for. The error
  /// says why there can be none: then there must be memory that ends with the process.
  static tl::expected<KeptMemory, std::string> open(const std::filesystem::path& runtime_dir,
                                                    KeptFlows::Shape shape);
  ~KeptMemory();
  KeptMemory(KeptMemory&& other) noexcept;

  KeptFlows flows() const { return KeptFlows(memory_); }
  const std::filesystem::path& file() const { return file_; }
  /// Why it does not lie in hugepages; empty: it does.
  const std::string& why_small_pages() const { return why_small_pages_; }
  /// Why it holds no flows of an earlier process, see KeptFlows::why_not; empty: it does, or there was none.
  const std::string& why_empty() const { return why_empty_; }
  /// The next process will find it: its file is still the one of that name.
  bool is_in_place() const;

 private:
  KeptMemory(std::filesystem::path file, UniqueFd fd, std::span<std::byte> memory)
      : file_(std::move(file)), fd_(std::move(fd)), memory_(memory) {}
  /// Of the file, which must be locked.
  static tl::expected<KeptMemory, std::string> map(std::filesystem::path file, UniqueFd fd, size_t bytes);
  /// What lies there for that shape. Nothing: why not, if there was anything.
  struct Left;
  static Left left_in(const KeptPlace& place, const KeptFlows::Shape& shape);
  /// A new file of zeros.
  static tl::expected<KeptMemory, std::string> make_in(const KeptPlace& place, uint64_t bytes);

  std::filesystem::path file_;
  UniqueFd fd_;  // locked
  std::span<std::byte> memory_;
  std::string why_empty_;
  std::string why_small_pages_;
};

/// Removes what a data plane of that runtime folder has left; whether there was anything. Its pages are free
/// once nobody uses them any more.
bool forget_kept_memory(const std::filesystem::path& runtime_dir);

}  // namespace linimo::dpdk
