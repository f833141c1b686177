#include "tests/packets/dpdk_engine.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <fmt/format.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <sanitizer/asan_interface.h>
#include <sched.h>

#include "dataplane/forward/trace.h"
#include "tests/packets/captured_check.h"
#include "tests/packets/fingerprint.h"
#include "tests/packets/fragments_check.h"

namespace linimo::tests {
namespace {

constexpr unsigned kBuffers = 1000;
constexpr uint16_t kBufferBytes = RTE_PKTMBUF_HEADROOM + 10240;  // an MTU of 9000 and more
constexpr unsigned kNeverInPool = 8;  // a buffer given back twice makes it fuller than it may be
constexpr uint32_t kUntouchedHeadroom =
    64;  // of 128 bytes; the longest outer header is 44 and more than Ethernet's

void start_dpdk() {
  static bool started = false;
  if (std::exchange(started, true)) return;
  std::atexit([] { rte_eal_cleanup(); });
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof allowed, &allowed);
  int first = 0;
  while (!CPU_ISSET(first, &allowed)) ++first;
  std::string lcores = fmt::format("--lcores=0@{}", first);
  std::string arguments[] = {"packets", "--no-huge", "--no-shconf",    "--no-pci",    "--no-telemetry",
                             "-m",      "192",       "--iova-mode=va", "--log-level", "lib.eal:error",
                             lcores};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    throw std::runtime_error(fmt::format("DPDK did not start: {}", rte_strerror(rte_errno)));
  }
  sched_setaffinity(0, sizeof allowed, &allowed);  // a test may run wherever there is room
}

std::shared_ptr<std::byte> zeroed_memory(size_t bytes) {
  const size_t whole_lines = (bytes + 63) / 64 * 64;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, whole_lines));
  std::fill_n(memory, whole_lines, std::byte{0});
  return {memory, [](std::byte* at) { std::free(at); }};
}

/// Which frame of a burst a buffer is of, also where that was copied: in what a driver may note of a frame.
void mark(rte_mbuf* mbuf, size_t index) {
  mbuf->dynfield1[0] = static_cast<uint32_t>(index + 1);
}

size_t marked(const rte_mbuf* mbuf) {
  return size_t{mbuf->dynfield1[0]} - 1;
}

Bytes bytes_of(const rte_mbuf* mbuf) {
  Bytes bytes;
  for (; mbuf != nullptr; mbuf = mbuf->next) {
    const auto* data = rte_pktmbuf_mtod(mbuf, const uint8_t*);
    bytes.insert(bytes.end(), data, data + mbuf->data_len);
  }
  return bytes;
}

/// What leaves the pipeline for the wire or for the kernel, which alone takes several buffers.
std::string fault_of_buffer(const rte_mbuf* mbuf, Left::Way way) {
  if (way == Left::Way::kSent && mbuf->nb_segs != 1) return "sent in several buffers";
  return mbuf->pkt_len == bytes_of(mbuf).size() ? "" : "lengths of a buffer disagree";
}

/// Empties a list of the pipeline's output: notes which frame of the burst went there, and as what. Those
/// that are not counted are fragments, and the next ones go on with them.
template <typename List>
void collect(List& list, std::span<rte_mbuf* const> burst, Left::Way way, uint32_t port, BurstResult& result,
             uint64_t& collected) {
  for (uint32_t i = 0; i < list.count; ++i) {
    rte_mbuf* mbuf = list.mbufs[i];
    const size_t index = marked(mbuf);
    bool last = true;
    if constexpr (std::is_same_v<List, TransmitList>) last = list.counted_as[i] != TransmitList::kNotCounted;
    if (index >= burst.size() || (collected >> index & 1) != 0) {
      result.fault = "a buffer left that did not come in, or left twice";
      continue;
    }
    if (last) collected |= uint64_t{1} << index;
    result.order.push_back(index);
    if (std::string fault = fault_of_buffer(mbuf, way); !fault.empty()) result.fault = fault;
    Left& left = result.left[index];
    if (left.way == way && left.port == port) {
      left.more.push_back(bytes_of(mbuf));
      if (last) {
        if (std::string fault = clear_identification(left); !fault.empty()) result.fault = fault;
      }
    } else {
      left = {way, port, bytes_of(mbuf), {}};
    }
    rte_pktmbuf_free(mbuf);
  }
  list.clear();
}

}  // namespace

