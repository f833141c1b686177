#include "dataplane/xdp/program.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>

#include "bpf/linimo.skel.h"
#include "dataplane/xdp/array_map.h"
#include "dataplane/xdp/generation_image.h"
#include "dataplane/xdp/ticks.h"
#include "maglev/rules/fragment.h"

namespace linimo::xdp {
namespace {

// The program reaches counters by cells of one TrafficCount (bpf/count.h).
static_assert(sizeof(TrafficCount) == 32 && sizeof(CountersBlock) == 4096);
static_assert(offsetof(WorkerCounters, flows_unstored) == 544 && offsetof(WorkerCounters, services) == 576);
static_assert(offsetof(WorkerCounters, backends) == 576 + 32 * (LINIMO_MAX_SERVICES + 2));
static_assert(offsetof(WorkerCounters, repeated_syns) ==
              576 + 32 * (LINIMO_MAX_SERVICES + 2 + LINIMO_MAX_BACKEND_IDS));
static_assert(sizeof(WorkerCounters) == 10620928);

constexpr uint32_t kMaxGrowth = 6;  // doublings of the hash of VIPs

tl::unexpected<std::string> failed(const std::string& what) {
  return tl::unexpected(fmt::format("{}: {}", what, std::strerror(errno)));
}

/// libbpf's complaints go to the log; the verifier's, which fill pages, to the debug log.
int log_libbpf(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  char text[8192];
  const int length = vsnprintf(text, sizeof text, format, arguments);
  std::string_view line = text;
  while (line.ends_with('\n')) line.remove_suffix(1);
  spdlog::debug("{}", line);
  return length;
}

}  // namespace

uint64_t Shape::buckets() const {
  return linimo_flow_buckets(flows_per_row);
}

Program::Program(const Shape& shape, std::filesystem::path pins)
    : shape_(shape),
      pins_(std::move(pins)),
      swept_services_(LINIMO_MAX_SERVICES),
      sharing_(LINIMO_MAX_SERVICES),
      words_(nullptr, ring_buffer__free) {}

Program::~Program() {
  for (linimo_bpf* program : programs_) linimo_bpf__destroy(program);
  if (maps_ != nullptr) linimo_bpf__destroy(maps_);
}

tl::expected<std::unique_ptr<Program>, std::string> Program::load(const Shape& shape,
                                                                  const std::filesystem::path& pins) {
  if (shape.rows == 0 || shape.all_rows() > LINIMO_MAX_ROWS) {
    return tl::unexpected(
        fmt::format("{} receive queues; XDP takes 1 to {}", shape.rows, LINIMO_MAX_ROWS - 1));
  }
  libbpf_set_print(log_libbpf);
  std::unique_ptr<Program> program(new Program(shape, pins));
  if (auto made = program->make_maps(); !made) return tl::unexpected(made.error());
  if (auto mapped = program->map_memory(); !mapped) return tl::unexpected(mapped.error());
  if (auto found = program->find_rows(); !found) return tl::unexpected(found.error());
  program->find_live();
  return program;
}

tl::expected<void, std::string> Program::make_maps() {
  maps_ = linimo_bpf__open();
  if (maps_ == nullptr) return failed("the XDP program's object");
  const uint32_t rows = shape_.all_rows();
  bpf_map__set_max_entries(maps_->maps.flows, rows);
  bpf_map__set_max_entries(maps_->maps.replies, rows);
  bpf_map__set_max_entries(maps_->maps.open_connections, rows * LINIMO_CONNECTION_CELLS);
  bpf_map__set_max_entries(maps_->maps.fragments, shape_.fragment_buckets());
  bpf_map__set_max_entries(maps_->maps.counters,
                           static_cast<uint32_t>(counters_size(rows) / sizeof(TrafficCount)));
  const UniqueFd table =
      create_array("connections", shape_.buckets(), 0);  // only to say of which size all are
  if (!table || bpf_map__set_inner_map_fd(maps_->maps.connections, table.get()) != 0)
    return no_room_for_flows();
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, maps_->obj) bpf_program__set_autoload(program, false);
  if (!pins_.empty()) {
    std::error_code error;
    std::filesystem::create_directories(pins_, error);
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, maps_->obj) {
      if (bpf_map__is_internal(map)) continue;
      const std::filesystem::path pin = pins_ / bpf_map__name(map);
      inherited_ |= std::filesystem::exists(pin, error);
      bpf_map__set_pin_path(map, pin.c_str());
    }
  }
  if (const int result = linimo_bpf__load(maps_); result != 0) {
    errno = -result;
    return failed(
        result == -EPERM ? "no right to load BPF programs (run as root, or with CAP_BPF and CAP_NET_ADMIN)"
        : pins_.empty()
            ? std::string("BPF maps")
            : fmt::format("BPF maps pinned in {} (if another shape is pinned there, `linimo-dataplane "
                          "--detach` removes it)",
                          pins_.string()));
  }
  return {};
}

