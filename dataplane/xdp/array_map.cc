#include "dataplane/xdp/array_map.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <unistd.h>

#include "bpf/layout.h"

namespace linimo::xdp {

UniqueFd create_array(const char* name, uint64_t cells, uint32_t flags) {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE | flags);
  return UniqueFd(bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(uint32_t), sizeof(linimo_cell),
                                 static_cast<uint32_t>(cells), &options));
}

std::filesystem::path pin_of_inner(const std::filesystem::path& pins, const char* outer, uint32_t slot) {
  return pins.empty() ? pins : pins / fmt::format("{}-{}", outer, slot);
}

bool pin_map(const UniqueFd& map, const std::filesystem::path& pin) {
  if (pin.empty()) return true;
  unlink(pin.c_str());
  return bpf_obj_pin(map.get(), pin.c_str()) == 0;
}

UniqueFd pinned_map(const std::filesystem::path& pin, uint64_t& cells) {
  if (pin.empty()) return {};
  UniqueFd fd(bpf_obj_get(pin.c_str()));
  bpf_map_info info{};
  uint32_t length = sizeof info;
  if (!fd || bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) return {};
  cells = info.max_entries;
  return fd;
}

}  // namespace linimo::xdp
