// The seam between control thread and workers, with real threads: a packet sees one generation whole, none is
// lost to a swap, and nothing that a worker may still read is released. Run under ThreadSanitizer too.

#include "dataplane/forward/publication.h"

#include <atomic>
#include <thread>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include "dataplane/forward/pipeline.h"
#include "dataplane/link/counters_memory.h"
#include "dataplane/packet/checksum.h"

namespace linimo {
namespace {

constexpr uint32_t kWorkers = 2;
constexpr uint32_t kBurst = 32;
constexpr uint64_t kGenerations = 1000;
constexpr uint32_t kBackends = 10;

std::atomic<int64_t> g_bytes_held = 0;

Generation::Memory allocate(size_t bytes) {
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  g_bytes_held += static_cast<int64_t>(bytes);
  return {memory, [bytes](std::byte* block) {
            g_bytes_held -= static_cast<int64_t>(bytes);
            std::free(block);
          }};
}

/// Two sets that share nothing: 10.0.<set>.x as backends, 10.9.<set>.1 as the tunnels' source.
std::vector<std::byte> snapshot_of(uint8_t set, uint64_t generation) {
  SnapshotSpec spec;
  spec.generation = generation;
  spec.encap_source4 = Address::v4(htonl(0x0a090001U | uint32_t{set} << 8));
  PoolSpec pool{.name = "pool", .encapsulation = LINIMO_ENCAP_IPIP, .backends = {}, .table = nullptr};
  for (uint32_t i = 0; i < kBackends; ++i) {
    pool.backends.push_back(
        {Address::v4(htonl(0x0a000001U + (uint32_t{set} << 8) + i)), set * 100U + i, 1, LINIMO_BACKEND_UP});
  }
  pool.table = make_pool_table(pool.backends, 251);
  spec.pools.push_back(pool);
  ServiceSpec service;
  service.name = "service";
  service.tracking = LINIMO_TRACKING_OFF;
  service.vips = {*Prefix::parse("203.0.113.10")};
  service.ports = {{80, 80}};
  spec.services.push_back(service);
  return build_snapshot(spec);
}

/// A burst of TCP segments in buffers that no pool owns: nothing here may be dropped, so nothing is freed.
class Burst {
 public:
  Burst() {
    for (uint32_t i = 0; i < kBurst; ++i) {
      mbufs_[i] = {};
      pointers_[i] = &mbufs_[i];
    }
  }

  std::span<rte_mbuf* const> fill(uint32_t round) {
    for (uint32_t i = 0; i < kBurst; ++i) {
      uint8_t* frame = buffers_[i].data() + RTE_PKTMBUF_HEADROOM;
      std::memset(frame, 0, 54);
      auto* ethernet = reinterpret_cast<packet::Ethernet*>(frame);
      auto* ip = reinterpret_cast<packet::Ipv4*>(ethernet + 1);
      auto* tcp = reinterpret_cast<packet::Tcp*>(ip + 1);
      ethernet->type = packet::kTypeIpv4;
      ip->version_ihl = 0x45;
      ip->total_length = htons(40);
      ip->ttl = 64;
      ip->protocol = packet::kTcp;
      ip->source = htonl(0xc0000201 + round * kBurst + i);
      ip->destination = htonl(0xcb00710a);
      ip->checksum = packet::checksum_finish(packet::checksum_add(ip, sizeof *ip));
      tcp->source_port = htons(static_cast<uint16_t>(1024 + i));
      tcp->destination_port = htons(80);
      tcp->data_offset = 0x50;
      mbufs_[i].buf_addr = buffers_[i].data();
      mbufs_[i].buf_len = static_cast<uint16_t>(buffers_[i].size());
      mbufs_[i].data_off = RTE_PKTMBUF_HEADROOM;
      mbufs_[i].data_len = 54;
      mbufs_[i].pkt_len = 54;
      mbufs_[i].nb_segs = 1;
      mbufs_[i].ol_flags = 0;
    }
    return pointers_;
  }