tl::unexpected<std::string> Program::no_room_for_flows() const {
  return failed(fmt::format("no memory for {} tracked flows a queue; lower [node] flows_per_worker",
                            shape_.flows_per_row));
}

/// The tables that an earlier process made.
tl::expected<void, std::string> Program::find_rows() {
  rows_.resize(shape_.all_rows());
  for (uint32_t row = 0; row < shape_.all_rows(); ++row) {
    uint64_t cells = 0;
    const UniqueFd table = pinned_map(pin_of_inner(pins_, "connections", row), cells);
    if (!table) continue;
    if (cells != shape_.buckets())
      return tl::unexpected<std::string>("the pinned connection tables have another size");
    // Also where the process before ended between pinning it and this.
    if (!put_table(row, table)) return failed("a connection table's place");
    if (auto taken = take_table(row, table); !taken) return taken;
  }
  return {};
}

bool Program::put_table(uint32_t row, const UniqueFd& table) {
  const int fd = table.get();
  return bpf_map_update_elem(bpf_map__fd(maps_->maps.connections), &row, &fd, BPF_ANY) == 0;
}

tl::expected<void, std::string> Program::serve(uint32_t row) {
  if (rows_[row].table) return {};
  const UniqueFd table = create_array("connections", shape_.buckets(), 0);
  if (!table) return no_room_for_flows();
  if (!pin_map(table, pin_of_inner(pins_, "connections", row)) || !put_table(row, table))
    return no_room_for_flows();
  return take_table(row, table);
}

tl::expected<void, std::string> Program::take_table(uint32_t row, const UniqueFd& table) {
  Mapping mapping = Mapping::of(table.get(), shape_.buckets() * sizeof(linimo_cell));
  if (!mapping) return failed("connection table's memory");
  WorkerCounters& counts = counters(row);
  // Rows are swept together, so that one that joins is as far as the others.
  counts.census_rounds = std::max(counts.census_rounds, sweeps_);
  counts.flows_capacity = shape_.buckets() * LINIMO_FLOW_BUCKET;
  sweeps_ = counts.census_rounds;
  rows_[row].table = std::move(mapping);
  rows_[row].census.emplace(counts, inherited_);
  return {};
}

tl::expected<void, std::string> Program::map_memory() {
  counters_ = Mapping::of(counters_fd(), counters_size(shape_.all_rows()));
  generations_ = Mapping::of(bpf_map__fd(maps_->maps.generations), sizeof(linimo_xdp_generations));
  flows_ = Mapping::of(bpf_map__fd(maps_->maps.flows), shape_.all_rows() * sizeof(linimo_xdp_flows));
  connections_ = Mapping::of(map_fd("open_connections"),
                             uint64_t{shape_.all_rows()} * LINIMO_CONNECTION_CELLS * sizeof(linimo_cell));
  fragments_ = Mapping::of(map_fd("fragments"), uint64_t{shape_.fragment_buckets()} * sizeof(linimo_cell));
  auto hops = std::make_shared<Mapping>(
      Mapping::of(bpf_map__fd(maps_->maps.next_hops), LINIMO_MAX_BACKEND_IDS * sizeof(linimo_next_hop)));
  if (!counters_ || !generations_ || !flows_ || !connections_ || !fragments_ || !*hops)
    return failed("the maps' memory");
  next_hops_ = NextHopTable(std::shared_ptr<linimo_next_hop[]>(hops, hops->as<linimo_next_hop>()));
  auto* block = counters_.as<CountersBlock>();
  block->magic = kCountersMagic;
  block->abi_version = LINIMO_ABI_VERSION;
  block->workers = shape_.all_rows();
  return {};
}

void Program::find_live() {
  const auto& generations = *generations_.as<const linimo_xdp_generations>();
  const uint32_t which = generations.active & 1;
  const linimo_xdp_head& head = generations.heads[which];
  if (head.size == 0) return;
  generation_.image = ImagePages::pinned(pins_, which);
  if (head.size > generation_.image.size()) return;
  const auto view = SnapshotView::validate({generation_.image.as<std::byte>(), head.size});
  if (!view || (uint64_t{head.service_first} + view->services().size()) * sizeof(linimo_cell) >
                   generation_.image.size())
    return;
  uint64_t cells = 0;
  UniqueFd unsettled = pinned_map(pin_of_inner(pins_, "unsettled", which), cells);
  generation_.unsettled = UnsettledBlocks::found(std::move(unsettled), cells, *view, shape_.all_rows(),
                                                 generation_.services(head, *view));
  follow(*view);
}

