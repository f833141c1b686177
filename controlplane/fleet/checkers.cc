#include "controlplane/fleet/checkers.h"

#include <algorithm>
#include <utility>

#include "maglev/hash.h"

namespace linimo::fleet {
namespace {

uint64_t hash(const std::string& name) {
  return XXH3_64bits(name.data(), name.size());
}

uint64_t score(uint64_t node, uint64_t backend) {
  const uint64_t both[] = {node, backend};
  return XXH3_64bits(both, sizeof both);
}

}  // namespace

Assignment assign(std::vector<std::string> nodes, const std::vector<std::string>& backends, uint32_t count) {
  Assignment result;
  result.nodes = std::move(nodes);
  std::vector<uint64_t> hashes;
  hashes.reserve(result.nodes.size());
  for (const std::string& node : result.nodes) hashes.push_back(hash(node));
  std::vector<std::pair<uint64_t, uint16_t>> scores(hashes.size());
  const size_t chosen = std::min<size_t>(count, hashes.size());
  result.backends.reserve(backends.size());
  for (const std::string& backend : backends) {
    const uint64_t of_backend = hash(backend);
    for (size_t i = 0; i < hashes.size(); ++i)
      scores[i] = {score(hashes[i], of_backend), static_cast<uint16_t>(i)};
    std::partial_sort(scores.begin(), scores.begin() + static_cast<ptrdiff_t>(chosen), scores.end(),
                      std::greater<>());
    Assignment::Backend& assigned = result.backends.emplace_back();
    assigned.name = backend;
    for (size_t i = 0; i < chosen; ++i) assigned.checkers.push_back(scores[i].second);
  }
  return result;
}

}  // namespace linimo::fleet
