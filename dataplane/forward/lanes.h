// Eight 64-bit words at once, one for each of eight packets: what of a CPU's vector instructions the path in
// lanes (lane_path.cc) is made of. Two back ends, chosen by what the file that includes this is compiled for:
// AVX-512, and AVX2, which has two registers where the other has one.
//
// Everything is in a namespace of its own for each back end, and inlined: what is compiled for one CPU must
// never be what the linker gives to code for another.
#pragma once

#include <cstdint>
#include <cstring>

#include <immintrin.h>

#define LINIMO_LANE __attribute__((always_inline)) inline

namespace linimo::LINIMO_LANES {

/// What was stored is read word by word from memory, which is cheaper than to take it out of the register, as
/// compilers do.
LINIMO_LANE void to_memory(uint64_t* eight) {
  __asm__("" : "+m"(*reinterpret_cast<uint64_t(*)[8]>(eight)));
}

/// Four words that follow one another. Another thread may store into them, each word by an atomic store: a
/// CPU reads every aligned word of a vector whole. ThreadSanitizer is told so word by word.
LINIMO_LANE __m256i four_words(const uint64_t* at) {
#ifdef __SANITIZE_THREAD__
  const auto word = [&](int i) __attribute__((always_inline)) {
    return static_cast<long long>(__atomic_load_n(at + i, __ATOMIC_RELAXED));
  };
  return _mm256_set_epi64x(word(3), word(2), word(1), word(0));
#else
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
#endif
}

#ifdef __AVX512F__

struct Lanes {
  __m512i v;
};
/// Of which lanes something is true.
struct Mask {
  __mmask8 v;
};

LINIMO_LANE Lanes all(uint64_t value) {
  return {_mm512_set1_epi64(static_cast<long long>(value))};
}
LINIMO_LANE Lanes load(const uint64_t* eight) {
  return {_mm512_load_si512(eight)};
}
LINIMO_LANE void store(uint64_t* eight, Lanes a) {
  _mm512_store_si512(eight, a.v);
  to_memory(eight);
}
/// The word at each address.
LINIMO_LANE Lanes gather(Lanes at) {
  return {_mm512_i64gather_epi64(at.v, nullptr, 1)};
}

LINIMO_LANE Lanes operator+(Lanes a, Lanes b) {
  return {_mm512_add_epi64(a.v, b.v)};
}
LINIMO_LANE Lanes operator-(Lanes a, Lanes b) {
  return {_mm512_sub_epi64(a.v, b.v)};
}
LINIMO_LANE Lanes operator&(Lanes a, Lanes b) {
  return {_mm512_and_si512(a.v, b.v)};
}
LINIMO_LANE Lanes operator|(Lanes a, Lanes b) {
  return {_mm512_or_si512(a.v, b.v)};
}
LINIMO_LANE Lanes operator^(Lanes a, Lanes b) {
  return {_mm512_xor_si512(a.v, b.v)};
}
template <unsigned kBits>
LINIMO_LANE Lanes shl(Lanes a) {
  return {_mm512_slli_epi64(a.v, kBits)};
}
template <unsigned kBits>
LINIMO_LANE Lanes shr(Lanes a) {
  return {_mm512_srli_epi64(a.v, kBits)};
}
LINIMO_LANE Lanes shr_all(Lanes a, uint32_t bits) {
  return {_mm512_srl_epi64(a.v, _mm_cvtsi32_si128(static_cast<int>(bits)))};
}
LINIMO_LANE Lanes shr_each(Lanes a, Lanes bits) {
  return {_mm512_srlv_epi64(a.v, bits.v)};
}
/// Of the lower halves.
LINIMO_LANE Lanes multiply_halves(Lanes a, Lanes b) {
  return {_mm512_mul_epu32(a.v, b.v)};
}
LINIMO_LANE Lanes multiply(Lanes a, Lanes b) {
  return {_mm512_mullo_epi64(a.v, b.v)};
}
/// Each byte of a lane from another of its bytes, or zero: `order` names them, from the lowest on.
LINIMO_LANE Lanes bytes_of(Lanes a, uint64_t order) {
  const __m128i both =
      _mm_set_epi64x(static_cast<long long>(order | 0x0808'0808'0808'0808), static_cast<long long>(order));
  return {_mm512_shuffle_epi8(a.v, _mm512_broadcast_i32x4(both))};
}

LINIMO_LANE Mask operator&(Mask a, Mask b) {
  return {static_cast<__mmask8>(a.v & b.v)};
}
LINIMO_LANE Mask operator|(Mask a, Mask b) {
  return {static_cast<__mmask8>(a.v | b.v)};
}
LINIMO_LANE Mask operator~(Mask a) {
  return {static_cast<__mmask8>(~a.v)};
}
LINIMO_LANE uint32_t bits(Mask a) {
  return a.v;
}
LINIMO_LANE Mask mask_of(uint32_t bits) {
  return {static_cast<__mmask8>(bits)};
}
LINIMO_LANE Mask equal(Lanes a, Lanes b) {
  return {_mm512_cmpeq_epi64_mask(a.v, b.v)};
}
/// Of numbers below 2^63, as the next.
LINIMO_LANE Mask at_most(Lanes a, Lanes b) {
  return {_mm512_cmple_epi64_mask(a.v, b.v)};
}
LINIMO_LANE Mask none_of(Lanes a, Lanes bits) {
  return {_mm512_testn_epi64_mask(a.v, bits.v)};
}
LINIMO_LANE Lanes select(Mask which, Lanes then, Lanes otherwise) {
  return {_mm512_mask_blend_epi64(which.v, otherwise.v, then.v)};
}
LINIMO_LANE uint64_t first(Lanes a) {
  return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm512_castsi512_si128(a.v)));
}

struct Columns {
  Lanes q0, q1, q2, q3;
};
/// Four words that follow one another at each of eight addresses.
LINIMO_LANE Columns columns(const uint64_t* at, uint64_t offset) {
  const auto pair = [&](int i) __attribute__((always_inline)) {
    const auto words = [&](int lane) __attribute__((always_inline)) {
      return four_words(reinterpret_cast<const uint64_t*>(at[lane] + offset));
    };
    return _mm512_inserti64x4(_mm512_castsi256_si512(words(i)), words(i + 4), 1);
  };
  const __m512i r0 = pair(0), r1 = pair(1), r2 = pair(2), r3 = pair(3);
  const __m512i t0 = _mm512_unpacklo_epi64(r0, r1), t1 = _mm512_unpackhi_epi64(r0, r1);
  const __m512i t2 = _mm512_unpacklo_epi64(r2, r3), t3 = _mm512_unpackhi_epi64(r2, r3);
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
  const __m512i high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  return {{_mm512_permutex2var_epi64(t0, low, t2)},
          {_mm512_permutex2var_epi64(t1, low, t3)},
          {_mm512_permutex2var_epi64(t0, high, t2)},
          {_mm512_permutex2var_epi64(t1, high, t3)}};
}

/// Which of eight words have this upper half: bit 2i + 1 for word i.
LINIMO_LANE uint32_t upper_halves(const uint64_t* eight, uint32_t wanted) {
  return _mm512_mask_cmpeq_epi32_mask(0xaaaa, _mm512_load_si512(eight),
                                      _mm512_set1_epi32(static_cast<int>(wanted)));
}

#else

struct Lanes {
  __m256i low, high;  // lanes 0 to 3, 4 to 7
};
struct Mask {
  __m256i low, high;  // all ones, or zero
};

LINIMO_LANE Lanes all(uint64_t value) {
  const __m256i same = _mm256_set1_epi64x(static_cast<long long>(value));
  return {same, same};
}
LINIMO_LANE Lanes load(const uint64_t* eight) {
  const auto* halves = reinterpret_cast<const __m256i*>(eight);
  return {_mm256_load_si256(halves), _mm256_load_si256(halves + 1)};
}
LINIMO_LANE void store(uint64_t* eight, Lanes a) {
  auto* halves = reinterpret_cast<__m256i*>(eight);
  _mm256_store_si256(halves, a.low);
  _mm256_store_si256(halves + 1, a.high);
  to_memory(eight);
}
/// Word by word: gathers of AVX2 are slow where a CPU's microcode mends what they leak (CVE-2022-40982), and
/// QEMU 7.2 emulates them wrong where the addresses are in ymm4, whose number means "none" elsewhere.
LINIMO_LANE __m256i gather_four(__m256i at) {
  const auto word = [](long long address) __attribute__((always_inline)) {
    long long read;
    __builtin_memcpy(&read, reinterpret_cast<const void*>(address), sizeof read);
    return read;
  };
  const __m128i low = _mm256_castsi256_si128(at), high = _mm256_extracti128_si256(at, 1);
  return _mm256_set_epi64x(word(_mm_extract_epi64(high, 1)), word(_mm_cvtsi128_si64(high)),
                           word(_mm_extract_epi64(low, 1)), word(_mm_cvtsi128_si64(low)));
}
LINIMO_LANE Lanes gather(Lanes at) {
  return {gather_four(at.low), gather_four(at.high)};
}

LINIMO_LANE Lanes operator+(Lanes a, Lanes b) {
  return {_mm256_add_epi64(a.low, b.low), _mm256_add_epi64(a.high, b.high)};
}
LINIMO_LANE Lanes operator-(Lanes a, Lanes b) {
  return {_mm256_sub_epi64(a.low, b.low), _mm256_sub_epi64(a.high, b.high)};
}
LINIMO_LANE Lanes operator&(Lanes a, Lanes b) {
  return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}
LINIMO_LANE Lanes operator|(Lanes a, Lanes b) {
  return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}
LINIMO_LANE Lanes operator^(Lanes a, Lanes b) {
  return {_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)};
}
template <unsigned kBits>
LINIMO_LANE Lanes shl(Lanes a) {
  return {_mm256_slli_epi64(a.low, kBits), _mm256_slli_epi64(a.high, kBits)};
}
template <unsigned kBits>
LINIMO_LANE Lanes shr(Lanes a) {
  return {_mm256_srli_epi64(a.low, kBits), _mm256_srli_epi64(a.high, kBits)};
}
LINIMO_LANE Lanes shr_all(Lanes a, uint32_t bits) {
  const __m128i count = _mm_cvtsi32_si128(static_cast<int>(bits));
  return {_mm256_srl_epi64(a.low, count), _mm256_srl_epi64(a.high, count)};
}
LINIMO_LANE Lanes shr_each(Lanes a, Lanes bits) {
  return {_mm256_srlv_epi64(a.low, bits.low), _mm256_srlv_epi64(a.high, bits.high)};
}
LINIMO_LANE Lanes multiply_halves(Lanes a, Lanes b) {
  return {_mm256_mul_epu32(a.low, b.low), _mm256_mul_epu32(a.high, b.high)};
}
LINIMO_LANE Lanes multiply(Lanes a, Lanes b) {
  const Lanes crossed = multiply_halves(shr<32>(a), b) + multiply_halves(a, shr<32>(b));
  return multiply_halves(a, b) + shl<32>(crossed);
}
LINIMO_LANE Lanes bytes_of(Lanes a, uint64_t order) {
  const __m128i both =
      _mm_set_epi64x(static_cast<long long>(order | 0x0808'0808'0808'0808), static_cast<long long>(order));
  const __m256i four = _mm256_broadcastsi128_si256(both);
  return {_mm256_shuffle_epi8(a.low, four), _mm256_shuffle_epi8(a.high, four)};
}

LINIMO_LANE Mask operator&(Mask a, Mask b) {
  return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}
LINIMO_LANE Mask operator|(Mask a, Mask b) {
  return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}
LINIMO_LANE Mask operator~(Mask a) {
  const __m256i ones = _mm256_set1_epi64x(-1);
  return {_mm256_xor_si256(a.low, ones), _mm256_xor_si256(a.high, ones)};
}
LINIMO_LANE uint32_t bits(Mask a) {
  return static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(a.low)) |
                               _mm256_movemask_pd(_mm256_castsi256_pd(a.high)) << 4);
}
LINIMO_LANE Mask mask_of(uint32_t bits) {
  const __m256i low = _mm256_setr_epi64x(1, 2, 4, 8), high = _mm256_setr_epi64x(16, 32, 64, 128);
  const __m256i same = _mm256_set1_epi64x(bits);
  return {_mm256_cmpeq_epi64(_mm256_and_si256(same, low), low),
          _mm256_cmpeq_epi64(_mm256_and_si256(same, high), high)};
}
LINIMO_LANE Mask equal(Lanes a, Lanes b) {
  return {_mm256_cmpeq_epi64(a.low, b.low), _mm256_cmpeq_epi64(a.high, b.high)};
}
LINIMO_LANE Mask at_most(Lanes a, Lanes b) {
  return ~Mask{_mm256_cmpgt_epi64(a.low, b.low), _mm256_cmpgt_epi64(a.high, b.high)};
}
LINIMO_LANE Mask none_of(Lanes a, Lanes bits) {
  return equal(a & bits, all(0));
}
LINIMO_LANE Lanes select(Mask which, Lanes then, Lanes otherwise) {
  return {_mm256_blendv_epi8(otherwise.low, then.low, which.low),
          _mm256_blendv_epi8(otherwise.high, then.high, which.high)};
}
LINIMO_LANE uint64_t first(Lanes a) {
  return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm256_castsi256_si128(a.low)));
}

