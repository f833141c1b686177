// A generation as the XDP program reads it: the snapshot's own bytes, and what is compiled out of them, in
// cells of one cache line (bpf/layout.h).
//
//   const ImagePlan plan = plan_image(snapshot, hosts.size(), 0);   // how many cells to make room for
//   auto head = compile_image(snapshot, hosts, plan, cells);        // copies, validates the copy, compiles
//
// Pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <tl/expected.hpp>

#include "bpf/layout.h"
#include "maglev/address.h"
#include "maglev/snapshot.h"

namespace linimo::xdp {

/// Where each part lies: its first cell. Part of what a snapshot says before it is validated, so no more than
/// a bound on memory: compile_image() refuses a snapshot that turns out to be another.
struct ImagePlan {
  uint64_t snapshot_bytes = 0;
  uint32_t vip_first = 0, vip_cells = 0;  // cells: a power of two
  uint32_t service_first = 0, services = 0;
  uint32_t source_first = 0, sources = 0;
  uint32_t target_first = 0, targets = 0;
  uint32_t server_id_first = 0, part_first = 0;
  uint32_t target_of_id_first = 0;
  uint32_t host_first = 0, hosts = 0;
  uint64_t cells = 0;  // of the whole
};

/// `growth`: doublings of the hash of VIPs beyond its usual size.
tl::expected<ImagePlan, std::string> plan_image(std::span<const std::byte> snapshot, size_t hosts,
                                                uint32_t growth);

struct CompiledImage {
  linimo_xdp_head head;  // several kilobytes
  bool crowded = false;  // a VIP found no place near its own: plan again with more growth
};

/// `cells`: plan.cells of them, zeroed behind the snapshot. `held`: what is in them since an earlier call, as
/// for SnapshotView::copy. The error says why the snapshot was refused.
tl::expected<CompiledImage, std::string> compile_image(std::span<const std::byte> snapshot,
                                                       std::span<const Address> hosts, const ImagePlan& plan,
                                                       std::span<linimo_cell> cells, HeldTables& held);

}  // namespace linimo::xdp
