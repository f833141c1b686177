// What the control thread needs of an engine, whichever it is.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "dataplane/capture/capture.h"
#include "dataplane/egress/next_hop.h"
#include "dataplane/flow/flow_tables.h"
#include "dataplane/forward/traced.h"
#include "maglev/counters.h"
#include "maglev/snapshot.h"
#include "maglev/unique_fd.h"

namespace linimo {

/// A kernel device by which packets may leave, and what it is to the engine.
struct Egress {
  int device_index;  // the kernel's, of the device that routes point to
  uint8_t port;      // the engine's number for it
};

/// A frame that an engine is asked about (maglev/trace.h).
struct TraceRequest {
  uint32_t port;  // by which it comes in
  std::span<const uint8_t> frame;
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

  /// Whether `trace` answers at once: an engine that has to load something first begins with that when this
  /// is asked, beside the control thread.
  virtual bool ready_to_trace() { return true; }
  /// What would become of a frame, told by what forwards; nothing changes. The error says why it does not
  /// say.
  virtual tl::expected<Traced, std::string> trace(const TraceRequest& request) = 0;

  /// Begins a capture; one at a time. The error says why there is none.
  virtual tl::expected<std::unique_ptr<Capture>, std::string> capture(const CaptureRequest& request) = 0;

  /// The connection tables, and the clock that stamps them.
  virtual FlowTables flow_tables() const = 0;
  /// Removes those of some entries that are the same flow's to the same backend still, and says how many
  /// those were. The error says who did not; then nobody knows how many.
  virtual tl::expected<size_t, std::string> remove_flows(std::span<const FlowPlace> places) = 0;

  /// What there is to tell the other nodes of a fleet of flows (maglev/rules/sharing.h), at most so much.
  virtual std::vector<linimo_flow_word> words_to_tell(size_t most) = 0;
  /// What another node has told.
  virtual void hear(std::span<const linimo_flow_word> words) = 0;

  /// Interfaces, as they are configured, and their MAC addresses, by port.
  virtual std::vector<std::pair<std::string, Mac>> interfaces() const = 0;

  /// What of it can only be passed on by descriptor to a process that takes over, in an order that it knows.
  virtual std::vector<UniqueFd> devices() const { return {}; }

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

/// Asks the workers' or queues' memories in turn until one knows the packet's flow: which of them a NIC would
/// choose nobody can say. What is known to none is as the first says. `run`: of a memory's number.
template <typename Run>
tl::expected<Traced, std::string> trace_where_known(std::span<const uint32_t> memories, Run run) {
  tl::expected<Traced, std::string> first = run(memories.front());
  if (!first || first->told.tracked == 0 || first->told.entry != 0) return first;
  for (const uint32_t memory : memories.subspan(1)) {
    if (auto other = run(memory); other && other->told.entry != 0) return other;
  }
  return first;
}

}  // namespace linimo
