#include "controlplane/health/descriptor_limit.h"

#include <algorithm>

#include <sys/resource.h>

namespace linimo {
namespace {

constexpr uint64_t kOthers = 512;  // the data plane, clients of the control socket and of the metrics, files

uint64_t descriptors_of(CheckType type) {
  switch (type) {
    case CheckType::kDns:
      return 2;  // a socket, and a set to wait with
    case CheckType::kExec:
      return 5;  // two pipes and the process
    default:
      return 1;
  }
}

}  // namespace

uint64_t descriptors_needed(const Config& config) {
  uint64_t needed = kOthers;
  for (const PoolConfig& pool : config.pools)
    if (pool.health) needed += pool.backends.size() * descriptors_of(pool.health->type);
  return needed;
}

DescriptorLimit raise_descriptor_limit(uint64_t needed) {
  rlimit now{};
  getrlimit(RLIMIT_NOFILE, &now);
  if (now.rlim_cur >= needed) return {needed, now.rlim_cur};
  const rlimit wanted{needed, std::max<rlim_t>(now.rlim_max, needed)};
  if (setrlimit(RLIMIT_NOFILE, &wanted) == 0) return {needed, needed};
  const rlimit allowed{std::min<rlim_t>(now.rlim_max, needed), now.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &allowed) == 0) return {needed, allowed.rlim_cur};
  return {needed, now.rlim_cur};
}

}  // namespace linimo
