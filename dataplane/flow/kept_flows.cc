#include "dataplane/flow/kept_flows.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>

#include <fmt/format.h>

#include "maglev/hash.h"

namespace linimo {
namespace {

constexpr uint64_t kMagic = 0x574c46204f4d4e4cULL;  // "LNMO FLW" read as bytes

// Another number whenever entries, their places or what is below have another layout or meaning.
constexpr uint32_t kLayout = 2;
static_assert(LINIMO_FLOW_BUCKET == 8 && LINIMO_FLOW_STAMP_SHIFT == 2 && LINIMO_FLOW_STAMP_MASK == 0xfff &&
                  LINIMO_FLOW_BACKEND_SHIFT == 14 && LINIMO_FLOW_SERVICE_SHIFT == 32 &&
                  LINIMO_FLOW_FINGERPRINT_SHIFT == 44 && LINIMO_HASH_XXH3_64 == 1 &&
                  LINIMO_FRAGMENT_UNIT_SHIFT == 26 && LINIMO_FRAGMENT_STAMPS == 0x1fff &&
                  LINIMO_FRAGMENT_WRITTEN == 0x2000 && LINIMO_FRAGMENT_SERVICE_SHIFT == 14 &&
                  LINIMO_FRAGMENT_BACKEND_SHIFT == 26 && LINIMO_FRAGMENT_FINGERPRINT_SHIFT == 44 &&
                  FragmentMemory::kBytes == 131072,
              "raise kLayout");

// Stamps come round after 4096 s, and the longest timeout is 3600 s: for no longer than this may nobody
// sweep. (Those of fragments, which nobody sweeps, after 549 s.)
constexpr uint32_t kLongestAbsence_s = 400;

uint64_t digest_of(const void* bytes, size_t size) {
  return XXH3_64bits(bytes, size);
}

/// What an id stands for; never 0, which stands for nothing.
uint32_t meaning_of(std::string_view name, const linimo_addr* address = nullptr) {
  struct {
    char name[LINIMO_NAME_SIZE] = {};
    linimo_addr address{};
  } key;
  name.copy(key.name, sizeof key.name);
  if (address != nullptr) key.address = *address;
  return static_cast<uint32_t>(digest_of(&key, sizeof key)) | 1U;
}

std::string_view name_of(const char (&name)[LINIMO_NAME_SIZE]) {
  return {name, strnlen(name, LINIMO_NAME_SIZE)};
}

uint64_t digest_of_seed(const SnapshotView& view) {
  return digest_of(&view.header().hash_seed, sizeof view.header().hash_seed) | 1U;
}

void store(uint32_t& word, uint32_t value) {
  __atomic_store_n(&word, value, __ATOMIC_RELEASE);
}

}  // namespace

struct KeptFlows::Header {
  uint64_t magic;
  uint32_t layout;
  uint32_t workers;
  uint64_t flows;
  uint64_t spread;
  uint64_t owner;
  BootId boot;
  uint64_t checksum;     // XXH3-64 of all that is above
  uint64_t seed;         // digest of the seed by which flows find their places; 0: none had a place yet
  uint32_t noted_s;      // when a process last said that it uses the tables
  uint32_t taking_over;  // not 0: a process has begun to
};

struct KeptFlows::Meanings {
  uint32_t backends[LINIMO_MAX_BACKEND_IDS];
  uint32_t services[LINIMO_MAX_SERVICES];
};

namespace {

constexpr size_t kMeaningsAt = 4096;
constexpr size_t kTablesAt = kMeaningsAt + (LINIMO_MAX_BACKEND_IDS + LINIMO_MAX_SERVICES) * sizeof(uint32_t);
static_assert(kTablesAt % 64 == 0);

/// What an entry must agree with.
struct Rightful {
  static constexpr uint32_t kNone = ~uint32_t{0};

  std::vector<uint32_t> idle_timeouts = std::vector<uint32_t>(LINIMO_MAX_SERVICES);
  std::vector<bool> tracks = std::vector<bool>(LINIMO_MAX_SERVICES);
  std::vector<uint32_t> pool_of_service = std::vector<uint32_t>(LINIMO_MAX_SERVICES, kNone);
  std::vector<uint32_t> pool_of_backend = std::vector<uint32_t>(LINIMO_MAX_BACKEND_IDS, kNone);

  bool holds(const FragmentMemory::Choice& choice) const {
    const uint32_t pool = pool_of_service[choice.service_id];
    return pool != kNone && pool_of_backend[choice.backend_id] == pool;
  }