DpdkEngine::DpdkEngine(const LanePath* lanes) : lanes_(lanes) {
  start_dpdk();
  static int number = 0;
  const std::string name = fmt::format("packets{}", ++number);
  pool_ = rte_pktmbuf_pool_create(name.c_str(), kBuffers, 0, 0, kBufferBytes, SOCKET_ID_ANY);
  if (pool_ == nullptr) throw std::runtime_error("no memory for packets");
  for (unsigned i = 0; i < kNeverInPool; ++i) rte_pktmbuf_alloc(pool_);
  counters_ = std::make_unique<WorkerCounters>();
  next_hops_ = std::make_unique<NextHopTable>();
  forget_flows();
}

DpdkEngine::~DpdkEngine() {
  pipeline_.reset();  // it may hold frames
  rte_mempool_free(pool_);
}

void DpdkEngine::apply(const Configuration& configuration) {
  const auto allocate = [](size_t bytes) { return zeroed_memory(bytes); };
  auto compiled = Generation::compile(build_snapshot(configuration.snapshot), allocate,
                                      configuration.host_addresses, {generation_.get(), kWorkers, now_s_});
  if (!compiled) throw std::runtime_error("the snapshot was refused: " + compiled.error());
  if (generation_ != nullptr) (*compiled)->take_stamps(*generation_);
  generation_ = std::move(*compiled);
  for (const auto& [id, hop] : configuration.next_hops) next_hops_->store(id, hop);
  generation_->take_next_hops(*next_hops_);
  for (uint32_t port = 0; port < configuration.port_macs.size(); ++port)
    port_macs_.store(port, configuration.port_macs[port]);
}

Engine::Asked DpdkEngine::ask(ByteView frame, uint64_t now_ms) {
  const uint64_t before = fingerprint();
  rte_mbuf* mbuf = mbuf_with(frame, 0);
  void* const buffer = mbuf->buf_addr;
  const uint16_t length = mbuf->buf_len;
  Traced traced = trace_packet(
      {port_macs_, *next_hops_, flows_, 0, pipeline_->memory(), generation_.get(), now_ms}, 0, mbuf);
  ASAN_UNPOISON_MEMORY_REGION(buffer, length);
  std::string fault;
  check_pool(fault);
  if (!fault.empty()) throw std::runtime_error("a trace loses buffers: " + fault);
  return {std::move(traced), fingerprint() != before};
}

// What a trace gets as const (fragments, turns, limits) is left out.
uint64_t DpdkEngine::fingerprint() const {
  Fingerprint fingerprint;
  fingerprint.add(counters_.get(), counters_of_the_suite());
  for (const auto& memory : connection_memory_)
    fingerprint.add(memory.get(), ConnectionTable::bytes_for(flows_capacity_));
  return fingerprint.value();
}

FlowTable DpdkEngine::flow_table() {
  const ConnectionTable& table = connections();
  return {table.entries(), table.capacity(), counters_->flows_unstored};
}

uint64_t DpdkEngine::flows_left(uint32_t backend_id, uint64_t now_ms) {
  FlowCensus census(*counters_, true);
  ConnectionTable& table = flows_.front().connections;
  table.sweep(table.buckets(), generation_->swept_services(), static_cast<uint32_t>(now_ms / 1000), census);
  return counters_->backends[backend_id].tcp_flows;
}

uint64_t DpdkEngine::repeated_syns(uint32_t backend_id) {
  return counters_->repeated_syns[backend_id];
}

void DpdkEngine::make_room_for(uint64_t flows) {
  flows_capacity_ = flows;
  forget_configuration();
  forget_flows();
}

void DpdkEngine::forget_flows(uint64_t capacity) {
  const size_t bytes = ConnectionTable::bytes_for(capacity);
  pipeline_.reset();
  flows_.clear();
  connection_memory_.clear();
  for (uint32_t worker = 0; worker < kWorkers; ++worker) {
    connection_memory_.push_back(zeroed_memory(bytes));
    flows_.push_back(
        {ConnectionTable(capacity, std::span(connection_memory_.back().get(), bytes)), FragmentMemory()});
  }
  pipeline_.emplace(port_macs_, *next_hops_, flows_, 0, *counters_);
  pipeline_->go_in_lanes(lanes_, 1);
  sharing_ = std::make_unique<FlowSharing>(capacity, kWorkers);
  pipeline_->share_flows(sharing_->told(), sharing_->datagrams(), sharing_->words(0));
}

std::vector<linimo_flow_word> DpdkEngine::words_to_tell(uint64_t now_ms) {
  return sharing_->take(kMostWords, *generation_, static_cast<uint32_t>(now_ms / 1000));
}

void DpdkEngine::hear(std::span<const linimo_flow_word> words, uint64_t now_ms) {
  sharing_->hear(words, *generation_, now_ms);
}

