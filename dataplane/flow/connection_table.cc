#include "dataplane/flow/connection_table.h"

#include <algorithm>
#include <bit>
#include <new>

namespace linimo {
namespace {

constexpr uint64_t kLineBytes = 64;

void store(uint64_t* entry, uint64_t word) {
  __atomic_store_n(entry, word, __ATOMIC_RELAXED);
}

}  // namespace

uint64_t ConnectionTable::bytes_for(uint64_t flows) {
  return linimo_flow_buckets(flows) * kLineBytes;
}

ConnectionTable::ConnectionTable(uint64_t flows, std::span<std::byte> memory)
    : words_(reinterpret_cast<uint64_t*>(memory.data())),
      buckets_(linimo_flow_buckets(flows)),
      per_service_(LINIMO_MAX_SERVICES),
      connections_(static_cast<uint32_t*>(std::calloc(LINIMO_MAX_BACKEND_IDS, sizeof(uint32_t)))) {
  if (!connections_) throw std::bad_alloc();
}

ConnectionTable::Entry ConnectionTable::find(uint64_t hash, const Service& service, uint32_t now_s) const {
  const Places at = places_of(hash, service.id);
  Entry entry = find_in(at.first, at.flow);
  if (entry == nullptr) entry = find_in(at.second, at.flow);
  return entry == nullptr || is_expired(*entry, service, now_s) ? nullptr : entry;
}

uint64_t ConnectionTable::peek_word(uint64_t hash, const Service& service, uint32_t now_s) const {
  const Places at = places_of(hash, service.id);
  for (const uint64_t index : {at.first, at.second}) {
    for (const uint64_t* word = bucket(index); word != bucket(index) + LINIMO_FLOW_BUCKET; ++word) {
      const uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);
      if (!linimo_flow_matches(seen, at.flow)) continue;
      return linimo_flow_is_over_seen(seen, service.idle_timeout_s, now_s, LINIMO_SECONDS) != 0 ? 0 : seen;
    }
  }
  return 0;
}

std::optional<uint32_t> ConnectionTable::peek(uint64_t hash, const Service& service, uint32_t now_s) const {
  const Places at = places_of(hash, service.id);
  for (const uint64_t index : {at.first, at.second}) {
    for (const uint64_t* word = bucket(index); word != bucket(index) + LINIMO_FLOW_BUCKET; ++word) {
      const uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);
      if (!linimo_flow_matches(seen, at.flow)) continue;
      if (is_expired(seen, service, now_s)) return std::nullopt;
      return linimo_flow_backend(seen);
    }
  }
  return std::nullopt;
}

/// Another word in an entry's place, and what that changes in the number of open connections.
void ConnectionTable::replace(Entry entry, uint64_t word) {
  if (linimo_flow_leaves(*entry, word)) --connections_[linimo_flow_backend(*entry)];
  if (linimo_flow_joins(*entry, word)) ++connections_[linimo_flow_backend(word)];
  store(entry, word);
}

void ConnectionTable::touch(Entry entry, bool fin, bool begins, uint32_t now_s) {
  const uint64_t next = linimo_flow_touched(*entry, fin, begins, now_s);
  if (next != *entry) replace(entry, next);
}

void ConnectionTable::redirect(Entry entry, uint32_t to) {
  replace(entry, linimo_flow_with_backend(*entry, to));
}

ConnectionTable::Entry ConnectionTable::place_for(const Places& at, const Service& service,
                                                  uint32_t now_s) const {
  const uint32_t free_first = empty_in(at.first);
  if (linimo_flow_first_suffices(LINIMO_FLOW_BUCKET - static_cast<uint32_t>(std::popcount(free_first))))
    return bucket(at.first) + std::countr_zero(free_first);
  const uint32_t free_second = empty_in(at.second);
  if (std::popcount(free_second) > std::popcount(free_first))
    return bucket(at.second) + std::countr_zero(free_second);
  if (free_first != 0) return bucket(at.first) + std::countr_zero(free_first);

  // Both are full: the best victim, by (kind, embryonic first, oldest first), of those that may go.
  const uint32_t least_age = std::min(LINIMO_FLOW_YOUNG_S, service.idle_timeout_s + 1);
  Entry best = nullptr;
  uint64_t best_rank = LINIMO_FLOW_RANK_NONE;
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
  if (best == nullptr || (linimo_flow_withstands_flood(best_rank) && holds_embryonic(at, service.id)))
    return nullptr;
  return best;
}

