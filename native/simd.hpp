// Lanes of numbers: the few vector operations that the search kernels need, once for every level.
//
// A level offers `Lanes` (LANES unsigned numbers of 32 bits) and `Found` (which of them passed a test), and `Halves`
// (HALVES numbers of 16 bits). Everything above this file is the same source for all levels, with the same answers.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(CUSTODES_AVX512) || defined(CUSTODES_AVX2)
#include <immintrin.h>
#elif defined(CUSTODES_NEON)
#include <arm_neon.h>
#endif
#if defined(_MSC_VER)
#include <intrin.h>
#endif

namespace custodes {
namespace CUSTODES_LEVEL {

inline void prefetch(const void* at) {
#if defined(CUSTODES_AVX512) || defined(CUSTODES_AVX2)
    _mm_prefetch(static_cast<const char*>(at), _MM_HINT_T0);
#elif defined(__GNUC__)
    __builtin_prefetch(at);
#else
    (void)at;
#endif
}

inline uint32_t popcount64(uint64_t x) {
#if defined(CUSTODES_AVX512) || defined(CUSTODES_AVX2)
    return static_cast<uint32_t>(_mm_popcnt_u64(x));
#elif defined(CUSTODES_NEON)
    return vaddv_u8(vcnt_u8(vcreate_u8(x)));
#else
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return static_cast<uint32_t>((x * 0x0101010101010101u) >> 56);
#endif
}

// The place of the lowest bit that is set; there must be one.
inline uint32_t lowest(uint32_t x) {
#if defined(_MSC_VER)
    unsigned long at;
    _BitScanForward(&at, x);
    return at;
#else
    return static_cast<uint32_t>(__builtin_ctz(x));
#endif
}

#if defined(CUSTODES_AVX512)  // F, BW, VL, VPOPCNTDQ and BITALG: Ice Lake, Zen 4 and later

constexpr int LANES = 16;
using Lanes = __m512i;
using Found = __mmask16;

inline Lanes load(const uint32_t* from) { return _mm512_loadu_si512(from); }
inline void store(uint32_t* to, Lanes a) { _mm512_storeu_si512(to, a); }
inline Lanes all(uint32_t value) { return _mm512_set1_epi32(static_cast<int>(value)); }
inline Lanes differing(Lanes a, Lanes b) { return _mm512_popcnt_epi32(_mm512_xor_si512(a, b)); }
inline Lanes sum(Lanes a, Lanes b) { return _mm512_add_epi32(a, b); }
inline Found at_most(Lanes a, Lanes limit) { return _mm512_cmple_epu32_mask(a, limit); }
inline Found either(Found a, Found b) { return a | b; }
inline bool any(Found a) { return a != 0; }
inline uint32_t bits(Found a) { return a; }

constexpr int HALVES = 32;
using Halves = __m512i;

inline Halves load_halves(const uint16_t* from) { return _mm512_loadu_si512(from); }
inline Halves all_halves(uint32_t value) { return _mm512_set1_epi16(static_cast<short>(value)); }
inline uint32_t halves_within(Halves a, Halves b, Halves limit) {
    return _mm512_cmple_epu16_mask(_mm512_popcnt_epi16(_mm512_xor_si512(a, b)), limit);
}

#elif defined(CUSTODES_AVX2)

constexpr int LANES = 8;
using Lanes = __m256i;
using Found = __m256i;

inline Lanes load(const uint32_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
inline void store(uint32_t* to, Lanes a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a); }
inline Lanes all(uint32_t value) { return _mm256_set1_epi32(static_cast<int>(value)); }
// Bits set in each byte, four at a time from a table (Mula, Kurz, Lemire, 2018).
inline __m256i byte_counts(__m256i x) {
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(0x0F);
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, low)),
                           _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), low)));
}
inline Lanes differing(Lanes a, Lanes b) {
    const __m256i pairs = _mm256_maddubs_epi16(byte_counts(_mm256_xor_si256(a, b)), _mm256_set1_epi8(1));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
inline Lanes sum(Lanes a, Lanes b) { return _mm256_add_epi32(a, b); }
inline Found at_most(Lanes a, Lanes limit) { return _mm256_cmpgt_epi32(_mm256_add_epi32(limit, all(1)), a); }
inline Found either(Found a, Found b) { return _mm256_or_si256(a, b); }
inline bool any(Found a) { return _mm256_testz_si256(a, a) == 0; }
inline uint32_t bits(Found a) { return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(a))); }

constexpr int HALVES = 16;
using Halves = __m256i;

