#include <array>
#include <span>

#include <rte_mbuf.h>

#include "dataplane/forward/lane_path.h"

namespace linimo {

#ifdef LINIMO_HAS_LANES
namespace avx512 {
extern const LanePath kPath;
}
namespace avx2 {
extern const LanePath kPath;
}

std::span<const LanePath* const> lane_paths() {
  static const LanePath* const all[] = {&avx512::kPath, &avx2::kPath};
  __builtin_cpu_init();
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("bmi2");
  const bool narrow = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
  return std::span(all).subspan(wide ? 0 : 1, (wide ? 1 : 0) + (narrow ? 1 : 0));
}
#else
std::span<const LanePath* const> lane_paths() {
  return {};
}
#endif

const LanePath* lane_path(std::string_view name) {
  for (const LanePath* path : lane_paths()) {
    if (name == "auto" || name == path->name) return path;
  }
  return nullptr;
}

rte_mbuf* LanePath::blank_mbuf() {
  static rte_mbuf blank{};
  return &blank;
}

const uint8_t* LanePath::nothing() {
  alignas(64) static constexpr uint8_t kNothing[64] = {};
  return kNothing;
}

}  // namespace linimo
