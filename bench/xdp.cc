// What one packet costs in the XDP engine: nanoseconds in the kernel, for each way a packet can take.
//
// Real: the program, loaded and filled by the data plane's own code, and the kernel that runs it
// (BPF_PROG_TEST_RUN). Not there: a driver, and a frame that comes from memory instead of the cache.
// bench/README.md says how the time is taken.
//
//   xdp [--rounds 9] [--packets 1048576] [--json FILE] [CASE...]

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <memory>
#include <thread>

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <sched.h>
#include <sys/utsname.h>

#include "bench/xdp.skel.h"
#include "dataplane/xdp/program.h"
#include "maglev/snapshot.h"

namespace linimo {
namespace {

using Clock = std::chrono::steady_clock;

/// Of this thread: what others did on this CPU meanwhile does not count.
double cpu_time_ns() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

constexpr uint64_t kFlows = 1 << 20;  // that a connection table is made for
constexpr uint32_t kBackends = 100;   // of each pool
constexpr uint32_t kTableSize = 65537;
constexpr uint32_t kServices = 100;
constexpr Mac kPortMac = {2, 0, 0, 0, 0, 1}, kNextHopMac = {2, 0, 0, 0, 0, 2};
constexpr std::chrono::seconds kOldEnough{5};  // for an entry to make room for another

struct Options {
  uint32_t rounds = 9;
  uint32_t packets = 1 << 20;
  std::string json;
  std::vector<std::string> cases;
};

/// Services are numbered as their kinds are; each has a VIP and a pool of its own.
enum ServiceKind : uint32_t { kIpip, kGre, kGue, kUntracked, kAdaptive, kServiceKinds };

enum class Flow { kTracked, kNew };

struct Case {
  const char* name;
  const char* what;
  ServiceKind service = kIpip;
  int family = AF_INET;
  uint64_t flows = 1;  // a power of two
  Flow flow = Flow::kTracked;
  uint32_t packets_of_flow = 1;  // 2: SYN and ACK in turn
  uint32_t overhead = 20;        // of the tunnel, bytes; 0: not for a VIP
  double target_ns = 0;          // 0: none
};

constexpr Case kCases[] = {
    {.name = "no-vip", .what = "not for a VIP", .overhead = 0, .target_ns = 20},
    {.name = "one-flow", .what = "one tracked flow", .target_ns = 60},
    {.name = "64k-flows", .what = "65,536 tracked flows", .flows = 1 << 16},
    {.name = "1m-flows", .what = "1,048,576 tracked flows", .flows = 1 << 20, .target_ns = 110},
    {.name = "adaptive",
     .what = "1,048,576 flows, tracked adaptively, all slots settled",
     .service = kAdaptive,
     .flows = 1 << 20},
    {.name = "new-flows",
     .what = "each packet a new flow, table full: insertion with eviction",
     .flows = uint64_t{1} << 32,
     .flow = Flow::kNew,
     .target_ns = 150},
    {.name = "syn-ack",
     .what = "each flow a SYN and an ACK, table full",
     .flows = uint64_t{1} << 32,
     .flow = Flow::kNew,
     .packets_of_flow = 2},
    {.name = "untracked", .what = "tracking off, 65,536 flows", .service = kUntracked, .flows = 1 << 16},
    {.name = "gre", .what = "one tracked flow, GRE", .service = kGre, .overhead = 24},
    {.name = "gue", .what = "one tracked flow, GUE", .service = kGue, .overhead = 28},
    {.name = "ipv6", .what = "one tracked flow, IPv6 in IPv6", .family = AF_INET6, .overhead = 40},
    {.name = "gue-ipv6",
     .what = "one tracked flow, IPv6 in GUE over IPv6",
     .service = kGue,
     .family = AF_INET6,
     .overhead = 48},
};

Address address(const std::string& text) {
  return Address::parse(text).value();
}

/// 100 services with a pool of 100 backends and a table of 65537 slots each; the first are those of the
/// cases.
SnapshotSpec make_snapshot() {
  SnapshotSpec spec;
  spec.hash_seed = 0x9e3779b97f4a7c15;
  spec.encap_source4 = address("10.0.0.11");
  spec.encap_source6 = address("2001:db8::11");
  for (uint32_t family = 0; family < 2; ++family) {
    for (uint32_t i = 0; i < kServices / 2; ++i) {
      const uint32_t pool_index = family * kServices / 2 + i;
      PoolSpec pool;
      pool.name = fmt::format("pool{}", pool_index);
      pool.encapsulation = i == kGre ? LINIMO_ENCAP_GRE : i == kGue ? LINIMO_ENCAP_GUE : LINIMO_ENCAP_IPIP;
      for (uint32_t b = 0; b < kBackends; ++b) {
        const auto where = family == 0 ? fmt::format("10.1.{}.{}", i, b + 1)
                                       : fmt::format("2001:db8:1:{:x}::{:x}", i, b + 1);
        pool.backends.push_back({.address = address(where), .id = pool_index * kBackends + b});
      }
      pool.table = make_pool_table(pool.backends, kTableSize);
      ServiceSpec service;
      service.name = fmt::format("service{}", pool_index);
      service.id = pool_index;
      service.pool = pool_index;
      service.tracking = i == kUntracked  ? LINIMO_TRACKING_OFF
                         : i == kAdaptive ? LINIMO_TRACKING_ADAPTIVE
                                          : LINIMO_TRACKING_FULL;
      const auto vip =
          family == 0 ? fmt::format("203.0.113.{}", i + 1) : fmt::format("2001:db8:f::{:x}", i + 1);
      service.vips = {{address(vip), 128}};
      service.ports = {{80, 80}, {443, 443}};
      spec.pools.push_back(std::move(pool));
      spec.services.push_back(std::move(service));
    }
  }
  return spec;
}

/// An Ethernet frame of 60 bytes (64 with its checksum on the wire), 74 for IPv6: TCP without padding.
std::vector<uint8_t> make_frame(const Case& wanted) {
  std::vector<uint8_t> frame(wanted.family == AF_INET ? 60 : 74);
  auto* eth = reinterpret_cast<ethhdr*>(frame.data());
  std::copy(kPortMac.begin(), kPortMac.end(), eth->h_dest);
  std::copy(kNextHopMac.begin(), kNextHopMac.end(), eth->h_source);
  tcphdr* tcp = nullptr;
  if (wanted.family == AF_INET) {
    eth->h_proto = htons(ETH_P_IP);
    auto* ip = reinterpret_cast<iphdr*>(eth + 1);
    ip->version = 4;
    ip->ihl = 5;
    ip->tot_len = htons(46);
    ip->id = 0xffff;  // makes up for the low half of the source address, which is 0
    ip->frag_off = htons(0x4000);
    ip->ttl = 64;
    ip->protocol = IPPROTO_TCP;
    ip->saddr = inet_addr("198.18.0.0");
    ip->daddr = wanted.overhead == 0 ? inet_addr("10.0.0.11") : htonl(0xcb007101 + wanted.service);
    uint32_t sum = 0;
    for (int i = 0; i < 10; ++i) sum += reinterpret_cast<uint16_t*>(ip)[i];
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    ip->check = static_cast<uint16_t>(~sum);
    tcp = reinterpret_cast<tcphdr*>(ip + 1);
  } else {
    eth->h_proto = htons(ETH_P_IPV6);
    auto* ip = reinterpret_cast<ipv6hdr*>(eth + 1);
    ip->version = 6;
    ip->payload_len = htons(20);
    ip->nexthdr = IPPROTO_TCP;
    ip->hop_limit = 64;
    inet_pton(AF_INET6, "2001:db8:c::", &ip->saddr);
    inet_pton(AF_INET6, fmt::format("2001:db8:f::{:x}", wanted.service + 1).c_str(), &ip->daddr);
    tcp = reinterpret_cast<tcphdr*>(ip + 1);
  }
  tcp->dest = htons(80);
  tcp->doff = 5;
  tcp->syn = wanted.flow == Flow::kNew;
  tcp->ack = wanted.flow != Flow::kNew;
  return frame;
}

/// One case's program, with a connection table of its own: the row of its number.
class Measured {
 public:
  Measured(const Case& wanted, uint32_t row, const xdp::Program& data_plane)
      : case_(wanted), frame_(make_frame(wanted)), program_(xdp_bench_bpf__open(), xdp_bench_bpf__destroy) {
    if (!program_) throw std::runtime_error("cannot open the program");
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, program_->obj) {
      const int shared = data_plane.map_fd(bpf_map__name(map));
      if (!bpf_map__is_internal(map) && map != program_->maps.bench_whole_path &&
          bpf_map__reuse_fd(map, shared) != 0) {
        throw std::runtime_error("a map cannot be shared");
      }
    }
    std::copy(kPortMac.begin(), kPortMac.end(), reinterpret_cast<uint8_t*>(&program_->bss->port_mac));
    auto& constants = *program_->rodata;
    constants.first_row = row;
    const uint64_t buckets = xdp::Shape{.rows = 1, .flows_per_row = kFlows}.buckets();
    constants.bucket_count = static_cast<uint32_t>(buckets);
    constants.bench_flow_mask = static_cast<uint32_t>(wanted.flows - 1);
    constants.bench_packets_shift = wanted.packets_of_flow - 1;
    constants.bench_overhead = wanted.overhead;
    constants.bench_action = wanted.overhead == 0 ? XDP_PASS : XDP_TX;
    std::copy_n(frame_.begin(), ETH_HLEN, const_cast<uint8_t*>(constants.bench_ethernet));
    if (xdp_bench_bpf__load(program_.get()) != 0)
      throw std::runtime_error("the kernel does not load the program");
    const uint32_t only = 0;
    const int whole = bpf_program__fd(program_->progs.bench_whole);
    if (bpf_map_update_elem(bpf_map__fd(program_->maps.bench_whole_path), &only, &whole, BPF_ANY) != 0)
      throw std::runtime_error("the whole path's place");
  }

