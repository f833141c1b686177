// From what is configured and what is healthy to what shall be live.
//
// With a hundred pools and one backend that failed, one pool is planned anew and the others are copied; and
// even then its table is populated again only when its members changed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "controlplane/config/config.h"
#include "controlplane/tables/eligibility.h"
#include "controlplane/tables/handlers.h"
#include "controlplane/tables/ids.h"
#include "maglev/snapshot.h"

namespace linimo {

class Planner {
 public:
  /// To be called before the next plan when standings in a pool changed, or (all) when anything else did: the
  /// configuration, ids, many standings.
  void pool_changed(const std::string& pool);
  void all_changed();

  /// Who handles fragments from now on.
  void set_handlers(Handlers handlers) { handlers_ = std::move(handlers); }
  const Handlers& handlers() const { return handlers_; }

  /// `ids` must hold every name of the configuration, and other_nodes() of the handlers.
  SnapshotSpec plan(const Config& config, const StandingOf& standing_of, const Ids& ids, uint64_t generation);

  /// The fraction of its pool's slots that a backend has in the last plan; 0 when it has none.
  double share(const BackendKey& backend) const;

  /// Whether by the last plan so few backends of the pool are up that all are used, or none is.
  bool panics(const std::string& pool) const;
  /// Whether by the last plan none is up that should take flows.
  bool none_up(const std::string& pool) const;

  /// Of the pool's table in the last plan; 0 when it has none.
  uint64_t digest(const std::string& pool) const;

 private:
  struct Planned {
    PoolSpec spec;
    std::vector<uint32_t> slots_of_member;
    bool few = false;
    bool none = false;
    bool current = false;
  };

  static void plan_pool(const PoolConfig& pool, const StandingOf& standing_of, const Ids& ids,
                        Planned& planned);

  std::map<std::string, Planned> pools_;  // by name
  Handlers handlers_;
};

}  // namespace linimo
