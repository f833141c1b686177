// The connection table, one flow after the other, without the pipeline's prefetching: what a miss of the
// caches costs is in the time. Flows come in random order; the label says over how much memory.

#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include "dataplane/flow/connection_table.h"

namespace linimo::bench {
namespace {

constexpr ConnectionTable::Service kService{.id = 1, .idle_timeout_s = 900};
constexpr uint32_t kNow = 1000;

/// A table and the hashes of as many flows as it is made for.
class Flows {
 public:
  explicit Flows(uint64_t flows) : bytes_(ConnectionTable::bytes_for(flows)), memory_(zeroed(bytes_)) {
    table = std::make_unique<ConnectionTable>(flows, std::span(memory_.get(), bytes_));
    std::mt19937_64 random(flows);
    hashes.resize(flows);
    for (uint64_t& hash : hashes) hash = random();
  }

  std::string working_set() const { return fmt::format("over {:.3g} MB", static_cast<double>(bytes_) / 1e6); }
  void fill() const {
    for (const uint64_t hash : hashes) table->insert(hash, kService, 7, kNow);
  }
  uint64_t next() { return hashes[at_++ % hashes.size()]; }

  std::vector<uint64_t> hashes;
  std::unique_ptr<ConnectionTable> table;

 private:
  static std::shared_ptr<std::byte> zeroed(size_t bytes) {
    constexpr size_t kHugepage = 2 << 20;
    const size_t whole = (bytes + kHugepage - 1) / kHugepage * kHugepage;
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(kHugepage, whole));
    madvise(memory, whole, MADV_HUGEPAGE);
    std::fill_n(memory, whole, std::byte{0});
    return {memory, [](std::byte* at) { std::free(at); }};
  }

  size_t bytes_;
  std::shared_ptr<std::byte> memory_;
  uint64_t at_ = 0;
};

/// A full one of that size, for those that only look flows up: to fill a large one takes seconds.
Flows& filled(uint64_t flows) {
  static std::map<uint64_t, std::unique_ptr<Flows>> made;
  std::unique_ptr<Flows>& of_size = made[flows];
  if (of_size == nullptr) {
    of_size = std::make_unique<Flows>(flows);
    of_size->fill();
  }
  return *of_size;
}

void numbers_of_flows(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("flows")->Arg(1 << 10)->Arg(1'000'000)->Arg(10'000'000);
}

void hit(benchmark::State& state) {
  Flows& flows = filled(static_cast<uint64_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(flows.table->find(flows.next(), kService, kNow));
  state.SetLabel(flows.working_set());
}
BENCHMARK(hit)->Name("connections/hit")->Apply(numbers_of_flows);

void miss(benchmark::State& state) {
  Flows& flows = filled(static_cast<uint64_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(flows.table->find(~flows.next(), kService, kNow));
  state.SetLabel(flows.working_set());
}
BENCHMARK(miss)->Name("connections/miss")->Apply(numbers_of_flows);

/// Into a table that is filled up to what it is made for, from empty, again and again.
void insert(benchmark::State& state) {
  Flows flows(static_cast<uint64_t>(state.range(0)));
  const std::vector<SweptService> gone(LINIMO_MAX_SERVICES);
  const auto counters = std::make_unique<WorkerCounters>();
  FlowCensus census(*counters);
  uint64_t unstored = 0;
  for (uint64_t inserted = 0; auto _ : state) {
    if (inserted++ == flows.hashes.size()) {
      state.PauseTiming();
      flows.table->sweep(flows.table->buckets(), gone, kNow, census);
      inserted = 1;
      state.ResumeTiming();
    }
    unstored += !flows.table->insert(flows.next(), kService, 7, kNow);
  }
  state.counters["failed_per_million"] =
      static_cast<double>(unstored) * 1e6 / static_cast<double>(state.iterations());
  state.SetLabel(flows.working_set());
}
BENCHMARK(insert)->Name("connections/insert")->Apply(numbers_of_flows);

/// Each new flow displaces an old one.
void evict(benchmark::State& state) {
  Flows flows(static_cast<uint64_t>(state.range(0)));
  std::mt19937_64 random(1);
  for (uint64_t i = 0; i < 2 * flows.table->capacity(); ++i) flows.table->insert(random(), kService, 7, kNow);
  uint64_t done = 0;
  for (auto _ : state) {
    // The clock goes on by four seconds with every half of a table, so that there is always one old enough.
    const auto now = static_cast<uint32_t>(kNow + 10 + done++ / (flows.table->capacity() / 2) * 4);
    benchmark::DoNotOptimize(flows.table->insert(~flows.next() + done, kService, 7, now));
  }
  state.SetLabel(flows.working_set());
}
BENCHMARK(evict)->Name("connections/evict")->Apply(numbers_of_flows);

/// How much of a table can be used: filled until one insertion in a thousand has failed. Beside it, what the
/// table takes that is made for so many flows, of which it can hold more than that.
void bytes_for_a_flow(benchmark::State& state) {
  const auto flows = static_cast<uint64_t>(state.range(0));
  uint64_t held = 0;
  uint64_t places = 0;
  for (auto _ : state) {
    Flows made(flows);
    std::mt19937_64 random(2);
    uint64_t tried = 0;
    uint64_t failed = 0;
    do failed += !made.table->insert(random(), kService, 7, kNow);
    while (++tried < 1000 || failed * 1000 <= tried);
    held = tried - failed;
    places = made.table->capacity();
  }
  const auto bytes = static_cast<double>(places * sizeof(uint64_t));
  state.counters["bytes_per_flow"] = bytes / static_cast<double>(held);
  state.counters["share_used"] = static_cast<double>(held) / static_cast<double>(places);
  state.counters["bytes_per_flow_made_for"] = bytes / static_cast<double>(flows);
  state.SetLabel("full to 0.1 % failed insertions");
}
BENCHMARK(bytes_for_a_flow)
    ->Name("connections/memory")
    ->ArgName("flows")
    ->Arg(1'000'000)
    ->Arg(10'000'000)
    ->Iterations(1);

}  // namespace
}  // namespace linimo::bench
