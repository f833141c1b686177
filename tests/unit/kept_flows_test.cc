// What an earlier process has left of connection tables and fragments: for whom it is of use, which entries
// are, and that nothing else in that memory does any harm.

#include "dataplane/flow/kept_flows.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snapshot_fixture.h"

namespace linimo {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint32_t kNow = 5000;
constexpr uint64_t kNowMs = kNow * uint64_t{1000};
constexpr uint64_t kSeed = 42;
constexpr ConnectionTable::Service kWeb{.id = 1, .idle_timeout_s = 900};

SnapshotSpec spec() {
  SnapshotSpec made;
  made.hash_seed = kSeed;
  made.encap_source4 = address("10.0.0.11");
  made.encap_source6 = address("2001:db8::11");
  made.pools.push_back(pool("web", {{address("10.0.1.1"), 1}, {address("2001:db8:1::2"), 2}}));
  made.pools.push_back(pool("other", {{address("10.0.1.1"), 3}}));
  made.services.push_back(service("web", kWeb.id, {prefix("203.0.113.10")}, {{80, 80}}));
  return made;
}

KeptFlows::Shape shape() {
  KeptFlows::Shape made{.owner = 7, .boot = {}, .workers = 2, .flows = 1000, .spread = 9};
  made.boot[0] = 'b';
  return made;
}

class KeptFlowsTest : public testing::Test {
 protected:
  struct alignas(4096) Page {
    std::byte bytes[4096];
  };

  KeptFlowsTest() : pages_(KeptFlows::bytes_for(shape()) / sizeof(Page) + 1) { flows().begin(shape()); }

  std::span<std::byte> memory() { return {pages_.front().bytes, pages_.size() * sizeof(Page)}; }
  KeptFlows flows() { return KeptFlows(memory()); }

  static SnapshotView view_of(const SnapshotSpec& spec) {
    static std::vector<std::vector<std::byte>> kept;
    const auto view = SnapshotView::validate(kept.emplace_back(build_snapshot(spec)));
    if (!view) throw std::runtime_error(view.error());
    return *view;
  }

  /// A process with these tables, from its first generation on.
  struct Process {
    Process(KeptFlowsTest& test, const SnapshotSpec& by, uint32_t now_s, uint32_t ms = 0) {
      for (uint32_t worker = 0; worker < shape().workers; ++worker) {
        workers.push_back({ConnectionTable(shape().flows, test.flows().table(worker)),
                           FragmentMemory(test.flows().fragments(worker))});
      }
      for (FlowState& worker : workers) tables.push_back(&worker.connections);
      const SnapshotView view = view_of(by);
      taken = test.flows().take_over(view, now_s * uint64_t{1000} + ms, workers);
      test.flows().note(view, now_s);  // killed before its first second is over, it says no more
    }
    std::vector<FlowState> workers;
    std::vector<ConnectionTable*> tables;
    KeptFlows::TakenOver taken;
  };

  /// What becomes of an entry for backend 1 that the process before has left.
  std::pair<uint64_t, std::string> after(const std::function<void(SnapshotSpec&)>& change, uint32_t later_s,
                                         uint32_t backend = 1) {
    Process before(*this, spec(), kNow);
    const uint64_t flow = random_();
    before.tables[0]->insert(flow, kWeb, backend, kNow);
    before.workers[1].fragments.remember(flow, {.backend_id = backend, .service_id = kWeb.id}, kNowMs);
    SnapshotSpec changed = spec();
    change(changed);
    const Process next(*this, changed, kNow + later_s);
    EXPECT_EQ(next.taken.flows + next.taken.dropped, 1U);
    EXPECT_EQ(next.tables[0]->peek(flow, kWeb, kNow + later_s).has_value(), next.taken.flows == 1);
    EXPECT_EQ(next.tables[0]->connections_of(backend), next.taken.flows);
    EXPECT_EQ(next.tables[0]->entries_of(kWeb.id), next.taken.flows);
    // A datagram's way lives as long as a flow's, but for two seconds only, and whether flows are tracked or
    // not.
    const bool tracked = changed.services[0].tracking != LINIMO_TRACKING_OFF;
    EXPECT_EQ(next.taken.datagrams, later_s > 2 ? 0 : tracked ? next.taken.flows : 1);
    EXPECT_EQ(next.workers[1].fragments.find(flow, kNowMs + 500).has_value(), next.taken.datagrams == 1);
    return {next.taken.flows, next.taken.why_empty};
  }

