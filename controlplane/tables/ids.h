// The ids of backends and services: which number stands for which name, across reloads, restarts and crashes.
//
//   Ids ids;
//   ids.load(file);                            // what an earlier run noted
//   ids.learn(live);                           // what the data plane knows better
//   if (!ids.hold(config, {}, live)) warn();   // every name has a number of its own
//   ids.save(file);                            // before anybody relies on them
//   uint32_t id = ids.backend({"web", address});
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include <tl/expected.hpp>

#include "controlplane/config/config.h"
#include "controlplane/tables/id_registry.h"
#include "controlplane/tables/live_tables.h"

namespace linimo {

class Ids {
 public:
  using Time = IdRegistry::Time;

  /// Names of the configuration and of the live tables hold their numbers, and `others`, which are backends
  /// to the data plane alone; the rest give theirs back. False
  /// when there were not enough: then numbers were taken that connection tables may still remember for
  /// others, and names that are only live may have lost theirs.
  bool hold(const Config& config, std::span<const BackendKey> others, const LiveTables& live, Time now);

  /// Numbers that no name holds.
  size_t free_backends() const { return backends_.free(); }
  size_t free_services() const { return services_.free(); }

  /// A live snapshot is right where it contradicts what was noted.
  void learn(const LiveTables& live, Time now);

  /// Of names that are held.
  uint32_t backend(const BackendKey& backend) const { return *find_backend(backend); }
  uint32_t service(const std::string& name) const { return *find_service(name); }

  std::optional<uint32_t> find_backend(const BackendKey& backend) const {
    return backends_.find(name_of(backend));
  }
  std::optional<uint32_t> find_service(const std::string& name) const { return services_.find(name); }

  /// Reads the file; nothing is known when it is missing or damaged, and the error says so. Numbers that were
  /// given back rest anew: for how long they have rested, a clock that outlives processes would have to know.
  tl::expected<void, std::string> load(const std::filesystem::path& file, Time now);

  /// The file is whole at any moment. Does nothing when nothing has changed.
  tl::expected<void, std::string> save(const std::filesystem::path& file);

 private:
  static std::string name_of(const BackendKey& backend) {
    return backend.pool + '/' + backend.address.to_string();
  }

  std::pair<uint64_t, uint64_t> versions() const { return {backends_.version(), services_.version()}; }

  IdRegistry backends_{LINIMO_MAX_BACKEND_IDS};
  IdRegistry services_{LINIMO_MAX_SERVICES};
  std::pair<uint64_t, uint64_t> saved_;  // the registries' versions that the file has
};

}  // namespace linimo