  const Case& what() const { return case_; }
  double engine_ns(uint32_t packets) { return run(program_->progs.bench_engine, packets); }
  /// The time of all but the engine: the next flow is written, the packet's start goes back once.
  double harness_ns(uint32_t packets) {
    const double frame = run(program_->progs.bench_frame_only, packets);
    if (case_.overhead == 0) return frame;
    return (frame + run(program_->progs.bench_frame_and_heads, packets)) / 2;
  }
  uint64_t unexpected() const { return program_->bss->bench_unexpected; }
  /// From here the flows come again in the order they came in.
  void rewind() { program_->bss->bench_packets = 0; }

 private:
  double run(const bpf_program* program, uint32_t packets) {
    std::vector<uint8_t> frame = frame_;
    bpf_test_run_opts options = {};
    options.sz = sizeof options;
    options.data_in = frame.data();
    options.data_size_in = static_cast<uint32_t>(frame.size());
    options.repeat = static_cast<int>(packets);
    const double begin = cpu_time_ns();
    if (bpf_prog_test_run_opts(bpf_program__fd(program), &options) != 0)
      throw std::runtime_error("the program does not run");
    return (cpu_time_ns() - begin) / packets;
  }

  Case case_;
  std::vector<uint8_t> frame_;
  std::unique_ptr<xdp_bench_bpf, decltype(&xdp_bench_bpf__destroy)> program_;
};

double quantile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(std::lround(part * static_cast<double>(values.size() - 1)))];
}