uint64_t ConnectionTable::rank_of(uint64_t word, const Service& service, uint32_t now_s) const {
  const linimo_flow_victim victim =
      linimo_flow_victim_of(word, service.id, service.idle_timeout_s, now_s, LINIMO_SECONDS);
  if (victim == LINIMO_FLOW_VICTIM_OTHERS &&
      !linimo_flow_is_above_share(per_service_[linimo_flow_service(word)], services_holding_,
                                  per_service_[service.id], capacity()))
    return LINIMO_FLOW_RANK_NONE;
  return linimo_flow_rank(word, victim, now_s);
}

bool ConnectionTable::holds_embryonic(const Places& at, uint32_t service_id) const {
  const auto embryonic = [&](uint64_t other) {
    return linimo_flow_service(other) == service_id && linimo_flow_state(other) == LINIMO_FLOW_EMBRYONIC;
  };
  return std::any_of(bucket(at.first), bucket(at.first) + LINIMO_FLOW_BUCKET, embryonic) ||
         std::any_of(bucket(at.second), bucket(at.second) + LINIMO_FLOW_BUCKET, embryonic);
}

bool ConnectionTable::insert(uint64_t hash, const Service& service, uint32_t backend_id, uint32_t now_s) {
  const Places at = places_of(hash, service.id);
  // An expired entry of this very flow gives its place up first: there must never be two.
  for (const uint64_t index : {at.first, at.second}) {
    if (Entry old = find_in(index, at.flow)) clear(old);
  }
  const Entry entry = place_for(at, service, now_s);
  if (entry == nullptr) return false;
  if (linimo_flow_state(*entry) != LINIMO_FLOW_EMPTY) clear(entry);
  replace(entry, linimo_flow_made(at.flow, backend_id, now_s));
  ++entries_;
  if (per_service_[service.id]++ == 0) ++services_holding_;
  return true;
}

bool ConnectionTable::has_room(uint64_t hash, const Service& service, uint32_t now_s) const {
  const Places at = places_of(hash, service.id);
  // An expired entry of the flow itself would give its place up.
  return find_in(at.first, at.flow) != nullptr || find_in(at.second, at.flow) != nullptr ||
         place_for(at, service, now_s) != nullptr;
}

void ConnectionTable::clear(Entry entry) {
  const uint32_t service = linimo_flow_service(*entry);
  replace(entry, 0);
  --entries_;
  if (--per_service_[service] == 0) --services_holding_;
}

bool ConnectionTable::remove(uint64_t index, uint64_t seen) {
  if (index >= capacity() || linimo_flow_is_same(words_[index], seen) == 0) return false;
  clear(words_ + index);
  return true;
}

void ConnectionTable::sweep(uint64_t buckets, std::span<const SweptService> services, uint32_t now_s,
                            FlowCensus& census) {
  for (uint64_t i = 0; i < buckets; ++i) {
    uint64_t* words = bucket(sweep_next_);
    for (uint64_t* word = words; word != words + LINIMO_FLOW_BUCKET; ++word) {
      if (linimo_flow_state(*word) == LINIMO_FLOW_EMPTY) continue;
      const SweptService service = services[linimo_flow_service(*word)];
      if (linimo_flow_is_over(*word, service.idle_timeout, now_s, LINIMO_SECONDS)) {
        clear(word);
      } else if (!linimo_flow_has_ended(*word, now_s, LINIMO_SECONDS)) {
        census.saw(backend_id(word), service.tcp);
      }
    }
    if (++sweep_next_ < buckets_) continue;
    sweep_next_ = 0;
    census.end_round();
  }
}

}  // namespace linimo
