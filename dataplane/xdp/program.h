// The XDP program and its maps: loaded, filled from snapshots, pinned so that they outlive this process.
//
//   auto program = Program::load({.rows = 2, .flows_per_row = 1 << 20}, "/sys/fs/bpf/linimo/lb1/v4-4");
//   int fd = *(*program)->program_for(0, 0, 2);   // for the interface with number 0: rows 0 and 1 are its
//   (*program)->serve(0);                         // its first queue is there
//   (*program)->set_port(0, ifindex, mac);
//   (*program)->publish(snapshot, host_addresses);
//
// All interfaces share the maps. One thread uses an object of this class, unless a function says otherwise.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "bpf/layout.h"
#include "dataplane/egress/next_hop.h"
#include "dataplane/flow/flow_census.h"
#include "dataplane/flow/flow_tables.h"
#include "dataplane/flow/told_flows.h"
#include "dataplane/xdp/generation_image.h"
#include "dataplane/xdp/image_pages.h"
#include "dataplane/xdp/mapping.h"
#include "dataplane/xdp/unsettled_blocks.h"
#include "maglev/address.h"
#include "maglev/counters.h"
#include "maglev/rules/fragment.h"
#include "maglev/snapshot.h"
#include "maglev/unique_fd.h"

struct linimo_bpf;
struct ring_buffer;

namespace linimo::xdp {

/// What the maps are made for. A row is a receive queue: the interface's first row + rx_queue_index. Behind
/// them is one spare row, for queues beyond those that an interface has rows for, and for what the process
/// counts. Several queues may share it: no packet is treated otherwise, but counts may fall short a little.
struct Shape {
  uint32_t rows = 1;  // at most LINIMO_MAX_ROWS - 1
  uint64_t flows_per_row = 1'048'576;

  uint32_t spare() const { return rows; }
  uint32_t all_rows() const { return rows + 1; }
  /// Behind the rows' own parts, what other nodes have told of datagrams.
  uint32_t fragment_buckets() const { return (all_rows() + 1) * LINIMO_FRAGMENT_BUCKETS; }

  uint64_t buckets() const;  // of a row's connection table

  bool operator==(const Shape&) const = default;
};

struct TakenWords {
  std::vector<linimo_flow_word> words;
  size_t most = 0;
};

class Program {
 public:
  /// Makes the maps. `pins`: a folder on a bpffs where they are pinned; maps that are there already, of this
  /// ABI and shape, are taken over with all they hold. Empty: nothing is pinned. The error says what to do.
  static tl::expected<std::unique_ptr<Program>, std::string> load(const Shape& shape,
                                                                  const std::filesystem::path& pins);
  ~Program();
  Program(const Program&) = delete;

  /// Were maps taken over?
  bool inherited() const { return inherited_; }

  /// Loads the program for one interface, whose first `queues` queues have rows. The descriptor stays this
  /// object's, until the second time that the program is loaded for the same interface again.
  tl::expected<int, std::string> program_for(uint32_t port, uint32_t first_row, uint32_t queues);

  /// Gives a row its connection table, if it has none: before that its flows are not tracked. A table takes
  /// memory, so only rows whose queues exist get one. The error says what to do.
  tl::expected<void, std::string> serve(uint32_t row);

  /// By which device a port's packets leave, and its own MAC address: what frames must be addressed to, and
  /// carry as their source; does it take frames in several buffers from other ports (native.h)? At any time:
  /// a device's may change.
  tl::expected<void, std::string> set_port(uint32_t port, int ifindex, const Mac& mac,
                                           bool takes_several = true);

  /// Copies the snapshot, validates the copy, makes it the live generation, and returns when no packet uses
  /// the one before any more. The error says why it was refused; then nothing has changed.
  tl::expected<void, std::string> publish(std::span<const std::byte> snapshot,
                                          std::span<const Address> host_addresses);

  /// The live snapshot: also what an earlier process left.
  std::optional<SnapshotView> live() const { return live_; }

