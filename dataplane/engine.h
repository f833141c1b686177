// What the control thread needs of an engine, whichever it is.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "dataplane/forward/next_hop.h"
#include "maglev/counters.h"
#include "maglev/snapshot.h"

namespace linimo {

/// A kernel device by which packets may leave, and what it is to the engine.
struct Egress {
  int device_index;  // the kernel's, of the device that routes point to
  uint8_t port;      // the engine's number for it
};

class EngineBase {
 public:
  virtual ~EngineBase() = default;

  /// Takes a copy of a snapshot, validates it, and returns when every worker uses it; or why it was refused,
  /// and then nothing has changed.
  virtual tl::expected<void, std::string> publish(std::span<const std::byte> snapshot) = 0;

  /// The live snapshot, or nothing before the first.
  virtual std::optional<SnapshotView> live() const = 0;

  /// The machine's own addresses have changed; sorted.
  virtual void set_host_addresses(std::vector<Address> addresses) = 0;

  virtual NextHopTable& next_hops() = 0;
  virtual std::vector<Egress> egresses() const = 0;
  /// Calls back when egresses() says something else than before.
  void on_egresses_changed(std::function<void()> callback) { egresses_changed_ = std::move(callback); }
  /// Calls back about every 250 ms while `publish` waits for workers, from within it: one that stands still
  /// then is to be told of, too.
  void on_waiting(std::function<void()> callback) { waiting_ = std::move(callback); }
  virtual uint32_t workers() const = 0;
  /// What of how it runs is worth a few words in the status.
  virtual std::string manner() const { return {}; }
  /// Why the engine has to be started anew, once something that it stands on was replaced.
  virtual std::string outdated() const { return {}; }

  /// What it counts, and the descriptor by which others map it.
  virtual CountersBlock& counters() = 0;
  virtual int counters_fd() const = 0;

 protected:
  void egresses_changed() const { egresses_changed_(); }
  void waits() const { waiting_(); }

 private:
  std::function<void()> egresses_changed_ = [] {};
  std::function<void()> waiting_ = [] {};
};

}  // namespace linimo