rte_mbuf* DpdkEngine::mbuf_with(ByteView frame, uint64_t nic_flags) {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
  if (mbuf == nullptr) throw std::runtime_error("all buffers are lost");
  if (frame.size() > rte_pktmbuf_tailroom(mbuf))
    throw std::runtime_error("the test's frame is longer than a buffer");
  auto* start = static_cast<uint8_t*>(mbuf->buf_addr);
  uint8_t* data = start + mbuf->data_off;
  std::fill(start, start + mbuf->buf_len, 0xa5);  // whatever the buffer held before
  std::copy(frame.begin(), frame.end(), data);
  mbuf->data_len = static_cast<uint16_t>(frame.size());
  mbuf->pkt_len = mbuf->data_len;
  mbuf->ol_flags = nic_flags;
  ASAN_POISON_MEMORY_REGION(start, kUntouchedHeadroom);
  ASAN_POISON_MEMORY_REGION(data + frame.size(), start + mbuf->buf_len - data - frame.size());
  return mbuf;
}

rte_mbuf* DpdkEngine::mbufs_with(ByteView frame, std::span<const size_t> parts) {
  rte_mbuf* first = nullptr;
  for (const size_t size : parts) {
    rte_mbuf* part = mbuf_with(frame.first(size), 0);
    frame = frame.subspan(size);
    if (first == nullptr) {
      first = part;
    } else if (rte_pktmbuf_chain(first, part) != 0) {
      throw std::runtime_error("too many buffers for one frame");
    }
  }
  mark(first, 0);
  return first;
}

BurstResult DpdkEngine::run_in_parts(ByteView frame, std::span<const size_t> parts, uint64_t now_ms) {
  rte_mbuf* first = mbufs_with(frame, parts);
  std::vector<std::pair<void*, size_t>> buffers;
  for (const rte_mbuf* part = first; part != nullptr; part = part->next)
    buffers.emplace_back(part->buf_addr, part->buf_len);
  BurstResult result = run_burst(std::span<rte_mbuf* const>(&first, 1), now_ms);
  for (const auto& [address, length] : buffers) ASAN_UNPOISON_MEMORY_REGION(address, length);
  return result;
}

Counts DpdkEngine::outcomes() const {
  Counts counts;
  std::copy_n(counters_->outcomes, counts.size(), counts.begin());
  return counts;
}

BurstResult DpdkEngine::run_burst(std::span<const ByteView> frames, uint64_t now_ms, uint64_t nic_flags) {
  std::vector<rte_mbuf*> burst;
  for (const ByteView frame : frames) {
    burst.push_back(mbuf_with(frame, nic_flags));
    mark(burst.back(), burst.size() - 1);
  }
  return run_burst(burst, now_ms);
}

BurstResult DpdkEngine::run_burst(std::span<rte_mbuf* const> burst, uint64_t now_ms) {
  BurstResult result;
  result.left.resize(burst.size());

  const Counts before = outcomes();
  const uint32_t held = pipeline_->held();
  now_s_ = static_cast<uint32_t>(now_ms / 1000);
  if (burst.size() == 1 && lanes_ == nullptr)
    fate_ = pipeline_->run_alone(burst.front(), 0, generation_.get(), now_ms, out_);
  else
    pipeline_->run(burst, 0, generation_.get(), now_ms, out_);
  result.counts = outcomes();
  for (size_t i = 0; i < before.size(); ++i) result.counts[i] -= before[i];

  // What goes on is counted by whoever takes it: here, as a worker whose queues are never full.
  result.counts[LINIMO_OUTCOME_kernel] += out_.kernel.count + out_.answers.count;
  result.counts[LINIMO_OUTCOME_kernel_control] += out_.control.count;
  uint64_t collected = 0;
  for (uint32_t port = 0; port < kMaxPorts; ++port) {
    const TransmitList& sent = out_.transmit[port];
    for (uint32_t i = 0; i < sent.count; ++i) {
      if (sent.counted_as[i] != TransmitList::kNotCounted) ++result.counts[sent.counted_as[i]];
    }
    collect(out_.transmit[port], burst, Left::Way::kSent, port, result, collected);
  }
  collect(out_.control, burst, Left::Way::kKernel, 0, result, collected);
  collect(out_.answers, burst, Left::Way::kKernel, 0, result, collected);
  collect(out_.kernel, burst, Left::Way::kKernel, 0, result, collected);
  if (pipeline_->held() != held) find_held(burst, result);
  for (rte_mbuf* mbuf : burst) ASAN_UNPOISON_MEMORY_REGION(mbuf->buf_addr, mbuf->buf_len);
  check_pool(result.fault);
  return result;
}

/// What was dropped must be back in the pool, and what left must not have been there before.
void DpdkEngine::check_pool(std::string& fault) {
  const unsigned out = kNeverInPool + pipeline_->held();
  if (const unsigned in_pool = rte_mempool_avail_count(pool_); in_pool != kBuffers - out)
    fault = fmt::format("{} buffers in the pool, where {} should be", in_pool, kBuffers - out);
}

