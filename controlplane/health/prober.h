// Performing one health check, bounded in time. An interface, so that tests can decide the verdicts.
#pragma once

#include <functional>
#include <memory>

#include "controlplane/health/backend_health.h"

namespace linimo {

/// A check under way. Destroying it cancels the check; its callback is then never called.
class Probe {
 public:
  virtual ~Probe() = default;
};

class Prober {
 public:
  using Done = std::function<void(const Verdict&)>;
  virtual ~Prober() = default;

  /// Starts a check. `done` is called once, later, from the event loop, within about config.timeout; the
  /// Probe may be destroyed in it.
  virtual std::unique_ptr<Probe> start(const Address& backend, const HealthCheckConfig& config,
                                       Done done) = 0;
};

}  // namespace linimo