 private:
  std::array<std::array<uint8_t, 512>, kBurst> buffers_;
  std::array<rte_mbuf, kBurst> mbufs_;
  std::array<rte_mbuf*, kBurst> pointers_;
};

struct WorkerResult {
  uint64_t sent = 0;
  uint64_t lost = 0;
  uint64_t torn = 0;
  uint64_t switches = 0;
};

/// What a worker does, without ports: bursts from its own buffers through the pipeline.
void work(uint32_t index, Publication& publication, const NextHopTable& next_hops, WorkerCounters& counters,
          const std::atomic<bool>& running, std::atomic<uint32_t>& ready, WorkerResult& result) {
  const PortMacs macs;  // zero, as the destination of the frames is
  std::vector<std::byte> memory(ConnectionTable::bytes_for(64) + 64);
  auto* aligned = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  std::vector<FlowState> flows;
  flows.push_back({ConnectionTable(64, {aligned, ConnectionTable::bytes_for(64)}), FragmentMemory()});
  Pipeline pipeline(macs, next_hops, flows, 0, counters);
  pipeline.go_in_lanes(index % 2 == 0 ? lane_path("auto") : nullptr);
  Burst burst;
  BurstOutput out;
  const Generation* last = nullptr;
  publication.join(index);
  ++ready;
  for (uint32_t round = 0; running.load(std::memory_order_relaxed); ++round) {
    const Generation* generation = publication.between_bursts(index);
    result.switches += generation != last;
    last = generation;
    if (generation == nullptr) continue;
    pipeline.run(burst.fill(round), 0, generation, 1000, out);
    const MbufList& sent = out.transmit[0];
    result.lost += kBurst - sent.count;
    result.sent += sent.count;
    uint8_t set_of_burst = 0;
    for (uint32_t i = 0; i < sent.count; ++i) {
      const auto* ip =
          reinterpret_cast<const packet::Ipv4*>(rte_pktmbuf_mtod(sent.mbufs[i], packet::Ethernet*) + 1);
      const auto source_set = static_cast<uint8_t>(ntohl(ip->source) >> 8);
      const auto backend_set = static_cast<uint8_t>(ntohl(ip->destination) >> 8);
      if (i == 0) set_of_burst = source_set;
      result.torn += source_set != backend_set || source_set != set_of_burst;
    }
    out = {};
  }
  publication.leave(index);
}

TEST(Publication, SwapsAreWholeAndLoseNothing) {
  CountersMemory counters(kWorkers);
  NextHopTable next_hops;
  for (uint32_t set : {1, 2}) {
    for (uint32_t i = 0; i < kBackends; ++i) {
      next_hops.store(set * 100 + i, {.state = NextHop::kResolved, .port = 0, .mac = {}, .mtu = 1500});
    }
  }
  const int64_t held_before = g_bytes_held;
  {
    Publication publication(kWorkers, allocate, &next_hops);
    ASSERT_TRUE(publication.publish(snapshot_of(1, 1), {}, 0));
    std::atomic<bool> running = true;
    std::atomic<uint32_t> ready = 0;
    WorkerResult results[kWorkers];
    std::vector<std::thread> workers;
    for (uint32_t i = 0; i < kWorkers; ++i) {
      workers.emplace_back(work, i, std::ref(publication), std::cref(next_hops), std::ref(counters.row(i)),
                           std::cref(running), std::ref(ready), std::ref(results[i]));
    }
    while (ready != kWorkers) std::this_thread::yield();
    const auto view = CountersView::map(counters.fd());
    ASSERT_TRUE(view);
    int64_t held_early = 0;
    uint64_t last_packets = 0;
    for (uint64_t generation = 2; generation <= kGenerations; ++generation) {
      const auto set = static_cast<uint8_t>(1 + generation % 2);
      ASSERT_TRUE(publication.publish(snapshot_of(set, generation), {}, 0));
      EXPECT_EQ(publication.live()->number(), generation);
      next_hops.store(set * 100U,
                      {.state = NextHop::kResolved, .port = 0, .mac = {set, 1, 2, 3, 4, 5}, .mtu = 1500});
      const uint64_t packets = view->service(0).packets;
      EXPECT_GE(packets, last_packets) << "a sum fell";
      last_packets = packets;
      if (generation == 10) held_early = g_bytes_held;
    }
    EXPECT_EQ(g_bytes_held, held_early) << "memory grows with generations";
    running = false;
    for (std::thread& worker : workers) worker.join();
    uint64_t sent = 0;
    for (const WorkerResult& result : results) {
      sent += result.sent;
      EXPECT_EQ(result.torn, 0U) << "a packet of two generations";
      EXPECT_EQ(result.lost, 0U);
      EXPECT_GE(result.switches, kGenerations / 2) << "hardly any swap was under load";
    }
    EXPECT_EQ(view->service(0).packets, sent);
  }
  EXPECT_EQ(g_bytes_held, held_before);
}

// The path in lanes reads next hops out of the generation.
TEST(Publication, NextHopsOfWhatIsLiveFollowTheTable) {
  NextHopTable next_hops;
  NextHop hop{.state = NextHop::kResolved, .port = 3, .mac = {2, 0, 0, 0, 0, 1}, .mtu = 1400};
  next_hops.store(100, hop);
  Publication publication(1, allocate, &next_hops);
  ASSERT_TRUE(publication.publish(snapshot_of(1, 1), {}, 0));
  const Target& first = *publication.live()->target_of(100);
  const Target& second = *publication.live()->target_of(101);
  EXPECT_EQ(first.plain_mtu, 1400u);
  EXPECT_EQ(first.way, next_hops.load(100).way());
  EXPECT_EQ(second.plain_mtu, 0u) << "there is no way";
  hop.mtu = 1300;
  next_hops.store(101, hop);
  EXPECT_EQ(second.plain_mtu, 1300u);
  EXPECT_EQ(second.way, next_hops.load(101).way());
  hop.tags[0] = {0x8100, 7};
  next_hops.store(100, hop);
  EXPECT_EQ(first.plain_mtu, 0u) << "tags are more than the usual header";
  next_hops.store(300, hop);  // which no generation knows
}

// What is refused changes nothing: the workers go on with the generation before.
TEST(Publication, RefusalChangesNothing) {
  Publication publication(1, allocate);
  ASSERT_TRUE(publication.publish(snapshot_of(1, 1), {}, 0));
  const Generation* before = publication.live();
  auto bad = snapshot_of(2, 2);
  bad[bad.size() - 1] ^= std::byte{1};
  const auto refused = publication.publish(bad, {}, 0);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), testing::HasSubstr("checksum"));
  const auto cut = publication.publish(std::span(bad).first(3), {}, 0);
  ASSERT_FALSE(cut);
  EXPECT_THAT(cut.error(), testing::HasSubstr("3 bytes are fewer than the header's"));
  EXPECT_EQ(publication.live(), before);
  EXPECT_EQ(publication.between_bursts(0), before);
}

