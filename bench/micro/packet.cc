// What is done to one packet: the flow's hash, parsing, the outer header. One frame, always in the first
// cache.

#include <arpa/inet.h>
#include <benchmark/benchmark.h>

#include "bench/forwarding/traffic.h"
#include "dataplane/packet/encapsulate.h"
#include "dataplane/packet/parse.h"
#include "maglev/hash.h"

namespace linimo::bench {
namespace {

constexpr uint64_t kSeed = 0x9e3779b97f4a7c15;

struct Sample {
  explicit Sample(bool v6) {
    Traffic traffic({.v6 = v6, .order = Order::kInTurn});
    length = traffic.write_next(room + kBefore);
  }

  static constexpr uint32_t kBefore = 128;  // for the outer header
  alignas(64) uint8_t room[kBefore + 128] = {};
  uint16_t length;
};

template <typename Key>
void hash(benchmark::State& state) {
  Key key{};
  for (auto _ : state) {
    key.source_port++;
    benchmark::DoNotOptimize(key);
    benchmark::DoNotOptimize(flow_hash(key, kSeed));
  }
}
BENCHMARK(hash<linimo_key4>)->Name("hash/v4");
BENCHMARK(hash<linimo_key6>)->Name("hash/v6");

void parse(benchmark::State& state, bool v6) {
  Sample sample(v6);
  for (auto _ : state) {
    packet::Frame frame;
    packet::Flow flow;
    benchmark::DoNotOptimize(packet::locate(sample.room + Sample::kBefore, sample.length, frame));
    benchmark::DoNotOptimize(packet::judge(frame, packet::HeaderChecksum::kUnknown, flow));
    benchmark::DoNotOptimize(flow);
  }
}
BENCHMARK_CAPTURE(parse, v4, false);
BENCHMARK_CAPTURE(parse, v6, true);

Address end_of(bool v6, uint8_t last) {
  return *Address::parse(v6 ? "2001:db8::" + std::to_string(last) : "10.0.0." + std::to_string(last));
}

void encapsulate(benchmark::State& state, linimo_encapsulation encapsulation, bool v6) {
  Sample sample(v6);
  packet::Frame frame;
  packet::Flow flow;
  packet::locate(sample.room + Sample::kBefore, sample.length, frame);
  packet::judge(frame, packet::HeaderChecksum::kUnknown, flow);
  const packet::Tunnel tunnel = packet::make_tunnel(
      encapsulation, {.source = end_of(v6, 1), .destination = end_of(v6, 2)}, LINIMO_GUE_PORT);
  uint8_t* outer = const_cast<uint8_t*>(frame.ip) - tunnel.header_length;
  uint64_t flow_hash = kSeed;
  for (auto _ : state) {
    packet::encapsulate(tunnel, {frame.ip, flow.ip_length, frame.is_v6}, flow_hash++, outer);
    if (packet::is_checksummed(tunnel)) packet::put_checksum(frame, flow, outer);
    benchmark::ClobberMemory();
  }
}
BENCHMARK_CAPTURE(encapsulate, ipip_v4, LINIMO_ENCAP_IPIP, false);
BENCHMARK_CAPTURE(encapsulate, gre_v4, LINIMO_ENCAP_GRE, false);
BENCHMARK_CAPTURE(encapsulate, gue_v4, LINIMO_ENCAP_GUE, false);
BENCHMARK_CAPTURE(encapsulate, ipip_v6, LINIMO_ENCAP_IPIP, true);
BENCHMARK_CAPTURE(encapsulate, gre_v6, LINIMO_ENCAP_GRE, true);
BENCHMARK_CAPTURE(encapsulate, gue_v6, LINIMO_ENCAP_GUE, true);

}  // namespace
}  // namespace linimo::bench

BENCHMARK_MAIN();