  NextHopTable& next_hops() { return next_hops_; }
  /// As set_port() was told.
  Mac mac_of(uint32_t port) const;
  int counters_fd() const;
  /// What the process counts, in the spare row.
  CountersBlock& counters() { return *counters_.as<CountersBlock>(); }
  WorkerCounters& process_counters() { return counters(shape_.spare()); }
  WorkerCounters& counters(uint32_t row) { return counters_.as<CountersBlock>()->worker(row); }
  int map_fd(const char* name) const;  // of the program's own map of that name
  const Shape& shape() const { return shape_; }
  /// Has it a connection table, so that flows are tracked there?
  bool serves(uint32_t row) const { return static_cast<bool>(rows_[row].table); }

  /// What the first fragment of a datagram chose: a word of maglev/rules/fragment.h; 0 where nothing is
  /// remembered. `hash`: of the datagram's key; `now_ns`: CLOCK_MONOTONIC. Any thread.
  uint64_t recall_datagram(uint64_t hash, uint64_t now_ns) const;

  /// Clears the entries that have expired in the next `buckets` of every row's connection table, going round,
  /// and publishes how many there are. Against the program by compare-and-swap.
  void sweep(uint64_t buckets);
  /// The connection tables of rows that are served.
  FlowTables flow_tables() const;
  /// Removes those of some entries that are the same flow's to the same backend still; how many those were.
  size_t remove_flows(std::span<const FlowPlace> places);
  /// About once a second: settles slots of the live generation.
  void settle_slots();

  /// What there is to tell other nodes of flows, at most so much, and what another has told (sharing.cc).
  std::vector<linimo_flow_word> words_to_tell(size_t most);
  void hear(std::span<const linimo_flow_word> words);
  /// About once a second.
  void sweep_told();

  /// Forgets all flows and fragments. For tests: not while packets pass.
  void forget_flows();
  /// As if so many ticks more had gone by since all that is known of flows and slots. For tests, as above.
  void grow_older(uint32_t ticks);

 private:
  Program(const Shape& shape, std::filesystem::path pins);
  tl::expected<void, std::string> make_maps();
  tl::expected<void, std::string> find_rows();
  tl::expected<void, std::string> take_table(uint32_t row, const UniqueFd& table);
  bool put_table(uint32_t row, const UniqueFd& table);
  tl::unexpected<std::string> no_room_for_flows() const;
  tl::expected<void, std::string> map_memory();
  bool take_out(uint32_t row, __u64& place, __u64 seen);
  void share_flows();
  bool make_told();
  const linimo_service* sharing(const linimo_flow_word& word) const;
  void hear_of_datagram(const linimo_flow_word& word);
  void find_live();
  void follow(const SnapshotView& live);

  struct Row {
    Mapping table;  // empty until it is served
    std::optional<FlowCensus> census;
  };
  struct Generation {
    ImagePages image{};
    HeldTables held{};  // of the snapshot that it is, or was
    UnsettledBlocks unsettled{};

    std::span<linimo_xdp_service> services(const linimo_xdp_head& head, const SnapshotView& view) const;
  };
  tl::expected<Generation, std::string> compile(std::span<const std::byte> snapshot,
                                                std::span<const Address> host_addresses,
                                                linimo_xdp_head& head);
  Generation room(const ImagePlan& plan);
  int images() const;
  void drop_old_blocks();

  Shape shape_;
  std::filesystem::path pins_;
  bool inherited_ = false;
  linimo_bpf* maps_ = nullptr;                     // an object of which only the maps are used
  std::vector<linimo_bpf*> programs_;              // one for each interface
  std::array<uint64_t, LINIMO_MAX_PORTS> macs_{};  // of the ports, as in the programs
  Mapping generations_, counters_, flows_, connections_, fragments_;
  std::vector<Row> rows_;
  NextHopTable next_hops_;
  Generation generation_;
  Generation spare_;         // the one before, whose memory the next one gets: no packet is in it
  bool old_blocks_ = false;  // those of one before may still be in a place
  std::optional<SnapshotView> live_;
  std::vector<SweptService> swept_services_;    // by id; timeouts in ticks
  std::vector<const linimo_service*> sharing_;  // services of the live snapshot that do, by id
  Mapping told_memory_;
  std::optional<ToldFlows> told_;  // once a service shares its flows
  TakenWords taken_;
  std::unique_ptr<ring_buffer, void (*)(ring_buffer*)> words_;
  uint64_t sweep_next_ = 0;
  uint64_t sweeps_ = 0;  // rounds, of all processes
};

}  // namespace linimo::xdp