  std::vector<Page> pages_;
  std::mt19937_64 random_{1};
};

using Outcome = std::pair<uint64_t, std::string>;

// They are taken over by a process that wants the same, and by no other, whatever is different; it is said
// what.
TEST_F(KeptFlowsTest, OfUseForTheSameShapeOnly) {
  EXPECT_THAT(flows().why_not(shape()), IsEmpty());
  const auto why = [&](auto change) {
    KeptFlows::Shape other = shape();
    change(other);
    return flows().why_not(other);
  };
  EXPECT_EQ(why([](auto& other) { other.workers = 1; }), "they were made for 2 worker(s), now there are 1");
  EXPECT_THAT(why([](auto& other) { other.flows = 999; }), HasSubstr("1000 flows each"));
  EXPECT_THAT(why([](auto& other) { other.spread = 1; }), HasSubstr("RSS"));
  EXPECT_THAT(why([](auto& other) { other.owner = 1; }), HasSubstr("another node's"));
  EXPECT_THAT(why([](auto& other) { other.boot[0] = 'c'; }), HasSubstr("before the machine was started"));
}

// Every byte of the header that decides is watched; another version's layout, and what is cut short, are
// named.
TEST_F(KeptFlowsTest, DamagedHeaderIsRefused) {
  for (size_t at = 0; at < 88; ++at) {
    memory()[at] ^= std::byte{1};
    EXPECT_THAT(flows().why_not(shape()), testing::Not(IsEmpty())) << at;
    memory()[at] ^= std::byte{1};
  }
  EXPECT_THAT(KeptFlows(memory().first(2 << 20)).why_not(shape()), IsEmpty());
  EXPECT_THAT(KeptFlows(memory().first(memory().size() - size_t{4096} * 2)).why_not(shape()),
              HasSubstr("cut short"));
  EXPECT_THAT(KeptFlows(memory().first(4096)).why_not(shape()), testing::Not(IsEmpty()));
  for (const uint8_t layout : {1, 77}) {
    memory()[8] = std::byte{layout};
    EXPECT_EQ(flows().why_not(shape()), fmt::format("they have layout {}, this version's is 2", layout));
  }
  std::ranges::fill(memory(), std::byte{});
  EXPECT_THAT(flows().why_not(shape()), testing::Not(IsEmpty()));
}

// An entry is taken over with its counts, of either family, though the configuration was changed around it.
TEST_F(KeptFlowsTest, EntriesGoOn) {
  EXPECT_EQ(after([](auto&) {}, 1), (Outcome{1, ""}));
  EXPECT_EQ(after([](auto&) {}, 1, 2), (Outcome{1, ""}));
  EXPECT_EQ(after(
                [](SnapshotSpec& spec) {
                  std::swap(spec.pools[0], spec.pools[1]);
                  spec.services[0].pool = 1;
                },
                1),
            (Outcome{1, ""}));
}

// Its age goes on over the time in which there was no process.
TEST_F(KeptFlowsTest, EntriesExpireMeanwhile) {
  const auto shorter = [](SnapshotSpec& spec) { spec.services[0].idle_timeout_s = 60; };
  EXPECT_EQ(after(shorter, 60), (Outcome{1, ""}));
  EXPECT_EQ(after(shorter, 61), (Outcome{0, ""}));
}

// Stamps come round: after a long absence nobody could tell old from new. A clock that goes back tells
// nothing.
TEST_F(KeptFlowsTest, ClockThatTellsNothing) {
  EXPECT_EQ(after([](auto&) {}, 400).first, 1U);
  EXPECT_EQ(after([](auto&) {}, 401), (Outcome{0, "nobody has used them for 401 s"}));
  EXPECT_EQ(after([](auto&) {}, -1U), (Outcome{0, "the clock has gone back"}));
}

// Another seed, and entries lie elsewhere. A process that never forwarded has said nothing of a seed.
TEST_F(KeptFlowsTest, AnotherSeed) {
  EXPECT_EQ(after([](SnapshotSpec& spec) { spec.hash_seed = 43; }, 1),
            (Outcome{0, "the hash seed is another"}));
  std::ranges::fill(memory(), std::byte{});
  flows().begin(shape());
  EXPECT_EQ(Process(*this, spec(), kNow).taken.why_empty, "nothing was forwarded by them");
}

// An id that stands for another backend or service now, or for none, leads nobody there.
TEST_F(KeptFlowsTest, IdsThatMeanSomethingElse) {
  const std::map<std::string, std::function<void(SnapshotSpec&)>> changes = {
      {"the id is another address's",
       [](SnapshotSpec& spec) {
         spec.pools[0] = pool("web", {{address("10.0.1.9"), 1}, {address("10.0.1.1"), 2}});
       }},
      {"the id is another pool's",
       [](SnapshotSpec& spec) {
         spec.services[0].pool = 1, spec.pools[1] = pool("other", {{address("10.0.1.1"), 1}}),
         spec.pools[0] = pool("web", {{address("10.0.1.2"), 2}});
       }},
      {"the backend is gone",
       [](SnapshotSpec& spec) {
         spec.pools[0] = pool("web", {{address("2001:db8:1::2"), 2}});
       }},
      {"the service has another pool", [](SnapshotSpec& spec) { spec.services[0].pool = 1; }},
      {"the service's id is another's", [](SnapshotSpec& spec) { spec.services[0].name = "mail"; }},
      {"the service has another id", [](SnapshotSpec& spec) { spec.services[0].id = 2; }},
      {"the service tracks nothing",
       [](SnapshotSpec& spec) { spec.services[0].tracking = LINIMO_TRACKING_OFF; }},
  };
  for (const auto& [what, change] : changes) EXPECT_EQ(after(change, 1), (Outcome{0, ""})) << what;
}

// A process that died while it took them over has left a mark: the next one begins with nothing.
TEST_F(KeptFlowsTest, WhatAProcessDiedOf) {
  Process before(*this, spec(), kNow);
  before.tables[0]->insert(random_(), kWeb, 1, kNow);
  const std::vector<Page> left = pages_;
  const Process next(*this, spec(), kNow + 1);
  EXPECT_THAT(flows().why_not(shape()), IsEmpty()) << "it has come to its end";
  // The mark is the word behind the time that is noted.
  pages_ = left;
  const uint32_t mark = 1;
  std::memcpy(memory().data() + 100, &mark, sizeof mark);
  EXPECT_THAT(flows().why_not(shape()), HasSubstr("died"));
}

// Whatever the entries are, torn or made up: what is left are sound entries of live ids, none of them twice
// in a bucket, and counted; and the table goes on working.
TEST_F(KeptFlowsTest, HostileContent) {
  for (int round = 0; round < 80; ++round) {
    std::ranges::fill(memory(), std::byte{});
    flows().begin(shape());
    {
      Process before(*this, spec(), kNow);
      for (int i = 0; i < 500; ++i) before.tables[i % 2]->insert(random_(), kWeb, 1 + i % 2, kNow);
    }
    for (uint32_t worker = 0; worker < 2; ++worker) {
      const auto bytes = flows().table(worker);
      for (int i = 0; i < 300; ++i) {
        const size_t at = random_() % (bytes.size() / 8) * 8;
        uint64_t word;
        std::memcpy(&word, bytes.data() + at, 8);
        switch (round % 4) {
          case 0:
            word = random_();
            break;
          case 1:
            word ^= 1ULL << random_() % 64;
            break;
          case 2:
            std::memcpy(&word, bytes.data() + at / 64 * 64, 8);
            break;  // the bucket's first again
          default:
            word &= 0xffffffff00000000ULL >> random_() % 32;
            break;
        }
        std::memcpy(bytes.data() + at, &word, 8);
      }
    }
    const Process next(*this, spec(), kNow + 1);
    ASSERT_EQ(next.taken.why_empty, "");
    for (uint32_t worker = 0; worker < 2; ++worker) {
      ConnectionTable& table = *next.tables[worker];
      std::map<uint64_t, int> of_backend;
      uint64_t count = 0;
      for (uint64_t bucket = 0; bucket < table.buckets(); ++bucket) {
        std::vector<uint64_t> seen;
        for (uint64_t i = 0; i < 8; ++i) {
          const uint64_t word = table.words()[bucket * 8 + i];
          if (word == 0) continue;
          ++count;
          seen.push_back(word >> LINIMO_FLOW_SERVICE_SHIFT);
          ASSERT_NE(linimo_flow_state(word), uint32_t{LINIMO_FLOW_EMPTY});
          ASSERT_EQ(linimo_flow_service(word), kWeb.id);
          ASSERT_THAT(linimo_flow_backend(word), testing::AnyOf(1U, 2U));
          ASSERT_LE(linimo_flow_age(word, kNow + 1), 900U);
          of_backend[linimo_flow_backend(word)] += linimo_flow_is_open(word);
        }
        std::ranges::sort(seen);
        ASSERT_EQ(std::ranges::adjacent_find(seen), seen.end());
      }
      ASSERT_EQ(table.entries(), count);
      ASSERT_EQ(table.entries_of(kWeb.id), count);
      for (const uint32_t id : {1U, 2U}) ASSERT_EQ(table.connections_of(id), of_backend[id]);
      for (int i = 0; i < 100; ++i) table.insert(random_(), kWeb, 1, kNow + 2);
    }
  }
}

// Where the first fragments of datagrams went is known for two seconds, over any end of the process in them.
TEST_F(KeptFlowsTest, FragmentsGoOn) {
  const auto found_after = [&](uint32_t ms) {
    std::ranges::fill(memory(), std::byte{});
    flows().begin(shape());
    Process before(*this, spec(), kNow);
    const uint64_t datagram = random_();
    before.workers[0].fragments.remember(datagram, {.backend_id = 2, .service_id = kWeb.id}, kNowMs);
    const Process next(*this, spec(), kNow, ms);
    const auto choice = next.workers[0].fragments.find(datagram, kNowMs + ms);
    EXPECT_EQ(choice.has_value(), next.taken.datagrams == 1);
    return choice ? choice->backend_id : 0;
  };
  EXPECT_EQ(found_after(0), 2U);
  EXPECT_EQ(found_after(1900), 2U);
  EXPECT_EQ(found_after(2200), 0U);
  EXPECT_EQ(found_after(20'000), 0U);
}

// Of what fragment memory may hold, torn or made up, sound words of live ids are left, each datagram's once.
TEST_F(KeptFlowsTest, HostileFragments) {
  for (int round = 0; round < 40; ++round) {
    std::ranges::fill(memory(), std::byte{});
    flows().begin(shape());
    Process(*this, spec(), kNow);
    const auto bytes = flows().fragments(round % 2);
    std::vector<uint64_t> words(bytes.size() / 8);
    for (uint64_t& word : words) {
      const auto id = static_cast<uint32_t>(random_());
      word = round < 20 ? random_()
                        : linimo_fragment_word(random_() % 8 << 33, id % 4, id / 4 % 3, kNowMs * 1'000'000);
    }
    std::memcpy(bytes.data(), words.data(), bytes.size());
    const Process next(*this, spec(), kNow, 300);
    std::memcpy(words.data(), bytes.data(), bytes.size());
    uint64_t left = 0;
    for (size_t bucket = 0; bucket < words.size(); bucket += LINIMO_FRAGMENT_PLACES) {
      std::vector<uint64_t> seen;
      for (size_t i = 0; i < LINIMO_FRAGMENT_PLACES; ++i) {
        const uint64_t word = words[bucket + i];
        if (word == 0) continue;
        ++left;
        seen.push_back(word >> LINIMO_FRAGMENT_FINGERPRINT_SHIFT);
        ASSERT_EQ(linimo_fragment_service(word), kWeb.id);
        ASSERT_THAT(linimo_fragment_backend(word), testing::AnyOf(1U, 2U));
        ASSERT_FALSE(linimo_fragment_is_over(word, (kNowMs + 300) * 1'000'000));
      }
      std::ranges::sort(seen);
      ASSERT_EQ(std::ranges::adjacent_find(seen), seen.end());
    }
    ASSERT_EQ(next.taken.datagrams, left);
    ASSERT_TRUE(round < 20 || left > 0);
  }
}

// The same of the whole memory: each decision holds, or the tables begin empty; nothing is read beyond it.
TEST_F(KeptFlowsTest, HostileMemory) {
  {
    Process before(*this, spec(), kNow);
    for (int i = 0; i < 500; ++i) before.tables[i % 2]->insert(random_(), kWeb, 1 + i % 2, kNow);
  }
  const std::vector<Page> sound = pages_;
  for (int round = 0; round < 100; ++round) {
    pages_ = sound;
    for (int i = 0; i < 20; ++i) {
      const size_t within = round % 2 == 0 ? 128 : memory().size();
      memory()[random_() % within] = static_cast<std::byte>(random_());
    }
    if (!flows().why_not(shape()).empty()) continue;
    const Process next(*this, spec(), kNow + 1);
    ASSERT_LE(next.taken.flows, 520U);
  }
}

}  // namespace
}  // namespace linimo
