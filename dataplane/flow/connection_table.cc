#include "dataplane/flow/connection_table.h"

#include <algorithm>
#include <bit>
#include <new>

namespace linimo {
namespace {

constexpr uint64_t kLineBytes = 64;
constexpr int kRoomEnough = 2;  // places of eight: with no more the emptier of the two buckets is taken

void store(uint64_t* entry, uint64_t word) {
  __atomic_store_n(entry, word, __ATOMIC_RELAXED);
}

uint64_t bucket_count(uint64_t flows) {
  const uint64_t entries = std::max<uint64_t>(flows + flows / 2, 64);  // two thirds full
  return (entries + 7) / 8;
}

}  // namespace

uint64_t ConnectionTable::bytes_for(uint64_t flows) {
  return bucket_count(flows) * kLineBytes;
}

ConnectionTable::ConnectionTable(uint64_t flows, std::span<std::byte> memory)
    : words_(reinterpret_cast<uint64_t*>(memory.data())),
      buckets_(bucket_count(flows)),
      per_service_(LINIMO_MAX_SERVICES),
      connections_(static_cast<uint32_t*>(std::calloc(LINIMO_MAX_BACKEND_IDS, sizeof(uint32_t)))) {
  if (!connections_) throw std::bad_alloc();
}

ConnectionTable::Entry ConnectionTable::find(uint64_t hash, const Service& service, uint32_t now_s) const {
  const Wanted at = wanted(hash, service.id);
  Entry entry = find_in(at.first, at.flow);
  if (entry == nullptr) entry = find_in(at.second, at.flow);
  return entry == nullptr || expired(*entry, service.idle_timeout_s, now_s) ? nullptr : entry;
}

std::optional<uint32_t> ConnectionTable::peek(uint64_t hash, const Service& service, uint32_t now_s) const {
  const Wanted at = wanted(hash, service.id);
  for (const uint64_t index : {at.first, at.second}) {
    for (const uint64_t* word = bucket(index); word != bucket(index) + kBucketEntries; ++word) {
      const uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);
      if (((seen ^ at.flow) & kFlowMask) != 0 || state_of(seen) == kEmpty) continue;
      if (expired(seen, service.idle_timeout_s, now_s)) return std::nullopt;
      return static_cast<uint32_t>(seen >> kBackendShift & kBackendMask);
    }
  }
  return std::nullopt;
}

void ConnectionTable::touch(Entry entry, Packet packet, uint32_t now_s) {
  const uint64_t word = *entry;
  const uint32_t age = age_of(word, now_s);
  const State state = state_of(word);
  State next = state;
  if (packet == Packet::kFin) {
    next = kClosing;
    if (state != kClosing) --connections_[backend_id(entry)];
  } else if (packet == Packet::kSyn && state == kClosing) {
    next = kEmbryonic;
    ++connections_[backend_id(entry)];
  } else if (state == kEmbryonic && age != 0) {
    next = kEstablished;
  }
  if (age == 0 && next == state) return;
  const uint64_t stamp = now_s & kStampMask;
  store(entry, (word & ~(kStampMask << kStampShift | kStateMask)) | stamp << kStampShift | next);
}

void ConnectionTable::redirect(Entry entry, uint32_t to) {
  if (state_of(*entry) != kClosing) {
    --connections_[backend_id(entry)];
    ++connections_[to];
  }
  store(entry, (*entry & ~(kBackendMask << kBackendShift)) | uint64_t{to} << kBackendShift);
}

