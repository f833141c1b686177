#include "dataplane/flow/connection_table.h"

#include <algorithm>
#include <bit>
#include <new>

namespace linimo {
namespace {

constexpr uint64_t kLineBytes = 64;
constexpr uint32_t kNearlyFull = 6;  // of eight: from here on the emptier of the two buckets is taken

void store(uint64_t* entry, uint64_t word) {
  __atomic_store_n(entry, word, __ATOMIC_RELAXED);
}

uint64_t bucket_count(uint64_t flows) {
  const uint64_t entries = std::max<uint64_t>(flows + flows / 2, 64);  // two thirds full
  return std::bit_ceil((entries + 7) / 8);
}

}  // namespace

uint64_t ConnectionTable::bytes_for(uint64_t flows) {
  return bucket_count(flows) * kLineBytes;
}

ConnectionTable::ConnectionTable(uint64_t flows, std::span<std::byte> memory)
    : words_(reinterpret_cast<uint64_t*>(memory.data())),
      bucket_mask_(bucket_count(flows) - 1),
      bucket_shift_(static_cast<uint32_t>(64 - std::countr_one(bucket_mask_))),
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

uint32_t ConnectionTable::used(uint64_t index) const {
  const uint64_t* words = bucket(index);
  return static_cast<uint32_t>(
      std::count_if(words, words + kBucketEntries, [](uint64_t word) { return state_of(word) != kEmpty; }));
}

ConnectionTable::Entry ConnectionTable::place_for(const Wanted& at, const Service& service, uint32_t now_s) {
  const uint32_t used_first = used(at.first);
  uint32_t used_second = kBucketEntries;
  uint64_t target = at.first;
  if (used_first >= kNearlyFull) {
    used_second = used(at.second);
    if (used_second < used_first) target = at.second;
  }
  if (std::min(used_first, used_second) < kBucketEntries) {
    uint64_t* words = bucket(target);
    return std::find_if(words, words + kBucketEntries,
                        [](uint64_t word) { return state_of(word) == kEmpty; });
  }

  // Both are full: the best victim, by (kind, embryonic first, oldest first).
  const uint64_t share =
      capacity() / std::max<uint32_t>(services_holding_ + (per_service_[service.id] == 0), 1);
  Entry best = nullptr;
  uint64_t best_rank = ~uint64_t{0};
  bool own_embryonic = false;
  for (const uint64_t index : {at.first, at.second}) {
    for (uint64_t* word = bucket(index); word != bucket(index) + kBucketEntries; ++word) {
      const uint32_t owner = service_of(*word);
      const bool own = owner == service.id;
      const uint32_t age = age_of(*word, now_s);
      const bool embryonic = state_of(*word) == kEmbryonic;
      own_embryonic |= own && embryonic;
      uint64_t kind;
      if (own && expired(*word, service.idle_timeout_s, now_s)) {
        kind = 0;
      } else if (age < kYoung_s) {
        continue;
      } else if (own) {
        kind = 1;
      } else if (per_service_[owner] > share) {
        kind = 2;
      } else {
        continue;
      }
      const uint64_t rank = kind << 32 | uint64_t{!embryonic} << 16 | (kStampMask - age);
      if (rank < best_rank) {
        best_rank = rank;
        best = word;
      }
    }
  }
  // Embryonic entries too young to go are a flood's: an established flow does not make room for that.
  if (best != nullptr && own_embryonic && state_of(*best) != kEmbryonic && service_of(*best) == service.id &&
      !expired(*best, service.idle_timeout_s, now_s)) {
    return nullptr;
  }
  if (best != nullptr) clear(best);
  return best;
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
    sweep_next_ = (sweep_next_ + 1) & bucket_mask_;
    if (sweep_next_ == 0) census.end_round();
  }
}

}  // namespace linimo
