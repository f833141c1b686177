// The memory of a generation's image: pages of one size (bpf/layout.h), each an array map that stands in the
// generation's part of the map `images`, and for this process one piece.
//
//   ImagePages pages = ImagePages::make(plan.cells, std::move(those_before));
//   ... fill pages.as<linimo_cell>() ...
//   pages.put(images, slot, pins);
//
// Where a function fails, errno says why.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "dataplane/xdp/mapping.h"
#include "maglev/unique_fd.h"

namespace linimo::xdp {

class ImagePages {
 public:
  ImagePages() = default;

  /// Room for so many cells: those of `before`, with what is in them, then as many more as are needed,
  /// zeroed. Empty where the kernel refuses.
  static ImagePages make(uint64_t cells, ImagePages before);

  /// Those that an earlier process pinned for this place.
  static ImagePages pinned(const std::filesystem::path& pins, uint32_t slot);

  explicit operator bool() const { return static_cast<bool>(memory_); }
  uint64_t size() const { return memory_.size(); }
  template <typename T>
  T* as() const {
    return memory_.as<T>();
  }

  /// Are they what stands in this place of `images`? Others may have put theirs there.
  bool stand_in(int images, uint32_t slot) const;

  /// Pins them and puts them there, where they do not stand already, and takes out what stands behind them.
  /// With each that it puts or takes out the kernel waits for every program that runs, some 8 ms.
  bool put(int images, uint32_t slot, const std::filesystem::path& pins) const;

  /// Puts one in its own place once more, only to wait: then no packet is in a generation that is not live.
  bool wait_for_packets(int images, uint32_t slot) const;

 private:
  bool map();
  bool stands_in(int images, uint32_t slot, uint32_t page) const;

  std::vector<UniqueFd> pages_;
  Mapping memory_;
};

}  // namespace linimo::xdp