ConnectionTable::Entry ConnectionTable::place_for(const Wanted& at, const Service& service, uint32_t now_s) {
  const uint32_t free_first = empty_in(at.first);
  if (std::popcount(free_first) > kRoomEnough) return bucket(at.first) + std::countr_zero(free_first);
  const uint32_t free_second = empty_in(at.second);
  if (std::popcount(free_second) > std::popcount(free_first))
    return bucket(at.second) + std::countr_zero(free_second);
  if (free_first != 0) return bucket(at.first) + std::countr_zero(free_first);

  // Both are full: the best victim, by (kind, embryonic first, oldest first), of those that may go.
  const uint32_t least_age = std::min(kYoung_s, service.idle_timeout_s + 1);
  Entry best = nullptr;
  uint64_t best_rank = ~uint64_t{0};
  for (const uint64_t index : {at.first, at.second}) {
    for (uint32_t old = untouched_in(index, least_age, now_s); old != 0; old &= old - 1) {
      const Entry entry = bucket(index) + std::countr_zero(old);
      const uint64_t rank = rank_of(*entry, service, now_s);
      if (rank < best_rank) {
        best_rank = rank;
        best = entry;
      }
    }
  }
  if (best == nullptr || gives_way_to_a_flood(*best, at, service, now_s)) return nullptr;
  clear(best);
  return best;
}

// How well an entry's place suits a new flow of the service: the less the better; all ones: it may not go.
uint64_t ConnectionTable::rank_of(uint64_t word, const Service& service, uint32_t now_s) const {
  const uint32_t age = age_of(word, now_s);
  const uint32_t owner = service_of(word);
  uint64_t kind;
  if (owner == service.id && expired(word, service.idle_timeout_s, now_s)) {
    kind = 0;
  } else if (age < kYoung_s) {
    return ~uint64_t{0};
  } else if (owner == service.id) {
    kind = 1;
  } else {
    const uint32_t holding = services_holding_ + (per_service_[service.id] == 0);
    if (per_service_[owner] * holding <= capacity()) return ~uint64_t{0};  // not above its share
    kind = 2;
  }
  const bool embryonic = state_of(word) == kEmbryonic;
  return kind << 32 | uint64_t{!embryonic} << 16 | (kStampMask - age);
}

// Embryonic entries too young to go are a flood's: an established flow does not make room for that.
bool ConnectionTable::gives_way_to_a_flood(uint64_t word, const Wanted& at, const Service& service,
                                           uint32_t now_s) const {
  if (state_of(word) == kEmbryonic || service_of(word) != service.id ||
      expired(word, service.idle_timeout_s, now_s))
    return false;
  const auto embryonic = [&](uint64_t other) {
    return service_of(other) == service.id && state_of(other) == kEmbryonic;
  };
  return std::any_of(bucket(at.first), bucket(at.first) + kBucketEntries, embryonic) ||
         std::any_of(bucket(at.second), bucket(at.second) + kBucketEntries, embryonic);
}

bool ConnectionTable::insert(uint64_t hash, const Service& service, uint32_t backend_id, uint32_t now_s) {
  const Wanted at = wanted(hash, service.id);
  // An expired entry of this very flow gives its place up first: there must never be two.
  for (const uint64_t index : {at.first, at.second}) {
    if (Entry old = find_in(index, at.flow)) clear(old);
  }
  const Entry entry = place_for(at, service, now_s);
  if (entry == nullptr) return false;
  store(entry,
        at.flow | uint64_t{backend_id} << kBackendShift | (now_s & kStampMask) << kStampShift | kEmbryonic);
  ++entries_;
  ++connections_[backend_id];
  if (per_service_[service.id]++ == 0) ++services_holding_;
  return true;
}

void ConnectionTable::clear(Entry entry) {
  const uint32_t service = service_of(*entry);
  if (state_of(*entry) != kClosing) --connections_[backend_id(entry)];
  store(entry, 0);
  --entries_;
  if (--per_service_[service] == 0) --services_holding_;
}

void ConnectionTable::sweep(uint64_t buckets, std::span<const SweptService> services, uint32_t now_s,
                            FlowCensus& census) {
  for (uint64_t i = 0; i < buckets; ++i) {
    uint64_t* words = bucket(sweep_next_);
    for (uint64_t* word = words; word != words + kBucketEntries; ++word) {
      if (state_of(*word) == kEmpty) continue;
      const SweptService service = services[service_of(*word)];
      if (service.idle_timeout == 0 || expired(*word, service.idle_timeout, now_s)) {
        clear(word);
      } else {
        census.saw(backend_id(word), service.tcp);
      }
    }
    if (++sweep_next_ < buckets_) continue;
    sweep_next_ = 0;
    census.end_round();
  }
}

}  // namespace linimo
