#include "dataplane/xdp/array_map.h"

#include <bpf/bpf.h>

#include "bpf/layout.h"

namespace linimo::xdp {

UniqueFd create_array(const char* name, uint64_t cells, uint32_t flags) {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE | flags);
  return UniqueFd(bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(uint32_t), sizeof(linimo_cell),
                                 static_cast<uint32_t>(cells), &options));
}

UniqueFd inner_map(int outer, uint32_t slot, uint64_t& cells) {
  uint32_t id = 0;
  if (bpf_map_lookup_elem(outer, &slot, &id) != 0) return {};
  UniqueFd fd(bpf_map_get_fd_by_id(id));
  bpf_map_info info{};
  uint32_t length = sizeof info;
  if (!fd || bpf_obj_get_info_by_fd(fd.get(), &info, &length) != 0) return {};
  cells = info.max_entries;
  return fd;
}

}  // namespace linimo::xdp
