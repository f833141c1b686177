// Tables and snapshots: populated, built, checked by the control plane and the control thread; looked up by
// every packet.

#include <cstdlib>
#include <map>
#include <random>
#include <vector>

#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "dataplane/forward/publication.h"
#include "maglev/hash.h"
#include "maglev/snapshot.h"

namespace linimo::bench {
namespace {

std::vector<BackendSpec> make_backends(uint32_t count) {
  std::vector<BackendSpec> backends;
  for (uint32_t i = 0; i < count; ++i)
    backends.push_back({.address = Address::v4(htonl(0x0a010000 + i)), .id = i});
  return backends;
}

/// Args: slots, backends.
void populate_table(benchmark::State& state) {
  const auto slots = static_cast<uint32_t>(state.range(0));
  std::vector<TableMember> members;
  for (const BackendSpec& backend : make_backends(static_cast<uint32_t>(state.range(1))))
    members.push_back({backend.address, 100});
  std::sort(members.begin(), members.end());
  for (auto _ : state) benchmark::DoNotOptimize(populate(members, slots));
  state.SetLabel(fmt::format("{:.3g} MB", slots * sizeof(linimo_slot) / 1e6));
}
BENCHMARK(populate_table)
    ->Name("table/populate")
    ->ArgNames({"slots", "backends"})
    ->Args({65537, 1000})
    ->Args({655373, 1000})
    ->Unit(benchmark::kMillisecond);

/// One slot after the other, at random; the CPU looks ahead, as it does over a burst.
void look_up(benchmark::State& state) {
  const auto size = static_cast<uint32_t>(state.range(0));
  const auto table = make_pool_table(make_backends(1000), size);
  uint64_t hash = 1;
  uint32_t sum = 0;
  for (auto _ : state) {
    hash = hash * 6364136223846793005 + 1442695040888963407;
    sum += table->slots[slot_of(hash >> 32, size)];
    benchmark::DoNotOptimize(sum);
  }
  state.SetLabel(fmt::format("over {:.3g} MB", size * sizeof(linimo_slot) / 1e6));
}
BENCHMARK(look_up)->Name("table/look_up")->ArgName("slots")->Arg(65537)->Arg(655373)->Arg(6553621);

/// `services` services, each with a pool of 100 backends and 65537 slots.
const SnapshotSpec& services(uint32_t count) {
  static std::map<uint32_t, SnapshotSpec> made;
  SnapshotSpec& spec = made[count];
  if (!spec.services.empty()) return spec;
  const auto backends = make_backends(100);
  const auto table = make_pool_table(backends, kDefaultTableSize);
  for (uint32_t i = 0; i < count; ++i) {
    PoolSpec pool;
    pool.name = fmt::format("pool{}", i);
    pool.backends = backends;
    for (BackendSpec& backend : pool.backends) backend.id += i * 100;
    pool.table = table;
    ServiceSpec service;
    service.name = fmt::format("service{}", i);
    service.id = service.pool = i;
    service.vips = {{Address::v4(htonl(0xc6120000 + i)), 128}};
    service.ports = {{80, 80}, {443, 443}};
    spec.pools.push_back(std::move(pool));
    spec.services.push_back(std::move(service));
  }
  spec.encap_source4 = *Address::parse("10.0.0.1");
  return spec;
}

std::string size_of(std::span<const std::byte> bytes) {
  return fmt::format("{:.3g} MB", static_cast<double>(bytes.size()) / 1e6);
}

void build(benchmark::State& state) {
  const SnapshotSpec& spec = services(static_cast<uint32_t>(state.range(0)));
  std::vector<std::byte> bytes = build_snapshot(spec);
  for (auto _ : state) {
    build_snapshot(spec, bytes);
    benchmark::ClobberMemory();
  }
  state.SetLabel(size_of(bytes) + ", into the memory of the last one");
}
BENCHMARK(build)
    ->Name("snapshot/build")
    ->ArgName("services")
    ->Arg(1)
    ->Arg(100)
    ->Unit(benchmark::kMillisecond);

void validate(benchmark::State& state) {
  const std::vector<std::byte> bytes = build_snapshot(services(static_cast<uint32_t>(state.range(0))));
  for (auto _ : state) {
    const auto view = SnapshotView::validate(bytes);
    if (!view) state.SkipWithError(view.error().c_str());
  }
  state.SetLabel(size_of(bytes));
}
BENCHMARK(validate)
    ->Name("snapshot/validate")
    ->ArgName("services")
    ->Arg(1)
    ->Arg(100)
    ->Unit(benchmark::kMillisecond);

/// What the data plane does with a snapshot on its control thread: copied, validated, made ready for
/// look-ups, switched to, the one before it released. No worker has to be waited for.
void publish(benchmark::State& state) {
  const std::vector<std::byte> bytes = build_snapshot(services(static_cast<uint32_t>(state.range(0))));
  Publication publication(1, [](size_t size) {
    constexpr size_t kLine = 64;
    return Generation::Memory(
        static_cast<std::byte*>(std::aligned_alloc(kLine, (size + kLine - 1) / kLine * kLine)), std::free);
  });
  for (auto _ : state) {
    if (const auto published = publication.publish(bytes, {}, 0); !published)
      state.SkipWithError(published.error().c_str());
  }
  state.SetLabel(size_of(bytes));
}
BENCHMARK(publish)
    ->Name("snapshot/publish")
    ->ArgName("services")
    ->Arg(1)
    ->Arg(100)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace linimo::bench
