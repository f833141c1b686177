// What workers remember of flows, in memory that outlives the process: connection tables, and where the first
// fragments of datagrams went; and what that memory must say of itself before another process forwards by it.
//
//   KeptFlows flows(memory);
//   if (auto why = flows.why_not(shape); !why.empty()) flows.begin(shape);        // the memory being zero
//   FlowState state{ConnectionTable(shape.flows, flows.table(worker)),            // one for each worker
//                   FragmentMemory(flows.fragments(worker))};
//   auto taken = flows.take_over(view, now_ms, {&state, 1});                      // before the first packet
//   flows.note(view, now_s);                                                      // after each publication
//   flows.note(now_s);                                                            // about once a second
//
// Whose flow it is decides the NIC, by its key and the number of queues; so tables are taken over by as many
// workers as made them, with the same spread, or not at all. Stamps are of the machine's clock since its
// start (CLOCK_MONOTONIC), which needs no translation from one process to the next and ends with the boot id.
//
// What the ids in the entries meant is noted as well: an entry is taken over only if its backend is still the
// same address of the same pool, and its service one of that name. The content is taken for hostile, or torn:
// what is no sound entry is dropped. A process that dies over taking it over leaves a mark, so that the next
// one begins with nothing rather than die of the same.
//
// Control thread, but for what ConnectionTable says of its own memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "dataplane/flow/flow_state.h"
#include "maglev/snapshot.h"

namespace linimo {

class KeptFlows {
 public:
  using BootId = std::array<char, 40>;  // /proc/sys/kernel/random/boot_id, NUL behind it

  /// For what the tables are of use.
  struct Shape {
    uint64_t owner = 0;  // digest: which node's
    BootId boot{};       // since when the clock runs
    uint32_t workers = 1;
    uint64_t flows = 0;   // room of each worker's table
    uint64_t spread = 0;  // digest of what decides which worker's a flow is
  };
  static uint64_t bytes_for(const Shape& shape);

  /// `memory`: page-aligned, of at least sizeof(Header).
  explicit KeptFlows(std::span<std::byte> memory) : memory_(memory) {}

  /// Why what the memory holds is of no use for that shape, in words that go on after "connection tables
  /// begin empty: "; empty: it is of use.
  std::string why_not(const Shape& shape) const;

  /// Memory of zeros, of bytes_for(shape), is from now on for that shape.
  void begin(const Shape& shape);

  /// Worker's parts, for ConnectionTable and FragmentMemory.
  std::span<std::byte> table(uint32_t worker) const;
  std::span<std::byte> fragments(uint32_t worker) const;

  struct TakenOver {
    uint64_t flows = 0;
    uint64_t dropped = 0;    // entries that have expired, or whose service or backend is not what it was
    uint64_t datagrams = 0;  // whose other fragments may still come
    std::string why_empty;   // as in why_not(); empty: what was there was taken over
  };
  /// Lets each worker's memory count what it holds and is still right by the snapshot, and clears the rest.
  /// Once, before anybody uses it. `now_ms`: CLOCK_MONOTONIC.
  TakenOver take_over(const SnapshotView& view, uint64_t now_ms, std::span<FlowState> workers);

  /// By which snapshot entries are made from now on. Called when it is live already: what is made between
  /// that and this under an id that has a new meaning is dropped, and nothing is ever taken for the new.
  void note(const SnapshotView& view, uint32_t now_s);
  void note(uint32_t now_s);

 private:
  struct Header;
  struct Meanings;

  Header& header() const;
  Meanings& meanings() const;
  std::string why_outdated(const SnapshotView& view, uint32_t now_s) const;

  std::span<std::byte> memory_;
};

}  // namespace linimo