// Without memory a snapshot is refused, not forgotten or crashed over.
TEST(Publication, SurvivesWantOfMemory) {
  bool none = false;
  Publication publication(1, [&](size_t bytes) { return none ? Generation::Memory() : allocate(bytes); });
  none = true;
  const auto refused = publication.publish(snapshot_of(1, 1), {}, 0);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), testing::HasSubstr("no memory"));
  EXPECT_THROW(Publication(1, [](size_t) { return Generation::Memory(); }), std::runtime_error);
}

// Ways are found, and seconds pass, before there is anything to forward by.
TEST(Publication, BeforeTheFirstGenerationThereIsNothingToKeepUp) {
  NextHopTable next_hops;
  Publication publication(1, allocate, &next_hops);
  next_hops.store(100, {.state = NextHop::kResolved, .port = 0, .mac = {}, .mtu = 1400});
  publication.settle_slots(1);
  EXPECT_EQ(publication.live(), nullptr);
  uint64_t first = 0;
  const auto begin = [&](const SnapshotView& view) { first = view.header().generation; };
  for (const uint64_t generation : {3, 4})
    ASSERT_TRUE(publication.publish(
        snapshot_of(1, generation), {}, 0, [] {}, begin));
  EXPECT_EQ(first, 3U) << "said of the first alone";
  EXPECT_EQ(publication.live()->target_of(100)->plain_mtu, 1400U) << "it has what was stored before";
}

// As `lanes` of [node] says it.
TEST(LanePath, IsFoundByItsNameAndTheWidestWithoutOne) {
  for (const LanePath* path : lane_paths()) EXPECT_EQ(lane_path(path->name), path);
  EXPECT_EQ(lane_path("auto"), lane_paths().empty() ? nullptr : lane_paths().front());
  EXPECT_EQ(lane_path("off"), nullptr);
}

// Whoever waits for a worker that stands still is told so, again and again: there is something else to do
// meanwhile.
TEST(Publication, CallsBackWhileAWorkerHasNotSwitched) {
  Publication publication(1, allocate);
  std::atomic<bool> joined = false;
  std::atomic<int> calls = 0;
  std::thread worker([&] {
    publication.join(0);
    joined = true;
    while (calls < 2) std::this_thread::yield();
    publication.between_bursts(0);
    publication.leave(0);
  });
  while (!joined) std::this_thread::yield();
  EXPECT_TRUE(publication.publish(snapshot_of(0, 1), {}, 0, [&] { ++calls; }));
  worker.join();
  EXPECT_GE(calls, 2);
}

}  // namespace
}  // namespace linimo