struct Times {
  std::vector<double> engine, harness;  // ns a packet, of each round

  /// Of the engine alone; the harness, which is the same code all the time, counts with its median.
  double at(double part) const { return quantile(engine, part) - quantile(harness, 0.5); }
};

std::string kernel_and_cpu() {
  utsname kernel = {};
  uname(&kernel);
  std::string cpu = "unknown CPU";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name")) continue;
    cpu = line.substr(line.find(':') + 2);
    break;
  }
  return fmt::format("Linux {}, {}", kernel.release, cpu);
}

/// The data plane's part: maps made, a snapshot published, every backend's next hop known and at this very
/// port.
std::unique_ptr<xdp::Program> make_data_plane(uint32_t rows) {
  auto program = xdp::Program::load({.rows = rows, .flows_per_row = kFlows}, {});
  if (!program) throw std::runtime_error(program.error());
  for (uint32_t row = 0; row < rows; ++row) {
    if (const auto served = (*program)->serve(row); !served) throw std::runtime_error(served.error());
  }
  if (const auto set = (*program)->set_port(0, 1, kPortMac); !set) throw std::runtime_error(set.error());
  const Address own[] = {address("10.0.0.11")};
  const SnapshotSpec spec = make_snapshot();
  if (const auto published = (*program)->publish(build_snapshot(spec), own); !published) {
    throw std::runtime_error(published.error());
  }
  NextHop hop;
  hop.state = NextHop::kResolved;
  hop.mac = kNextHopMac;
  for (uint32_t id = 0; id < kServices * kBackends; ++id) (*program)->next_hops().store(id, hop);
  return std::move(*program);
}

