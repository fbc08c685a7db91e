// Float lanes: the few vector operations that PDQ needs, once for every level.
//
// Each rounds once, as NumPy's do: a product and a sum are never fused, and nothing is summed across the lanes of a
// vector. So a sum has the same order, and the same bits, whatever the number of lanes.
#pragma once

#include <cfloat>

#include "simd.hpp"

static_assert(FLT_EVAL_METHOD == 0, "float arithmetic must round to float at every step");

#if defined(_MSC_VER)
#pragma fp_contract(off)
#endif

namespace custodes {
namespace CUSTODES_LEVEL {

#if defined(CUSTODES_AVX512)

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // false: of GCC's own _mm512_undefined_ps (its bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

constexpr int FLOATS = 16;
using Floats = __m512;

inline Floats load(const float* from) { return _mm512_loadu_ps(from); }
inline Floats load(const uint8_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
inline void store(float* to, Floats a) { _mm512_storeu_ps(to, a); }
inline Floats all(float value) { return _mm512_set1_ps(value); }
inline Floats sum(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats product(Floats a, Floats b) { return _mm512_mul_ps(a, b); }

// Lane j of vector i becomes lane i of vector j.
inline void transpose(Floats (&row)[FLOATS]) {
    Floats four[FLOATS];  // of each group of four rows: in each quarter, a column of the group
    for (int i = 0; i < 16; i += 4) {
        const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(row[i], row[i + 1]));
        const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(row[i], row[i + 1]));
        const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(row[i + 2], row[i + 3]));
        const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(row[i + 2], row[i + 3]));
        four[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        four[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        four[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        four[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; i++) {
        const Floats even_top = _mm512_shuffle_f32x4(four[i], four[i + 4], 0x88);
        const Floats odd_top = _mm512_shuffle_f32x4(four[i], four[i + 4], 0xDD);
        const Floats even_low = _mm512_shuffle_f32x4(four[i + 8], four[i + 12], 0x88);
        const Floats odd_low = _mm512_shuffle_f32x4(four[i + 8], four[i + 12], 0xDD);
        row[i] = _mm512_shuffle_f32x4(even_top, even_low, 0x88);
        row[i + 4] = _mm512_shuffle_f32x4(odd_top, odd_low, 0x88);
        row[i + 8] = _mm512_shuffle_f32x4(even_top, even_low, 0xDD);
        row[i + 12] = _mm512_shuffle_f32x4(odd_top, odd_low, 0xDD);
    }
}

#elif defined(CUSTODES_AVX2)

constexpr int FLOATS = 8;
using Floats = __m256;

inline Floats load(const float* from) { return _mm256_loadu_ps(from); }
inline Floats load(const uint8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
inline void store(float* to, Floats a) { _mm256_storeu_ps(to, a); }
inline Floats all(float value) { return _mm256_set1_ps(value); }
inline Floats sum(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats product(Floats a, Floats b) { return _mm256_mul_ps(a, b); }

inline void transpose(Floats (&row)[FLOATS]) {
    Floats four[FLOATS];  // of each group of four rows: in each half, a column of the group
    for (int i = 0; i < 8; i += 4) {
        const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(row[i], row[i + 1]));
        const __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(row[i], row[i + 1]));
        const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(row[i + 2], row[i + 3]));
        const __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(row[i + 2], row[i + 3]));
        four[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
        four[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
        four[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
        four[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
    }
    for (int i = 0; i < 4; i++) {
        row[i] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x20);
        row[i + 4] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x31);
    }
}

#elif defined(CUSTODES_NEON)

constexpr int FLOATS = 4;
using Floats = float32x4_t;

inline Floats load(const float* from) { return vld1q_f32(from); }
inline Floats load(const uint8_t* from) {
    uint32_t four;
    std::memcpy(&four, from, sizeof four);
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four)))));
}
inline void store(float* to, Floats a) { vst1q_f32(to, a); }
inline Floats all(float value) { return vdupq_n_f32(value); }
inline Floats sum(Floats a, Floats b) { return vaddq_f32(a, b); }
inline Floats product(Floats a, Floats b) { return vmulq_f32(a, b); }

inline void transpose(Floats (&row)[FLOATS]) {
    const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(row[0], row[1]));
    const float64x2_t b = vreinterpretq_f64_f32(vtrn2q_f32(row[0], row[1]));
    const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(row[2], row[3]));
    const float64x2_t d = vreinterpretq_f64_f32(vtrn2q_f32(row[2], row[3]));
    row[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
    row[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
    row[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
    row[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
}

#else

constexpr int FLOATS = 4;
struct Floats {
    float lane[FLOATS];
};

inline Floats load(const float* from) { return {{from[0], from[1], from[2], from[3]}}; }
inline Floats load(const uint8_t* from) {
    Floats out;
    for (int i = 0; i < FLOATS; i++) out.lane[i] = static_cast<float>(from[i]);
    return out;
}
inline void store(float* to, Floats a) { std::memcpy(to, a.lane, sizeof a.lane); }
inline Floats all(float value) { return {{value, value, value, value}}; }
inline Floats sum(Floats a, Floats b) {
    for (int i = 0; i < FLOATS; i++) a.lane[i] += b.lane[i];
    return a;
}
inline Floats product(Floats a, Floats b) {
    for (int i = 0; i < FLOATS; i++) a.lane[i] *= b.lane[i];
    return a;
}
inline void transpose(Floats (&row)[FLOATS]) {
    for (int i = 0; i < FLOATS; i++)
        for (int j = 0; j < i; j++) {
            const float kept = row[i].lane[j];
            row[i].lane[j] = row[j].lane[i];
            row[j].lane[i] = kept;
        }
}

#endif

}  // namespace CUSTODES_LEVEL
}  // namespace custodes
