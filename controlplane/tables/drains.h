// Which backends the operator has asked to drain, besides what the configuration says: a wish that outlives
// this process, and goes with its backend.
//
//   Drains drains;
//   if (auto loaded = drains.load(file); !loaded) warn();
//   drains.set(backend, true);
//   drains.save(file);
#pragma once

#include <filesystem>
#include <set>
#include <string>

#include <tl/expected.hpp>

#include "controlplane/config/config.h"

namespace linimo {

class Drains {
 public:
  bool contains(const BackendKey& backend) const { return backends_.contains(backend); }

  /// True when that changed anything.
  bool set(const BackendKey& backend, bool drain);
  /// Forgets the backends that a configuration does not have. True when there were any.
  bool keep_those_of(const Config& config);

  /// Nothing is known when the file is missing or damaged; the error says so if it is damaged.
  tl::expected<void, std::string> load(const std::filesystem::path& file);
  /// When this returns without an error they outlive a power cut; else what the file had is there still.
  tl::expected<void, std::string> save(const std::filesystem::path& file) const;

 private:
  std::set<BackendKey> backends_;
};

}  // namespace linimo