/// A frame that neither left nor is in the pool again is held.
void DpdkEngine::find_held(std::span<rte_mbuf* const> burst, BurstResult& result) {
  std::vector<void*> in_pool(rte_mempool_avail_count(pool_));
  if (rte_mempool_get_bulk(pool_, in_pool.data(), static_cast<unsigned>(in_pool.size())) != 0) {
    result.fault = "the pool has fewer buffers than it says";
    return;
  }
  for (size_t i = 0; i < burst.size(); ++i) {
    const bool dropped = std::find(in_pool.begin(), in_pool.end(), burst[i]) != in_pool.end();
    if (result.left[i].way == Left::Way::kDropped && !dropped) result.left[i].way = Left::Way::kHeld;
  }
  rte_mempool_put_bulk(pool_, in_pool.data(), static_cast<unsigned>(in_pool.size()));
}

Result DpdkEngine::run(ByteView frame, uint64_t now_ms) {
  const BackendCounts before = backend_counts(*counters_);
  BurstResult burst = run_burst({&frame, 1}, now_ms);
  Result result{{std::move(burst.left.front())}, LINIMO_OUTCOME_COUNT, std::move(burst.fault)};
  uint64_t sum = 0;
  for (size_t i = 0; i < burst.counts.size(); ++i) {
    sum += burst.counts[i];
    if (burst.counts[i] != 0) result.counter = static_cast<linimo_outcome>(i);
  }
  if (sum != (result.way == Left::Way::kHeld ? 0 : 1))
    result.fault = fmt::format("one frame was counted {} times", sum);
  if (lanes_ != nullptr || !result.fault.empty()) return result;
  if (fate_.outcome != static_cast<uint32_t>(result.counter))
    result.fault =
        fmt::format("a capture would say outcome {}, it was {}", fate_.outcome, int{result.counter});
  else
    result.fault = backend_fault(fate_.outcome, fate_.backend, before, backend_counts(*counters_));
  return result;
}

std::vector<Result> DpdkEngine::pass_time(uint64_t now_ms) {
  const Counts before = outcomes();
  now_s_ = static_cast<uint32_t>(now_ms / 1000);
  if (generation_ != nullptr) generation_->settle_slots(now_s_);
  pipeline_->release_held(generation_.get(), now_ms, out_);
  std::vector<Result> results;
  bool goes_on = false;  // the next frame is another fragment of the last one's packet
  const auto take = [&](auto& list, Left::Way way, uint32_t port, auto&& counter_of) {
    for (uint32_t i = 0; i < list.count; ++i) {
      rte_mbuf* mbuf = list.mbufs[i];
      if (goes_on)
        results.back().more.push_back(bytes_of(mbuf));
      else
        results.push_back({{way, port, bytes_of(mbuf), {}}, LINIMO_OUTCOME_COUNT, {}});
      const uint8_t counted_as = counter_of(i);
      goes_on = counted_as == TransmitList::kNotCounted;
      if (!goes_on) {
        results.back().counter = static_cast<linimo_outcome>(counted_as);
        results.back().fault = clear_identification(results.back());
      }
      rte_pktmbuf_free(mbuf);
    }
    list.clear();
  };
  for (uint32_t port = 0; port < kMaxPorts; ++port) {
    TransmitList& sent = out_.transmit[port];
    take(sent, Left::Way::kSent, port, [&](uint32_t i) { return sent.counted_as[i]; });
  }
  for (MbufList* list : {&out_.answers, &out_.kernel})
    take(*list, Left::Way::kKernel, 0, [](uint32_t) { return uint8_t{LINIMO_OUTCOME_kernel}; });
  take(out_.control, Left::Way::kKernel, 0, [](uint32_t) { return uint8_t{LINIMO_OUTCOME_kernel_control}; });
  const Counts after = outcomes();
  for (size_t i = 0; i < after.size(); ++i) {
    for (uint64_t dropped = before[i]; dropped < after[i]; ++dropped)
      results.push_back({{}, static_cast<linimo_outcome>(i), {}});
  }
  std::string fault;
  check_pool(fault);
  if (!fault.empty() && !results.empty()) results.back().fault = fault;
  return results;
}

DpdkEngine& dpdk_engine() {
  static DpdkEngine engine;
  return engine;
}

DpdkEngine& dpdk_engine(const LanePath& lanes) {
  start_dpdk();  // before the map, so that it ends after it
  static std::map<const LanePath*, DpdkEngine> engines;
  return engines.try_emplace(&lanes, &lanes).first->second;
}

}  // namespace linimo::tests