void Program::follow(const SnapshotView& live) {
  live_ = live;
  std::fill(swept_services_.begin(), swept_services_.end(), SweptService{});
  share_flows();
  for (const linimo_service& service : live.services()) {
    if (service.tracking == LINIMO_TRACKING_OFF) continue;
    swept_services_[service.id] = {static_cast<uint16_t>(ticks_within(service.idle_timeout_s)),
                                   service.protocol == IPPROTO_TCP};
  }
}

std::span<linimo_xdp_service> Program::Generation::services(const linimo_xdp_head& head,
                                                            const SnapshotView& view) const {
  auto* first = reinterpret_cast<linimo_xdp_service*>(image.as<linimo_cell>() + head.service_first);
  return {first, view.services().size()};
}

int Program::counters_fd() const {
  return bpf_map__fd(maps_->maps.counters);
}

int Program::map_fd(const char* name) const {
  return bpf_object__find_map_fd_by_name(maps_->obj, name);
}

Mac Program::mac_of(uint32_t port) const {
  Mac mac;
  std::memcpy(mac.data(), &macs_.at(port), mac.size());
  return mac;
}

uint64_t Program::recall_datagram(uint64_t hash, uint64_t now_ns) const {
  const auto* bucket = fragments_.as<const linimo_cell>() + linimo_fragment_bucket(hash);
  uint64_t word = 0;
  for (uint32_t row = 0; row <= shape_.all_rows() && word == 0; ++row, bucket += LINIMO_FRAGMENT_BUCKETS)
    word = linimo_fragment_in(bucket->words, hash, now_ns);
  return word;
}

tl::expected<int, std::string> Program::program_for(uint32_t port, uint32_t first_row, uint32_t queues) {
  linimo_bpf* object = linimo_bpf__open();
  if (object == nullptr) return failed("the XDP program's object");
  std::unique_ptr<linimo_bpf, decltype(&linimo_bpf__destroy)> owner(object, linimo_bpf__destroy);
  object->rodata->port_number = port;
  object->bss->port_mac = macs_.at(port);
  object->rodata->first_row = first_row;
  object->rodata->queue_rows = queues;
  object->rodata->row_count = shape_.all_rows();
  object->rodata->bucket_count = static_cast<uint32_t>(shape_.buckets());
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object->obj) {
    if (bpf_map__is_internal(map)) continue;
    if (bpf_map__reuse_fd(map, map_fd(bpf_map__name(map))) != 0) return failed("a map of the XDP program");
  }
  if (const int result = linimo_bpf__load(object); result != 0) {
    errno = -result;
    return failed("the kernel refused the XDP program (--log-level debug shows why)");
  }
  // One that is still attached for the same interface goes on with this one's.
  const int whole = bpf_program__fd(object->progs.linimo_whole);
  if (bpf_map_update_elem(map_fd("whole_paths"), &port, &whole, BPF_ANY) != 0)
    return failed("the whole path's place");
  const auto of_port = [port](const linimo_bpf* loaded) { return loaded->rodata->port_number == port; };
  if (std::count_if(programs_.begin(), programs_.end(), of_port) > 1) {
    const auto oldest = std::find_if(programs_.begin(), programs_.end(), of_port);
    linimo_bpf__destroy(*oldest);
    programs_.erase(oldest);
  }
  programs_.push_back(owner.release());
  return bpf_program__fd(object->progs.linimo);
}

tl::expected<void, std::string> Program::set_port(uint32_t port, int ifindex, const Mac& mac,
                                                  bool takes_several) {
  linimo_xdp_port entry{};
  entry.ifindex = static_cast<uint32_t>(ifindex);
  entry.takes_several = takes_several ? 1 : 0;
  std::copy(mac.begin(), mac.end(), entry.mac);
  if (bpf_map_update_elem(bpf_map__fd(maps_->maps.ports), &port, &entry, BPF_ANY) != 0)
    return failed(fmt::format("port {} (at most {} interfaces)", port, LINIMO_MAX_PORTS));
  uint64_t word = 0;
  std::memcpy(&word, mac.data(), mac.size());
  macs_[port] = word;
  for (linimo_bpf* program : programs_) {
    if (program->rodata->port_number == port) program->bss->port_mac = word;
  }
  return {};
}

