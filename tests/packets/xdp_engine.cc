#include "tests/packets/xdp_engine.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <stdexcept>

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/socket.h>
#include <time.h>

#include "dataplane/xdp/oversized.h"
#include "dataplane/xdp/ticks.h"
#include "maglev/rules/fragment.h"
#include "tests/packets/fragments_check.h"

namespace linimo::tests {
namespace {

constexpr uint32_t kTicksAtOnce = 500;           // far below those that a flow's stamp counts
constexpr uint64_t kNearlyOver_ns = 20'000'000;  // a tick in which nothing is begun any more
constexpr uint32_t kRoom = 2048;                 // for what a frame grows by

/// What is in a slot of an array of maps; nothing where nothing is.
UniqueFd inner_map(int outer, uint32_t slot, uint64_t& cells) {
  uint32_t id = 0;
  if (bpf_map_lookup_elem(outer, &slot, &id) != 0) return {};
  UniqueFd fd(bpf_map_get_fd_by_id(id));
  bpf_map_info info{};
  uint32_t length = sizeof info;
  if (fd && bpf_obj_get_info_by_fd(fd.get(), &info, &length) == 0) cells = info.max_entries;
  return fd;
}

Left::Way way_of(uint32_t action) {
  if (action == XDP_PASS) return Left::Way::kKernel;
  return action == XDP_TX || action == XDP_REDIRECT ? Left::Way::kSent : Left::Way::kDropped;
}

}  // namespace

XdpEngine::XdpEngine(Path path) : path_(path) {
  load(kUsualFlows);
}

void XdpEngine::load(uint64_t flows) {
  shape_ = {.rows = 1, .flows_per_row = flows};
  older_ = 0;
  traced_.reset();  // it has the maps of the program before
  capture_.reset();
  auto program = xdp::Program::load(shape_, {});
  if (!program) throw std::runtime_error(program.error());
  program_ = std::move(*program);
  if (auto served = program_->serve(0); !served) throw std::runtime_error(served.error());
  const auto fd = program_->program_for(0, 0, 1);
  if (!fd) throw std::runtime_error(fd.error());
  fd_ = *fd;
  if (path_ == Path::kWhole) {
    const uint32_t port = 0;
    uint32_t id = 0;
    if (bpf_map_lookup_elem(program_->map_fd("whole_paths"), &port, &id) != 0)
      throw std::runtime_error("there is no whole path");
    whole_ = UniqueFd(bpf_prog_get_fd_by_id(id));
    fd_ = whole_.get();
  }
  if (path_ == Path::kCaptured) load_capture();
  socket_ = UniqueFd(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  const uint32_t row = 0;
  const int value = socket_.get();
  if (!socket_ || bpf_map_update_elem(program_->map_fd("xsks"), &row, &value, BPF_ANY) != 0)
    throw std::runtime_error(fmt::format("AF_XDP: {}", std::strerror(errno)));
}

void XdpEngine::load_capture() {
  mac_of_capture_ = program_->mac_of(0);
  auto loaded = xdp::CaptureProgram::load(*program_,
                                          {.snap = LINIMO_CAPTURE_SNAP,
                                           .rate = LINIMO_CAPTURE_RATE,
                                           .port = 0,
                                           .mac = mac_of_capture_,
                                           .first_row = 0,
                                           .rows = 1},
                                          nullptr);
  if (!loaded) throw std::runtime_error(loaded.error());
  capture_ = std::move(*loaded);
  fd_ = capture_->fd();
}

/// Each packet is told of once, or counted as one too many.
std::string XdpEngine::capture_fault(ByteView frame, const Result& result, const BackendCounts& before) {
  std::vector<linimo_captured> told;
  const uint64_t missed = capture_->missed();
  capture_->read([&told](const linimo_captured& captured) {
    told.push_back(captured);
    return true;
  });
  if (told.size() + capture_->missed() - missed != 1)
    return "a capture tells of a packet more than once, or not";
  if (told.empty()) return "";
  const linimo_captured& captured = told.front();
  std::string fault = captured_fault(captured, frame, result);
  return fault.empty() && captured.fragmented == 0 ? backend_fault(captured.outcome, captured.backend, before,
                                                                   backend_counts(program_->counters(0)))
                                                   : fault;
}

void XdpEngine::make_room_for(uint64_t flows) {
  forget_flows();
  load(flows);
}

Engine::Asked XdpEngine::ask(ByteView frame, uint64_t now_ms) {
  if (!traced_) {
    auto loaded = xdp::TracedProgram::load(*program_);
    if (!loaded) throw std::runtime_error(loaded.error());
    traced_ = std::move(*loaded);
  }
  set_clock(now_ms);
  const uint64_t before = fingerprint();
  auto traced = traced_->run(0, 0, frame);
  if (!traced) throw std::runtime_error(traced.error());
  return {std::move(*traced), fingerprint() != before};
}

void XdpEngine::add_map(Fingerprint& fingerprint, const char* name, size_t size) const {
  const xdp::Mapping memory = xdp::Mapping::of(program_->map_fd(name), size);
  if (!memory) throw std::runtime_error(fmt::format("{}: {}", name, std::strerror(errno)));
  fingerprint.add(memory.as<std::byte>(), size);
}

void XdpEngine::add_tables(Fingerprint& fingerprint, const char* name, uint32_t tables) const {
  for (uint32_t table = 0; table < tables; ++table) {
    uint64_t cells = 0;
    const UniqueFd fd = inner_map(program_->map_fd(name), table, cells);
    if (!fd) continue;
    const size_t size = cells * sizeof(linimo_cell);
    const xdp::Mapping memory = xdp::Mapping::of(fd.get(), size);
    if (!memory) throw std::runtime_error(fmt::format("{}: {}", name, std::strerror(errno)));
    fingerprint.add(memory.as<std::byte>(), size);
  }
}

uint64_t XdpEngine::fingerprint() const {
  Fingerprint fingerprint;
  const uint32_t rows = shape_.all_rows();
  for (uint32_t row = 0; row < rows; ++row)
    fingerprint.add(&program_->counters(row), counters_of_the_suite());
  add_map(fingerprint, "flows", rows * sizeof(linimo_xdp_flows));
  add_map(fingerprint, "open_connections", 64 * sizeof(linimo_cell));  // the suite's backends
  add_map(fingerprint, "fragments", size_t{rows} * LINIMO_FRAGMENT_BUCKETS * sizeof(linimo_cell));
  add_tables(fingerprint, "connections", rows);
  add_tables(fingerprint, "unsettled", 2);
  for (uint32_t row = 0; row < rows; ++row) {
    linimo_xdp_replies replies{};
    bpf_map_lookup_elem(program_->map_fd("replies"), &row, &replies);
    fingerprint.add(&replies, sizeof replies);
  }
  return fingerprint.value();
}

std::vector<linimo_flow_word> XdpEngine::words_to_tell(uint64_t now_ms) {
  set_clock(now_ms);
  return program_->words_to_tell(kMostWords);
}

void XdpEngine::hear(std::span<const linimo_flow_word> words, uint64_t now_ms) {
  set_clock(now_ms);
  program_->hear(words);
}

FlowTable XdpEngine::flow_table() {
  program_->sweep(0);  // counts
  const WorkerCounters& counters = program_->counters(0);
  return {counters.flows, counters.flows_capacity, counters.flows_unstored};
}

uint64_t XdpEngine::flows_left(uint32_t backend_id, uint64_t now_ms) {
  set_clock(now_ms);
  program_->sweep(shape_.buckets());
  return program_->counters(0).backends[backend_id].tcp_flows;
}

uint64_t XdpEngine::repeated_syns(uint32_t backend_id) {
  return program_->counters(0).repeated_syns[backend_id];
}

/// What the process does every second it does here whenever that many ticks have passed at once.
void XdpEngine::set_clock(uint64_t now_ms) {
  now_ms_ = now_ms;
  const uint64_t left_ns = xdp::kNsOfTick - xdp::coarse_ns() % xdp::kNsOfTick;
  if (left_ns < kNearlyOver_ns) {
    const timespec rest{0, static_cast<long>(left_ns)};
    while (xdp::kNsOfTick - xdp::coarse_ns() % xdp::kNsOfTick < kNearlyOver_ns) nanosleep(&rest, nullptr);
  }
  const auto wanted = static_cast<uint32_t>(now_ms * 1'000'000 >> LINIMO_TICK_SHIFT);
  const uint32_t differ = wanted - xdp::ticks_now() - older_;
  older_ += differ;
  if (static_cast<int32_t>(differ) < 0) return program_->grow_older(differ);
  for (uint32_t left = differ; left > 0;) {
    const uint32_t step = std::min(left, kTicksAtOnce);
    program_->grow_older(step);
    program_->sweep(shape_.buckets());
    left -= step;
  }
}

void XdpEngine::forget_configuration() {
  SnapshotSpec nothing;
  nothing.generation = 1;
  if (const auto published = program_->publish(build_snapshot(nothing), {}); !published)
    throw std::runtime_error("the snapshot was refused: " + published.error());
}

void XdpEngine::forget_flows() {
  program_->forget_flows();
  held_.release(0, [](uint64_t, void* fragment, bool) {
    delete static_cast<Bytes*>(fragment);
    return true;
  });
}

void XdpEngine::apply(const Configuration& configuration) {
  set_clock(now_ms_);
  const auto published =
      program_->publish(build_snapshot(configuration.snapshot), configuration.host_addresses);
  if (!published) throw std::runtime_error("the snapshot was refused: " + published.error());
  for (const auto& [id, hop] : configuration.next_hops) program_->next_hops().store(id, hop);
  port_macs_ = configuration.port_macs;
  for (uint32_t port = 0; port < port_macs_.size(); ++port) {
    if (auto set = program_->set_port(port, static_cast<int>(port) + 1, port_macs_[port]); !set)
      throw std::runtime_error(set.error());
  }
  if (capture_ && program_->mac_of(0) != mac_of_capture_) load_capture();
}

XdpEngine::Counts XdpEngine::outcomes() {
  Counts counts;
  std::copy_n(program_->counters(0).outcomes, counts.size(), counts.begin());
  return counts;
}

/// The kernel does not say where a redirected frame would have gone, but each port has a MAC of its own.
uint32_t XdpEngine::port_of(const Bytes& frame) const {
  for (uint32_t port = 0; port < port_macs_.size(); ++port) {
    if (frame.size() >= 12 && std::equal(port_macs_[port].begin(), port_macs_[port].end(), frame.begin() + 6))
      return port;
  }
  return ~0U;
}

Result XdpEngine::run_program(ByteView frame) {
  Bytes out(frame.size() + kRoom);
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = out.data(),
              .data_size_in = static_cast<uint32_t>(frame.size()),
              .data_size_out = static_cast<uint32_t>(out.size()));
  xdp_md context{};
  context.data_end = std::min<uint32_t>(first_buffer_, options.data_size_in);
  if (first_buffer_ != 0) options.ctx_in = &context, options.ctx_size_in = sizeof context;
  const Counts before = outcomes();
  const BackendCounts of_backends = backend_counts(program_->counters(0));
  if (bpf_prog_test_run_opts(fd_, &options) != 0)
    throw std::runtime_error(fmt::format("BPF_PROG_TEST_RUN: {}", std::strerror(errno)));
  const Counts after = outcomes();

  Result result;
  uint64_t sum = 0;
  for (size_t i = 0; i < after.size(); ++i) {
    sum += after[i] - before[i];
    if (after[i] != before[i]) result.counter = static_cast<linimo_outcome>(i);
  }
  // Nothing is counted of what the program hands to the process: that is known by its going nowhere else.
  const bool handed = options.retval == XDP_REDIRECT && sum == 0;
  if (sum != 1 && !handed) result.fault = fmt::format("one frame was counted {} times", sum);
  if (options.retval == XDP_ABORTED) result.fault = "the program aborted";
  result.way = handed ? Left::Way::kHeld : way_of(options.retval);
  if (result.way != Left::Way::kDropped) {
    out.resize(options.data_size_out);
    result.bytes = std::move(out);
  }
  if (result.way == Left::Way::kSent && options.retval == XDP_REDIRECT) {
    result.port = port_of(result.bytes);
    if (result.port == 0 || result.port == ~0U)
      result.fault = "redirected with a MAC that is of no other port";
  }
  if (capture_ && result.fault.empty()) result.fault = capture_fault(frame, result, of_backends);
  return result;
}

// What the process does with what it is handed: the program's word, then the frame.
Result XdpEngine::take(ByteView frame, const Bytes& bytes, uint64_t now_ms) {
  Result result;
  linimo_xdp_handed handed{};
  if (bytes.size() <= sizeof handed) {
    result.fault = "the process was handed no frame";
    return result;
  }
  std::memcpy(&handed, bytes.data(), sizeof handed);
  const ByteView rest = ByteView(bytes).subspan(sizeof handed);
  return handed.ifindex != 0 ? sent_in_fragments(handed, rest) : hold(frame, handed, rest, now_ms);
}

Result XdpEngine::sent_in_fragments(const linimo_xdp_handed& handed, ByteView frame) {
  Result result;
  auto pieces = xdp::cut_frame(handed, frame, next_identification_ += 12345);
  if (pieces.empty()) {
    result.counter = LINIMO_OUTCOME_too_big;
    return result;
  }
  result.way = Left::Way::kSent;
  result.counter = static_cast<linimo_outcome>(handed.sent_as);
  result.port = handed.ifindex - 1;
  result.bytes = std::move(pieces.front());
  result.more.assign(std::make_move_iterator(pieces.begin() + 1), std::make_move_iterator(pieces.end()));
  result.fault = port_of(result.bytes) == result.port ? clear_identification(result)
                                                      : "handed on for a port with another MAC";
  return result;
}

Result XdpEngine::hold(ByteView frame, const linimo_xdp_handed& handed, ByteView rest, uint64_t now_ms) {
  Result result;
  result.way = Left::Way::kHeld;
  // What another node has passed on comes without its tunnel: the same MAC addresses, and the end of the
  // frame.
  constexpr size_t kEthernet = 14;
  const bool shorter = rest.size() >= kEthernet && rest.size() < frame.size();
  const ByteView end = shorter ? frame.last(rest.size() - kEthernet) : frame;
  const ByteView behind = shorter ? rest.subspan(kEthernet) : rest;
  if (!std::ranges::equal(end, behind) || (shorter && !std::ranges::equal(frame.first(12), rest.first(12)))) {
    result.fault = "the process was handed another frame";
    return result;
  }
  auto copy = std::make_unique<Bytes>(rest.begin(), rest.end());
  if (held_.hold(handed.datagram, copy.get(), now_ms)) {
    (void)copy.release();  // it is held_'s now
  } else {
    result.way = Left::Way::kDropped;
    result.counter = LINIMO_OUTCOME_fragment_unmatched;
  }
  return result;
}

Result XdpEngine::run(ByteView frame, uint64_t now_ms) {
  set_clock(now_ms);
  Result result = run_program(frame);
  return result.way == Left::Way::kHeld ? take(frame, result.bytes, now_ms) : result;
}

std::vector<Result> XdpEngine::pass_time(uint64_t now_ms) {
  set_clock(now_ms);
  program_->settle_slots();
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto now_ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  std::vector<Result> results;
  held_.release(now_ms, [&](uint64_t datagram, void* fragment, bool overdue) {
    const bool known = program_->recall_datagram(datagram, now_ns) != 0;
    if (!known && !overdue) return false;
    const std::unique_ptr<Bytes> frame(static_cast<Bytes*>(fragment));
    if (known) {
      results.push_back(run_program(*frame));
      // Not held again: what is handed over now is sent in fragments.
      if (results.back().way == Left::Way::kHeld) results.back() = take(*frame, results.back().bytes, now_ms);
    } else {
      results.emplace_back();
      results.back().counter = LINIMO_OUTCOME_fragment_unmatched;
    }
    return true;
  });
  return results;
}

void XdpEngine::take_whole_path_away() {
  const uint32_t port = 0;
  bpf_map_delete_elem(program_->map_fd("whole_paths"), &port);
}

void XdpEngine::send_one_buffer_only(uint32_t port) {
  if (auto set = program_->set_port(port, static_cast<int>(port) + 1, port_macs_[port], false); !set)
    throw std::runtime_error(set.error());
}

XdpEngine& xdp_engine() {
  static XdpEngine engine;
  return engine;
}

XdpEngine& xdp_captured_engine() {
  static XdpEngine engine(XdpEngine::Path::kCaptured);
  return engine;
}

XdpEngine& xdp_whole_engine() {
  static XdpEngine engine(XdpEngine::Path::kWhole);
  return engine;
}

}  // namespace linimo::tests