struct Columns {
  Lanes q0, q1, q2, q3;
};
LINIMO_LANE Columns columns(const uint64_t* at, uint64_t offset) {
  struct Four {
    __m256i q0, q1, q2, q3;
  };
  const auto four = [&](int i) __attribute__((always_inline)) {
    const auto words = [&](int lane) __attribute__((always_inline)) {
      return four_words(reinterpret_cast<const uint64_t*>(at[lane] + offset));
    };
    const __m256i r0 = words(i), r1 = words(i + 1), r2 = words(i + 2), r3 = words(i + 3);
    const __m256i t0 = _mm256_unpacklo_epi64(r0, r1), t1 = _mm256_unpackhi_epi64(r0, r1);
    const __m256i t2 = _mm256_unpacklo_epi64(r2, r3), t3 = _mm256_unpackhi_epi64(r2, r3);
    return Four{_mm256_permute2x128_si256(t0, t2, 0x20), _mm256_permute2x128_si256(t1, t3, 0x20),
                _mm256_permute2x128_si256(t0, t2, 0x31), _mm256_permute2x128_si256(t1, t3, 0x31)};
  };
  const Four low = four(0), high = four(4);
  return {{low.q0, high.q0}, {low.q1, high.q1}, {low.q2, high.q2}, {low.q3, high.q3}};
}

LINIMO_LANE uint32_t upper_halves(const uint64_t* eight, uint32_t wanted) {
  const auto* halves = reinterpret_cast<const __m256i*>(eight);
  const __m256i same = _mm256_set1_epi32(static_cast<int>(wanted));
  const auto equals = [&](const __m256i* four) __attribute__((always_inline)) {
    return static_cast<uint32_t>(
        _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_load_si256(four), same))));
  };
  return (equals(halves) | equals(halves + 1) << 8) & 0xaaaa;
}

#endif

LINIMO_LANE Mask any_of(Lanes a, Lanes bits) {
  return ~none_of(a, bits);
}
LINIMO_LANE Lanes low_half(Lanes a) {
  return a & all(0xffff'ffff);
}

}  // namespace linimo::LINIMO_LANES