int Program::images() const {
  return bpf_map__fd(maps_->maps.images);
}

/// Zeroed but for where the snapshot goes. A page that takes the place of another costs what the kernel waits
/// for, so those before the live ones are used again, unless they are so large that memory would be wasted;
/// then tables that have not changed since need not be copied.
Program::Generation Program::room(const ImagePlan& plan) {
  constexpr uint64_t kMostWaste = 4;
  const uint64_t size = plan.cells * sizeof(linimo_cell);
  const uint32_t slot = 1 - (generations_.as<linimo_xdp_generations>()->active & 1);
  Generation next = std::move(spare_);
  const uint64_t least = LINIMO_PAGE_CELLS * sizeof(linimo_cell);
  if (next.image.size() > kMostWaste * std::max(size, least) || !next.image.stand_in(images(), slot))
    next = {};
  next.image = ImagePages::make(plan.cells, std::move(next.image));
  if (next.image)
    std::memset(next.image.as<std::byte>() + plan.snapshot_bytes, 0, size - plan.snapshot_bytes);
  return next;
}

tl::expected<Program::Generation, std::string> Program::compile(std::span<const std::byte> snapshot,
                                                                std::span<const Address> host_addresses,
                                                                linimo_xdp_head& head) {
  for (uint32_t growth = 0; growth <= kMaxGrowth; ++growth) {
    const auto plan = plan_image(snapshot, host_addresses.size(), growth);
    if (!plan) return tl::unexpected(plan.error());
    Generation next = room(*plan);
    if (!next.image) return failed(fmt::format("no memory for a generation of {} cells", plan->cells));
    const auto image = compile_image(snapshot, host_addresses, *plan,
                                     {next.image.as<linimo_cell>(), plan->cells}, next.held);
    if (!image) return tl::unexpected(image.error());
    head = image->head;
    if (!image->crowded) return next;
  }
  return tl::unexpected<std::string>("the VIPs crowd in one place of their table");
}

tl::expected<void, std::string> Program::publish(std::span<const std::byte> snapshot,
                                                 std::span<const Address> host_addresses) {
  linimo_xdp_head head{};
  auto next = compile(snapshot, host_addresses, head);
  if (!next) return tl::unexpected(next.error());

  const SnapshotView view = SnapshotView::of_valid({next->image.as<std::byte>(), head.size});
  auto unsettled =
      UnsettledBlocks::make(view, shape_.all_rows(), generation_.unsettled, next->services(head, view));
  if (!unsettled) return tl::unexpected(unsettled.error());
  next->unsettled = std::move(*unsettled);

  auto& generations = *generations_.as<linimo_xdp_generations>();
  const int blocks = bpf_map__fd(maps_->maps.unsettled);
  const uint32_t old = generations.active & 1;
  const uint32_t slot = 1 - old;
  const int blocks_fd = next->unsettled.fd();
  if (!next->unsettled.pin(pin_of_inner(pins_, "unsettled", slot)))
    return failed("a pin for the new generation");
  // The slot is not active, so nobody reads it. With each of these updates the kernel waits for every program
  // that runs, some 8 ms, so they are as few as can be.
  if ((blocks_fd >= 0 && bpf_map_update_elem(blocks, &slot, &blocks_fd, BPF_ANY) != 0) ||
      !next->image.put(images(), slot, pins_))
    return failed("the new generation");
  generations.heads[slot] = head;
  std::atomic_ref(generations.active).store(slot, std::memory_order_release);
  const bool waited = next->image.wait_for_packets(images(), slot);

  next->unsettled.take_stamps(generation_.unsettled);
  old_blocks_ |= generation_.unsettled.fd() >= 0;
  spare_ = std::move(generation_);
  spare_.unsettled = {};
  if (!waited) spare_ = {};
  generation_ = std::move(*next);
  follow(view);
  return {};
}

/// What nobody reads any more, and what the kernel's waiting was not worth while somebody waited.
void Program::drop_old_blocks() {
  if (!std::exchange(old_blocks_, false)) return;
  const uint32_t active = generations_.as<linimo_xdp_generations>()->active & 1;
  for (uint32_t slot = 0; slot < 2; ++slot) {
    if (slot == active && generation_.unsettled.fd() >= 0) continue;
    bpf_map_delete_elem(bpf_map__fd(maps_->maps.unsettled), &slot);
    std::error_code ignored;
    if (!pins_.empty()) std::filesystem::remove(pin_of_inner(pins_, "unsettled", slot), ignored);
  }
}

}  // namespace linimo::xdp
