#include "maglev/table_search.h"

#include <algorithm>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace linimo {
namespace {

uint32_t free_of_eight(const uint32_t* taken, const EightSteps& steps, uint32_t next, uint32_t size) {
  uint32_t free = 0;
  for (uint32_t step = 0; step < steps.size(); ++step) {
    const uint32_t past = next + steps[step];
    const uint32_t slot = std::min(past, past - size);  // the one that does not wrap below zero
    free |= (~taken[slot / 32] >> (slot % 32) & 1) << step;
  }
  return free;
}

uint64_t least(std::span<const uint32_t> slots, uint32_t next, uint64_t unit) {
  uint64_t found = ~uint64_t{0};
  for (const uint32_t slot : slots) found = std::min(found, (uint64_t{slot} - next) * unit);
  return found;
}

#ifdef __x86_64__
#define LINIMO_AVX2 __attribute__((target("avx2")))

LINIMO_AVX2 uint32_t free_of_eight_avx2(const uint32_t* taken, const EightSteps& steps, uint32_t next,
                                        uint32_t size) {
  const __m256i past = _mm256_add_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(steps.data())),
                                        _mm256_set1_epi32(static_cast<int>(next)));
  const __m256i slot =
      _mm256_min_epu32(past, _mm256_sub_epi32(past, _mm256_set1_epi32(static_cast<int>(size))));
  const __m256i words =
      _mm256_i32gather_epi32(reinterpret_cast<const int*>(taken), _mm256_srli_epi32(slot, 5), 4);
  // Each slot's bit becomes its lane's sign: a shift to the left by 31 less the slot's place in the word.
  const __m256i signs = _mm256_sllv_epi32(words, _mm256_andnot_si256(slot, _mm256_set1_epi32(31)));
  return ~static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(signs))) & 0xff;
}

/// AVX2 compares with a sign only: so numbers are turned by 2^63.
LINIMO_AVX2 uint64_t least_avx2(std::span<const uint32_t> slots, uint32_t next, uint64_t unit) {
  constexpr uint64_t kTurn = uint64_t{1} << 63;
  const __m256i low = _mm256_set1_epi64x(static_cast<long long>(unit));
  const __m256i high = _mm256_set1_epi64x(static_cast<long long>(unit >> 32));
  const __m256i from = _mm256_set1_epi64x(static_cast<long long>(kTurn - next * unit));
  __m256i found = _mm256_set1_epi64x(INT64_MAX);
  size_t at = 0;
  for (; at + 4 <= slots.size(); at += 4) {
    const __m256i slot = _mm256_cvtepu32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(&slots[at])));
    const __m256i product =
        _mm256_add_epi64(_mm256_mul_epu32(slot, low), _mm256_slli_epi64(_mm256_mul_epu32(slot, high), 32));
    const __m256i distance = _mm256_add_epi64(product, from);
    found = _mm256_blendv_epi8(found, distance, _mm256_cmpgt_epi64(found, distance));
  }
  alignas(32) std::array<uint64_t, 4> lanes;
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes.data()), found);
  uint64_t result = least(slots.subspan(at), next, unit);
  for (const uint64_t lane : lanes) result = std::min(result, lane ^ kTurn);
  return result;
}
#endif

}  // namespace

const TableSearch& portable_table_search() {
  static constexpr TableSearch kPortable{free_of_eight, least};
  return kPortable;
}

const TableSearch& table_search() {
#ifdef __x86_64__
  static constexpr TableSearch kAvx2{free_of_eight_avx2, least_avx2};
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) return kAvx2;
#endif
  return portable_table_search();
}

}  // namespace linimo