/// Every flow has its entry, or the table has no empty place left.
void fill_table(Measured& measured) {
  const bool fresh = measured.what().flow == Flow::kNew;
  for (uint64_t left = fresh ? 8 * kFlows : 2 * std::max<uint64_t>(measured.what().flows, 1 << 16);
       left > 0;) {
    const auto some = static_cast<uint32_t>(std::min<uint64_t>(left, kFlows));
    measured.engine_ns(some);
    left -= some;
  }
}

int run(const Options& options) {
  std::vector<Case> cases;
  for (const Case& one : kCases) {
    if (options.cases.empty() || std::ranges::count(options.cases, one.name) != 0) cases.push_back(one);
  }
  if (cases.empty()) throw std::runtime_error("no such case");
  const auto data_plane = make_data_plane(static_cast<uint32_t>(cases.size()));

  std::vector<std::unique_ptr<Measured>> measured;
  for (const Case& one : cases) {
    measured.push_back(std::make_unique<Measured>(one, static_cast<uint32_t>(measured.size()), *data_plane));
    fill_table(*measured.back());
  }
  std::vector<Times> times(cases.size());
  std::vector<uint64_t> unstored(cases.size());
  auto inserted = Clock::now();
  for (uint32_t round = 0; round < options.rounds; ++round) {
    for (size_t i = 0; i < cases.size(); ++i) {
      uint32_t packets = options.packets;
      if (cases[i].flow == Flow::kNew) {
        std::this_thread::sleep_until(inserted + kOldEnough);  // younger entries stay where they are
        packets /= 4;                                          // and few enough for each to find an old one
      }
      const uint64_t before = data_plane->counters(static_cast<uint32_t>(i)).flows_unstored;
      times[i].engine.push_back(measured[i]->engine_ns(packets));
      unstored[i] += data_plane->counters(static_cast<uint32_t>(i)).flows_unstored - before;
      times[i].harness.push_back(measured[i]->harness_ns(packets));
    }
    inserted = Clock::now();
  }

  fmt::print(
      "{}\n{} services, tables of {} slots, {} flows a connection table; ns per packet, median of {} rounds "
      "(least to most)\n",
      kernel_and_cpu(), kServices, kTableSize, kFlows, options.rounds);
  std::string json;
  for (size_t i = 0; i < cases.size(); ++i) {
    if (measured[i]->unexpected() != 0) {
      throw std::runtime_error(
          fmt::format("{}: {} packets took another way", cases[i].name, measured[i]->unexpected()));
    }
    const std::string target =
        cases[i].target_ns == 0 ? "" : fmt::format("   target {:.0f}", cases[i].target_ns);
    const std::string note = unstored[i] == 0 ? "" : fmt::format("   ({} flows found no place)", unstored[i]);
    fmt::print("  {:<11}{:<62}{:7.1f} ({:.1f} to {:.1f}){}{}\n", cases[i].name, cases[i].what,
               times[i].at(0.5), times[i].at(0), times[i].at(1), target, note);
    json += fmt::format(
        "{}{{\"case\": \"{}\", \"ns\": {:.2f}, \"least_ns\": {:.2f}, \"most_ns\": {:.2f}, \"target_ns\": "
        "{}}}",
        json.empty() ? "" : ", ", cases[i].name, times[i].at(0.5), times[i].at(0), times[i].at(1),
        cases[i].target_ns);
  }
  if (!options.json.empty()) {
    std::ofstream(options.json) << fmt::format(
        "{{\"machine\": \"{}\", \"rounds\": {}, \"packets\": {}, \"cases\": [{}]}}\n", kernel_and_cpu(),
        options.rounds, options.packets, json);
  }
  return 0;
}

/// On one CPU, so that a round does not move.
void stay_on_one_cpu() {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  sched_setaffinity(0, sizeof one, &one);
}

}  // namespace
}  // namespace linimo

int main(int argc, char** argv) {
  CLI::App app("Measures what one packet costs in the XDP engine.", "xdp");
  linimo::Options options;
  app.add_option("--rounds", options.rounds, "measurements of each case")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--packets", options.packets, "of each measurement")->capture_default_str();
  app.add_option("--json", options.json, "write the medians to this file");
  app.add_option("CASE", options.cases, "measure these alone");
  CLI11_PARSE(app, argc, argv);
  try {
    linimo::stay_on_one_cpu();
    return linimo::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "xdp: {}\n", error.what());
    return 1;
  }
}
