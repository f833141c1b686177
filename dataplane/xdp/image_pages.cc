#include "dataplane/xdp/image_pages.h"

#include <utility>

#include <bpf/bpf.h>

#include "bpf/layout.h"
#include "dataplane/xdp/array_map.h"

namespace linimo::xdp {
namespace {

constexpr uint64_t kPageBytes = uint64_t{LINIMO_PAGE_CELLS} * sizeof(linimo_cell);

/// Where a page stands in the map, whose entries are the pages of one generation, then those of the other.
uint32_t place(uint32_t slot, uint32_t page) {
  return slot * LINIMO_IMAGE_PAGES + page;
}

}  // namespace

ImagePages ImagePages::make(uint64_t cells, ImagePages before) {
  const uint64_t wanted = (cells + LINIMO_PAGE_CELLS - 1) / LINIMO_PAGE_CELLS;
  if (before.pages_.size() >= wanted) return before;
  before.memory_ = {};
  while (before.pages_.size() < wanted) {
    before.pages_.push_back(create_array("image", LINIMO_PAGE_CELLS, 0));
    if (!before.pages_.back()) return {};
  }
  return before.map() ? std::move(before) : ImagePages();
}

ImagePages ImagePages::pinned(const std::filesystem::path& pins, uint32_t slot) {
  ImagePages found;
  for (uint32_t page = 0; page < LINIMO_IMAGE_PAGES; ++page) {
    uint64_t cells = 0;
    UniqueFd fd = pinned_map(pin_of_inner(pins, "images", place(slot, page)), cells);
    if (!fd || cells != LINIMO_PAGE_CELLS) break;
    found.pages_.push_back(std::move(fd));
  }
  return !found.pages_.empty() && found.map() ? std::move(found) : ImagePages();
}

bool ImagePages::map() {
  memory_ = Mapping::of(pages_, kPageBytes);
  return static_cast<bool>(memory_);
}

bool ImagePages::stands_in(int images, uint32_t slot, uint32_t page) const {
  const uint32_t key = place(slot, page);
  uint32_t there = 0;  // for processes a map in a map is its id
  bpf_map_info info{};
  uint32_t length = sizeof info;
  return bpf_map_lookup_elem(images, &key, &there) == 0 &&
         bpf_obj_get_info_by_fd(pages_[page].get(), &info, &length) == 0 && info.id == there;
}

bool ImagePages::stand_in(int images, uint32_t slot) const {
  for (uint32_t page = 0; page < pages_.size(); ++page) {
    if (!stands_in(images, slot, page)) return false;
  }
  return !pages_.empty();
}

bool ImagePages::put(int images, uint32_t slot, const std::filesystem::path& pins) const {
  for (uint32_t page = 0; page < pages_.size(); ++page) {
    if (stands_in(images, slot, page)) continue;
    const uint32_t key = place(slot, page);
    const int fd = pages_[page].get();
    if (!pin_map(pages_[page], pin_of_inner(pins, "images", key)) ||
        bpf_map_update_elem(images, &key, &fd, BPF_ANY) != 0)
      return false;
  }
  for (auto page = static_cast<uint32_t>(pages_.size()); page < LINIMO_IMAGE_PAGES; ++page) {
    const uint32_t key = place(slot, page);
    uint32_t there = 0;
    if (bpf_map_lookup_elem(images, &key, &there) != 0) break;
    std::error_code ignored;  // the pin first: whoever ends in between leaves none that nobody takes away
    if (!pins.empty()) std::filesystem::remove(pin_of_inner(pins, "images", key), ignored);
    bpf_map_delete_elem(images, &key);
  }
  return true;
}

bool ImagePages::wait_for_packets(int images, uint32_t slot) const {
  const uint32_t key = place(slot, 0);
  const int fd = pages_.front().get();
  return bpf_map_update_elem(images, &key, &fd, BPF_ANY) == 0;
}

}  // namespace linimo::xdp