inline Halves load_halves(const uint16_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
inline Halves all_halves(uint32_t value) { return _mm256_set1_epi16(static_cast<short>(value)); }
inline uint32_t halves_within(Halves a, Halves b, Halves limit) {
    const __m256i counts = _mm256_maddubs_epi16(byte_counts(_mm256_xor_si256(a, b)), _mm256_set1_epi8(1));
    const __m256i beyond = _mm256_cmpgt_epi16(counts, limit);
    return _pext_u32(~static_cast<uint32_t>(_mm256_movemask_epi8(beyond)), 0x55555555u);
}

#elif defined(CUSTODES_NEON)

constexpr int LANES = 4;
using Lanes = uint32x4_t;
using Found = uint32x4_t;

inline Lanes load(const uint32_t* from) { return vld1q_u32(from); }
inline void store(uint32_t* to, Lanes a) { vst1q_u32(to, a); }
inline Lanes all(uint32_t value) { return vdupq_n_u32(value); }
inline Lanes differing(Lanes a, Lanes b) {
    return vpaddlq_u16(vpaddlq_u8(vcntq_u8(vreinterpretq_u8_u32(veorq_u32(a, b)))));
}
inline Lanes sum(Lanes a, Lanes b) { return vaddq_u32(a, b); }
inline Found at_most(Lanes a, Lanes limit) { return vcleq_u32(a, limit); }
inline Found either(Found a, Found b) { return vorrq_u32(a, b); }
inline bool any(Found a) { return vmaxvq_u32(a) != 0; }
inline uint32_t bits(Found a) {
    const uint32_t weights[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(a, vld1q_u32(weights)));
}

constexpr int HALVES = 8;
using Halves = uint16x8_t;

inline Halves load_halves(const uint16_t* from) { return vld1q_u16(from); }
inline Halves all_halves(uint32_t value) { return vdupq_n_u16(static_cast<uint16_t>(value)); }
inline uint32_t halves_within(Halves a, Halves b, Halves limit) {
    const uint16x8_t found = vcleq_u16(vpaddlq_u8(vcntq_u8(vreinterpretq_u8_u16(veorq_u16(a, b)))), limit);
    const uint16_t weights[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    return vaddvq_u16(vandq_u16(found, vld1q_u16(weights)));
}

#else  // any machine: plain C++ that compilers turn into what vectors there are

constexpr int LANES = 4;
struct Lanes {
    uint32_t lane[LANES];
};
using Found = uint32_t;

inline Lanes load(const uint32_t* from) {
    Lanes out;
    std::memcpy(out.lane, from, sizeof out.lane);
    return out;
}
inline void store(uint32_t* to, Lanes a) { std::memcpy(to, a.lane, sizeof a.lane); }
inline Lanes all(uint32_t value) { return {{value, value, value, value}}; }
inline Lanes differing(Lanes a, Lanes b) {
    for (int i = 0; i < LANES; i++) {
        uint32_t x = a.lane[i] ^ b.lane[i];
        x -= (x >> 1) & 0x55555555u;
        x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
        x = (x + (x >> 4)) & 0x0F0F0F0Fu;
        x += x >> 8;
        a.lane[i] = (x + (x >> 16)) & 0x3Fu;
    }
    return a;
}
inline Lanes sum(Lanes a, Lanes b) {
    for (int i = 0; i < LANES; i++) a.lane[i] += b.lane[i];
    return a;
}
inline Found at_most(Lanes a, Lanes limit) {
    Found out = 0;
    for (int i = 0; i < LANES; i++) out |= static_cast<uint32_t>(a.lane[i] <= limit.lane[i]) << i;
    return out;
}
inline Found either(Found a, Found b) { return a | b; }
inline bool any(Found a) { return a != 0; }
inline uint32_t bits(Found a) { return a; }

constexpr int HALVES = 8;
struct Halves {
    uint16_t half[HALVES];
};

inline Halves load_halves(const uint16_t* from) {
    Halves out;
    std::memcpy(out.half, from, sizeof out.half);
    return out;
}
inline Halves all_halves(uint32_t value) {
    const uint16_t v = static_cast<uint16_t>(value);
    return {{v, v, v, v, v, v, v, v}};
}
inline uint32_t halves_within(Halves a, Halves b, Halves limit) {
    uint32_t out = 0;
    for (int i = 0; i < HALVES; i++) {
        uint32_t x = a.half[i] ^ b.half[i];
        x -= (x >> 1) & 0x5555u;
        x = (x & 0x3333u) + ((x >> 2) & 0x3333u);
        x = (x + (x >> 4)) & 0x0F0Fu;
        out |= static_cast<uint32_t>(((x + (x >> 8)) & 0x1Fu) <= limit.half[i]) << i;
    }
    return out;
}

#endif

}  // namespace CUSTODES_LEVEL
}  // namespace custodes
