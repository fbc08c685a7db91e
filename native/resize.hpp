// Pictures of red, green and blue made smaller or larger as Pillow does it, to the last bit: columns first, then rows,
// whole numbers of 22 bits.
//
// Source: Pillow, src/libImaging/Resample.c (8 bits a sample). A sum is that of `count` samples from `start` on, each
// with its weight.
#pragma once

#include <cstdint>
#include <cstring>

#if (defined(CUSTODES_AVX512) || defined(CUSTODES_AVX2)) && (defined(__SSE4_1__) || defined(_MSC_VER))
#define CUSTODES_RESIZE_X86 1
#include <immintrin.h>
#endif

namespace custodes {
namespace CUSTODES_LEVEL {

constexpr int WEIGHT_BITS = 22, CHANNELS = 3;

// `taps` weights for each of `count` sums; of those behind a sum's own count none is read.
struct Sums {
    const int32_t* starts;
    const int32_t* counts;
    const int32_t* weights;
    int64_t taps, count;
};

inline uint8_t rounded(int32_t sum) {
    const int32_t value = sum >> WEIGHT_BITS;
    return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

inline void sum_pixels(const uint8_t* from, const int32_t* weights, int32_t count, uint8_t* out) {
    int32_t total[CHANNELS] = {1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1), 1 << (WEIGHT_BITS - 1)};
    for (int32_t i = 0; i < count; i++)
        for (int c = 0; c < CHANNELS; c++) total[c] += from[CHANNELS * i + c] * weights[i];
    for (int c = 0; c < CHANNELS; c++) out[c] = rounded(total[c]);
}

#if defined(CUSTODES_RESIZE_X86)

inline __m128i weighed(const uint8_t* from, int32_t weight) {
    int32_t word;
    std::memcpy(&word, from, 4);
    return _mm_mullo_epi32(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(word)), _mm_set1_epi32(weight));
}

// The same, of pixels that another byte follows.
inline void sum_pixels_inside(const uint8_t* from, const int32_t* weights, int32_t count, uint8_t* out) {
    __m128i even = _mm_set1_epi32(1 << (WEIGHT_BITS - 1)), odd = _mm_setzero_si128();
    int32_t i = 0;
    for (; i + 2 <= count; i += 2) {
        even = _mm_add_epi32(even, weighed(from + CHANNELS * i, weights[i]));
        odd = _mm_add_epi32(odd, weighed(from + CHANNELS * i + CHANNELS, weights[i + 1]));
    }
    if (i < count) even = _mm_add_epi32(even, weighed(from + CHANNELS * i, weights[i]));
    const __m128i whole = _mm_srai_epi32(_mm_add_epi32(even, odd), WEIGHT_BITS);
    const __m128i halves = _mm_packs_epi32(whole, whole);
    const int32_t word = _mm_cvtsi128_si32(_mm_packus_epi16(halves, halves));
    std::memcpy(out, &word, CHANNELS);
}

#else

inline void sum_pixels_inside(const uint8_t* from, const int32_t* weights, int32_t count, uint8_t* out) {
    sum_pixels(from, weights, count, out);
}

#endif

// `rows` rows of `width` pixels to rows of as many pixels as there are sums.
inline void resize_columns(const uint8_t* pixels, int64_t rows, int64_t width, const Sums& sums, uint8_t* out) {
    for (int64_t row = 0; row < rows; row++, pixels += CHANNELS * width) {
        for (int64_t i = 0; i < sums.count; i++, out += CHANNELS) {
            const uint8_t* from = pixels + CHANNELS * sums.starts[i];
            const bool at_end = row + 1 == rows && sums.starts[i] + sums.counts[i] == width;
            (at_end ? sum_pixels : sum_pixels_inside)(from, sums.weights + sums.taps * i, sums.counts[i], out);
        }
    }
}

// Rows of `size` bytes to as many as there are sums.
inline void resize_rows(const uint8_t* pixels, int64_t size, const Sums& sums, uint8_t* out) {
    constexpr int64_t BAND = 256;
    for (int64_t row = 0; row < sums.count; row++, out += size) {
        const uint8_t* from = pixels + size * sums.starts[row];
        const int32_t* weights = sums.weights + sums.taps * row;
        for (int64_t at = 0; at < size; at += BAND) {
            const int64_t wide = at + BAND < size ? BAND : size - at;
            int32_t total[BAND];
            for (int64_t i = 0; i < wide; i++) total[i] = 1 << (WEIGHT_BITS - 1);
            for (int32_t tap = 0; tap < sums.counts[row]; tap++)
                for (int64_t i = 0; i < wide; i++) total[i] += from[size * tap + at + i] * weights[tap];
            for (int64_t i = 0; i < wide; i++) out[at + i] = rounded(total[i]);
        }
    }
}

}  // namespace CUSTODES_LEVEL
}  // namespace custodes