  bool holds(uint64_t word, uint32_t now_s) const {
    const uint32_t service = linimo_flow_service(word);
    return linimo_flow_state(word) != LINIMO_FLOW_EMPTY && tracks[service] &&
           holds({.backend_id = linimo_flow_backend(word), .service_id = service}) &&
           !linimo_flow_is_over(word, idle_timeouts[service], now_s, LINIMO_SECONDS);
  }
};

}  // namespace

static_assert(sizeof(KeptFlows::BootId) == 40);

KeptFlows::Header& KeptFlows::header() const {
  static_assert(sizeof(Header) <= kMeaningsAt && offsetof(Header, checksum) == 80);
  return *reinterpret_cast<Header*>(memory_.data());
}

KeptFlows::Meanings& KeptFlows::meanings() const {
  static_assert(kMeaningsAt + sizeof(Meanings) == kTablesAt);
  return *reinterpret_cast<Meanings*>(memory_.data() + kMeaningsAt);
}

uint64_t KeptFlows::bytes_for(const Shape& shape) {
  return kTablesAt + shape.workers * (ConnectionTable::bytes_for(shape.flows) + FragmentMemory::kBytes);
}

std::span<std::byte> KeptFlows::table(uint32_t worker) const {
  const uint64_t bytes = ConnectionTable::bytes_for(header().flows);
  return memory_.subspan(kTablesAt + worker * bytes, bytes);
}

std::span<std::byte> KeptFlows::fragments(uint32_t worker) const {
  const uint64_t tables = header().workers * ConnectionTable::bytes_for(header().flows);
  return memory_.subspan(kTablesAt + tables + worker * FragmentMemory::kBytes, FragmentMemory::kBytes);
}

std::string KeptFlows::why_not(const Shape& shape) const {
  const Header& found = header();
  if (memory_.size() < kTablesAt || found.magic != kMagic) return "what was kept is not theirs";
  if (found.layout != kLayout)
    return fmt::format("they have layout {}, this version's is {}", found.layout, kLayout);
  if (found.checksum != digest_of(&found, offsetof(Header, checksum))) return "what was kept is damaged";
  if (found.boot != shape.boot) return "they are from before the machine was started";
  if (found.owner != shape.owner) return "they are another node's";
  if (found.workers != shape.workers)
    return fmt::format("they were made for {} worker(s), now there are {}", found.workers, shape.workers);
  if (found.flows != shape.flows)
    return fmt::format("they were made for {} flows each, now there is to be room for {}", found.flows,
                       shape.flows);
  if (found.spread != shape.spread)
    return "the interfaces, their queues or their RSS keys are others, so flows come to other workers";
  if (memory_.size() < bytes_for(shape)) return "what was kept is cut short";
  if (found.taking_over != 0) return "the last process that took them over died of it";
  return {};
}

void KeptFlows::begin(const Shape& shape) {
  Header& made = header();
  made = {};
  made.layout = kLayout;
  made.workers = shape.workers;
  made.flows = shape.flows;
  made.spread = shape.spread;
  made.owner = shape.owner;
  made.boot = shape.boot;
  made.magic = kMagic;
  made.checksum = digest_of(&made, offsetof(Header, checksum));
}

std::string KeptFlows::why_outdated(const SnapshotView& view, uint32_t now_s) const {
  const Header& found = header();
  if (found.seed == 0) return "nothing was forwarded by them";
  if (found.seed != digest_of_seed(view)) return "the hash seed is another";
  if (now_s < found.noted_s) return "the clock has gone back";
  if (now_s - found.noted_s > kLongestAbsence_s)
    return fmt::format("nobody has used them for {} s", now_s - found.noted_s);
  return {};
}

KeptFlows::TakenOver KeptFlows::take_over(const SnapshotView& view, uint64_t now_ms,
                                          std::span<FlowState> workers) {
  store(header().taking_over, 1);
  const auto now_s = static_cast<uint32_t>(now_ms / 1000);
  TakenOver taken{.flows = 0, .dropped = 0, .datagrams = 0, .why_empty = why_outdated(view, now_s)};
  Rightful rightful;
  if (taken.why_empty.empty()) {
    for (const linimo_service& service : view.services()) {
      if (meanings().services[service.id] != meaning_of(name_of(service.name))) continue;
      rightful.tracks[service.id] = service.tracking != LINIMO_TRACKING_OFF;
      rightful.idle_timeouts[service.id] = service.idle_timeout_s;
      rightful.pool_of_service[service.id] = service.pool;
    }
    for (uint32_t p = 0; p < view.pools().size(); ++p) {
      for (const linimo_backend& backend : view.backends(view.pools()[p])) {
        if (meanings().backends[backend.id] == meaning_of(name_of(view.pools()[p].name), &backend.address))
          rightful.pool_of_backend[backend.id] = p;
      }
    }
  }
  for (auto& [connections, fragments] : workers) {
    taken.dropped += connections.take_over([&](uint64_t word) { return rightful.holds(word, now_s); });
    taken.flows += connections.entries();
    taken.datagrams +=
        fragments.take_over(now_ms, [&](const auto& choice) { return rightful.holds(choice); });
  }
  store(header().taking_over, 0);
  return taken;
}

void KeptFlows::note(const SnapshotView& view, uint32_t now_s) {
  note(now_s);  // before the seed, which says that there is something: the process may end at any moment
  for (const linimo_service& service : view.services())
    store(meanings().services[service.id], meaning_of(name_of(service.name)));
  for (const linimo_pool& pool : view.pools()) {
    for (const linimo_backend& backend : view.backends(pool))
      store(meanings().backends[backend.id], meaning_of(name_of(pool.name), &backend.address));
  }
  __atomic_store_n(&header().seed, digest_of_seed(view), __ATOMIC_RELEASE);
}

void KeptFlows::note(uint32_t now_s) {
  store(header().noted_s, now_s);
}

}  // namespace linimo
