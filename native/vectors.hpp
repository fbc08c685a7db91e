// Cosines of many vectors (fp16, fp32 or int8) with a few: float sums for the fewest, integer sums for many, and sums of
// doubles for the pairs that are left.
//
// Whatever the level, every sum has the same bits: floats are added up in 32 lanes and doubles in 8, a product and a sum
// are never fused, lanes are folded in halves; integers are exact. A dimension that is no multiple of 32 is filled up
// with zeros, which change no sum. What a sum may be off by is derived in src/custodes/similar/arithmetic.py.
#pragma once

#include <cmath>
#include <cstdlib>

#include "custodes.h"
#include "floats.hpp"
#include "hamming.hpp"

namespace custodes {
namespace CUSTODES_LEVEL {

constexpr int CHUNK = 32;  // numbers of a vector that are taken together, at every level
constexpr int PARTS = CHUNK / FLOATS;
constexpr int GROUP = 16;                      // seeds that are compared side by side
constexpr float SCALE = 32000.0f;              // the length of a vector of integers; see scaled()
constexpr float SQUARE_MIN = 0x1p-100f, SQUARE_MAX = 0x1p100f;  // outside of them floats lose too much

struct Half {
    uint16_t bits;
};

// --- loading, and rounding to integers ---

#if defined(CUSTODES_AVX512)

inline Floats load(const Half* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
inline Floats load(const int8_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
inline void store_rounded(int16_t* to, Floats a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(a)));
}

#elif defined(CUSTODES_AVX2)

inline Floats load(const Half* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
inline Floats load(const int8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
inline void store_rounded(int16_t* to, Floats a) {
    const __m256i wide = _mm256_cvtps_epi32(a);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                     _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1)));
}

#elif defined(CUSTODES_NEON)

inline Floats load(const Half* from) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(from))));
}
inline Floats load(const int8_t* from) {
    uint32_t four;
    std::memcpy(&four, from, sizeof four);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four)))));
}
inline void store_rounded(int16_t* to, Floats a) { vst1_s16(to, vmovn_s32(vcvtnq_s32_f32(a))); }

#else

inline float widened(Half half) {  // exact, subnormal numbers too: their exponent is put right by a product
    const uint32_t rest = half.bits & 0x7FFFu, sign = static_cast<uint32_t>(half.bits & 0x8000u) << 16;
    const uint32_t shifted = rest << 13;
    float value;
    std::memcpy(&value, &shifted, sizeof value);
    value *= 0x1p112f;
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (rest >= 0x7C00u) bits = 0x7F800000u | shifted;  // infinite, or no number
    bits |= sign;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename T>
inline Floats load_each(const T* from) {
    Floats out;
    for (int i = 0; i < FLOATS; i++) {
        if constexpr (sizeof(T) == sizeof(Half))
            out.lane[i] = widened(from[i]);
        else
            out.lane[i] = static_cast<float>(from[i]);
    }
    return out;
}
inline Floats load(const Half* from) { return load_each(from); }
inline Floats load(const int8_t* from) { return load_each(from); }
inline void store_rounded(int16_t* to, Floats a) {
    for (int i = 0; i < FLOATS; i++) {  // adding 1.5 * 2^23 rounds to even, and leaves the integer in the low bits
        const float moved = a.lane[i] + 12582912.0f;
        int32_t bits;
        std::memcpy(&bits, &moved, sizeof bits);
        to[i] = static_cast<int16_t>(bits - 0x4B400000);
    }
}

#endif

// --- sums of floats ---

struct Sum {
    Floats part[PARTS];

    Sum() {
        for (int p = 0; p < PARTS; p++) part[p] = all(0.0f);
    }
    void add(int p, Floats a, Floats b) { part[p] = sum(part[p], product(a, b)); }
    float total() const {
        float lane[CHUNK];
        for (int p = 0; p < PARTS; p++) store(lane + FLOATS * p, part[p]);
        for (int width = CHUNK / 2; width; width /= 2)
            for (int i = 0; i < width; i++) lane[i] += lane[i + width];
        return lane[0];
    }
};

// use(at, numbers) for each chunk of a row, the last one filled up with zeros.
template <typename T, typename Use>
inline void each_chunk(const T* row, int64_t dimension, Use use) {
    int64_t at = 0;
    Floats x[PARTS];
    for (; at + CHUNK <= dimension; at += CHUNK) {
        for (int p = 0; p < PARTS; p++) x[p] = load(row + at + FLOATS * p);
        use(at, x);
    }
    if (at == dimension) return;
    T rest[CHUNK] = {};
    std::memcpy(rest, row + at, sizeof(T) * static_cast<size_t>(dimension - at));
    for (int p = 0; p < PARTS; p++) x[p] = load(rest + FLOATS * p);
    use(at, x);
}

inline int64_t filled_up(int64_t dimension) { return (dimension + CHUNK - 1) / CHUNK * CHUNK; }

template <typename T>
struct Rows {
    const T* at;
    int64_t count, dimension;

    const T* row(int64_t i) const { return at + dimension * i; }
};

// COUNT products and the square of each row, in one read of it.
template <int COUNT, typename T>
inline void dots_at_once(const Rows<T>& rows, const float* weights, float* dots, float* squares) {
    const int64_t stride = filled_up(rows.dimension);
    for (int64_t i = 0; i < rows.count; i++) {
        Sum square, dot[COUNT];
        each_chunk(rows.row(i), rows.dimension, [&](int64_t at, const Floats(&x)[PARTS]) {
            for (int p = 0; p < PARTS; p++) {
                square.add(p, x[p], x[p]);
                for (int k = 0; k < COUNT; k++) dot[k].add(p, x[p], load(weights + stride * k + at + FLOATS * p));
            }
        });
        squares[i] = square.total();
        for (int k = 0; k < COUNT; k++) dots[rows.count * k + i] = dot[k].total();
    }
}

// As many at once as registers hold.
template <typename T>
inline void dots(const Rows<T>& rows, const float* weights, int64_t count, float* out, float* squares) {
    constexpr int TOGETHER = FLOATS == 16 ? 4 : 2;
    const int64_t stride = filled_up(rows.dimension);
    int64_t k = 0;
    for (; k + TOGETHER <= count; k += TOGETHER)
        dots_at_once<TOGETHER>(rows, weights + stride * k, out + rows.count * k, squares);
    for (; k < count; k++) dots_at_once<1>(rows, weights + stride * k, out + rows.count * k, squares);
}

// --- sums of integers ---
//
// A vector of length SCALE, rounded to integers, fits 16 bits, and the sum of its products with another fits 32, as does
// every part of that sum (Cauchy and Schwarz). So sums are exact in any order.

#if defined(CUSTODES_AVX512)

constexpr int TILE_ROWS = 12, TILE_GROUPS = 2;
using Seeds = __m512i;  // two numbers of each of GROUP seeds
using Counts = __m512i;

inline Seeds load_seeds(const int16_t* from) { return _mm512_loadu_si512(from); }
inline Counts no_counts() { return _mm512_setzero_si512(); }
inline void add_products(Counts& to, uint32_t pair, const Seeds& seeds) {
    to = _mm512_dpwssd_epi32(to, _mm512_set1_epi32(static_cast<int>(pair)), seeds);
}
inline uint32_t at_least(const Counts& a, const int32_t* limits) {
    return _mm512_cmpge_epi32_mask(a, _mm512_loadu_si512(limits));
}
inline void store_counts(int32_t* to, const Counts& a) { _mm512_storeu_si512(to, a); }

#elif defined(CUSTODES_AVX2)

constexpr int TILE_ROWS = 6, TILE_GROUPS = 1;
struct Seeds {
    __m256i half[2];
};
using Counts = Seeds;

inline __m256i load_half(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline Seeds load_seeds(const int16_t* from) { return {{load_half(from), load_half(from + GROUP)}}; }
inline Counts no_counts() { return {{_mm256_setzero_si256(), _mm256_setzero_si256()}}; }
inline void add_products(Counts& to, uint32_t pair, const Seeds& seeds) {
    const __m256i x = _mm256_set1_epi32(static_cast<int>(pair));
    for (int h = 0; h < 2; h++) to.half[h] = _mm256_add_epi32(to.half[h], _mm256_madd_epi16(x, seeds.half[h]));
}
inline uint32_t at_least(const Counts& a, const int32_t* limits) {
    uint32_t below = 0;
    for (int h = 0; h < 2; h++) {
        const __m256i found = _mm256_cmpgt_epi32(load_half(limits + 8 * h), a.half[h]);
        below |= static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(found))) << 8 * h;
    }
    return ~below & 0xFFFFu;
}
inline void store_counts(int32_t* to, const Counts& a) { std::memcpy(to, &a, sizeof a); }

#elif defined(CUSTODES_NEON)

constexpr int TILE_ROWS = 4, TILE_GROUPS = 1;
struct Seeds {
    int16x8x2_t half[2];  // first numbers, second numbers
};
struct Counts {
    int32x4_t part[4];
};

inline Seeds load_seeds(const int16_t* from) { return {{vld2q_s16(from), vld2q_s16(from + GROUP)}}; }
inline Counts no_counts() {
    const int32x4_t none = vdupq_n_s32(0);
    return {{none, none, none, none}};
}
inline void add_products(Counts& to, uint32_t pair, const Seeds& seeds) {
    const int16_t x[2] = {static_cast<int16_t>(pair), static_cast<int16_t>(pair >> 16)};
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < 2; i++) {
            to.part[2 * h] = vmlal_n_s16(to.part[2 * h], vget_low_s16(seeds.half[h].val[i]), x[i]);
            to.part[2 * h + 1] = vmlal_n_s16(to.part[2 * h + 1], vget_high_s16(seeds.half[h].val[i]), x[i]);
        }
}
inline uint32_t at_least(const Counts& a, const int32_t* limits) {
    uint32_t found = 0;
    for (int p = 0; p < 4; p++) found |= bits(vcgeq_s32(a.part[p], vld1q_s32(limits + 4 * p))) << 4 * p;
    return found;
}
inline void store_counts(int32_t* to, const Counts& a) {
    for (int p = 0; p < 4; p++) vst1q_s32(to + 4 * p, a.part[p]);
}

#else

constexpr int TILE_ROWS = 2, TILE_GROUPS = 1;
struct Seeds {
    int16_t number[2 * GROUP];
};
struct Counts {
    int32_t lane[GROUP];
};

inline Seeds load_seeds(const int16_t* from) {
    Seeds out;
    std::memcpy(&out, from, sizeof out);
    return out;
}
inline Counts no_counts() { return {}; }
inline void add_products(Counts& to, uint32_t pair, const Seeds& seeds) {
    const int32_t first = static_cast<int16_t>(pair), second = static_cast<int16_t>(pair >> 16);
    for (int i = 0; i < GROUP; i++)
        to.lane[i] += first * seeds.number[2 * i] + second * seeds.number[2 * i + 1];
}
inline uint32_t at_least(const Counts& a, const int32_t* limits) {
    uint32_t found = 0;
    for (int i = 0; i < GROUP; i++) found |= static_cast<uint32_t>(a.lane[i] >= limits[i]) << i;
    return found;
}
inline void store_counts(int32_t* to, const Counts& a) { std::memcpy(to, &a, sizeof a); }

#endif

// The square of a row, and the row as integers of length SCALE; as zeros where its square is out of range.
template <typename T>
inline float scaled(const T* row, int64_t dimension, int16_t* out) {
    Sum square;
    each_chunk(row, dimension, [&](int64_t, const Floats(&x)[PARTS]) {
        for (int p = 0; p < PARTS; p++) square.add(p, x[p], x[p]);
    });
    const float total = square.total();
    if (!(total >= SQUARE_MIN && total <= SQUARE_MAX)) {
        std::memset(out, 0, sizeof *out * static_cast<size_t>(filled_up(dimension)));
        return total;
    }
    const Floats factor = all(SCALE / std::sqrt(total));
    each_chunk(row, dimension, [&](int64_t at, const Floats(&x)[PARTS]) {
        for (int p = 0; p < PARTS; p++) store_rounded(out + at + FLOATS * p, product(x[p], factor));
    });
    return total;
}

// Seeds as integers: for each group, for each two numbers of them, those two of each of its GROUP seeds.
struct Panels {
    const int16_t* seeds;
    const int32_t* limits;  // one for each seed: what its sum must reach
    int64_t groups;
};

class Near {
  public:
    Near(const Panels& panels, int64_t dimension, custodes_hits* hits)
        : panels_(panels), width_(filled_up(dimension)), hits_(hits) {}
    ~Near() { std::free(scaled_); }
    Near(const Near&) = delete;
    Near& operator=(const Near&) = delete;

    template <typename T>
    bool search(const Rows<T>& rows, float* squares) {
        scaled_ = static_cast<int16_t*>(std::calloc(static_cast<size_t>(BATCH * width_), sizeof(int16_t)));
        if (!scaled_) return false;
        for (from_ = 0; from_ < rows.count; from_ += BATCH) {
            count_ = rows.count - from_ < BATCH ? rows.count - from_ : BATCH;
            for (int64_t i = 0; i < count_; i++)
                squares[from_ + i] = scaled(rows.row(from_ + i), rows.dimension, scaled_ + width_ * i);
            int64_t group = 0;
            for (; group + TILE_GROUPS <= panels_.groups; group += TILE_GROUPS)
                if (!compare<TILE_GROUPS>(group)) return false;
            for (; group < panels_.groups; group++)
                if (!compare<1>(group)) return false;
        }
        return true;
    }

  private:
    // All rows of a batch against a few groups, which stay in the cache meanwhile.
    template <int GROUPS>
    bool compare(int64_t group) {
        for (int64_t row = 0; row < count_; row += TILE_ROWS) {
            Counts counts[TILE_ROWS][GROUPS];
            add_up<GROUPS>(group, scaled_ + width_ * row, counts);
            for (int r = 0; r < TILE_ROWS && row + r < count_; r++)
                for (int g = 0; g < GROUPS; g++) {
                    const uint32_t found = at_least(counts[r][g], panels_.limits + GROUP * (group + g));
                    if (found && !report_all(found, from_ + row + r, group + g, counts[r][g])) return false;
                }
        }
        return true;
    }

    template <int GROUPS>
    void add_up(int64_t group, const int16_t* rows, Counts (&counts)[TILE_ROWS][GROUPS]) const {
        const int16_t* seeds = panels_.seeds + GROUP * width_ * group;
        Counts total[TILE_ROWS][GROUPS];
        for (int r = 0; r < TILE_ROWS; r++)
            for (int g = 0; g < GROUPS; g++) total[r][g] = no_counts();
        for (int64_t at = 0; at < width_; at += 2) {
            Seeds two[GROUPS];
            for (int g = 0; g < GROUPS; g++) two[g] = load_seeds(seeds + GROUP * (width_ * g + at));
            for (int r = 0; r < TILE_ROWS; r++) {
                uint32_t pair;
                std::memcpy(&pair, rows + width_ * r + at, sizeof pair);
                for (int g = 0; g < GROUPS; g++) add_products(total[r][g], pair, two[g]);
            }
        }
        for (int r = 0; r < TILE_ROWS; r++)
            for (int g = 0; g < GROUPS; g++) counts[r][g] = total[r][g];
    }

    bool report_all(uint32_t found, int64_t row, int64_t group, const Counts& counts) {
        int32_t lane[GROUP];
        store_counts(lane, counts);
        for (; found; found &= found - 1) {
            const uint32_t i = lowest(found);
            if (!report(hits_, static_cast<uint32_t>(row), static_cast<uint32_t>(GROUP * group) + i,
                        static_cast<uint32_t>(lane[i])))
                return false;
        }
        return true;
    }

    static constexpr int64_t BATCH = 120;  // a multiple of every TILE_ROWS
    static_assert(BATCH % TILE_ROWS == 0, "a tile may not reach past a batch");
    Panels panels_;
    int64_t width_, from_ = 0, count_ = 0;
    custodes_hits* hits_;
    int16_t* scaled_ = nullptr;
};

// --- sums of doubles ---

struct LongSum {
    double lane[8] = {};

    double total() {
        for (int width = 4; width; width /= 2)
            for (int i = 0; i < width; i++) lane[i] += lane[i + width];
        return lane[0];
    }
};

// The product of a row and a seed, and the square of the row, in double precision.
template <typename T>
inline void long_sums(const T* row, int64_t dimension, const double* seed, double* dot, double* square) {
    LongSum dots, squares;
    each_chunk(row, dimension, [&](int64_t at, const Floats(&x)[PARTS]) {
        float number[CHUNK];
        for (int p = 0; p < PARTS; p++) store(number + FLOATS * p, x[p]);
        for (int i = 0; i < CHUNK; i += 8)
            for (int j = 0; j < 8; j++) {
                const double wide = number[i + j];
                dots.lane[j] += wide * seed[at + i + j];
                squares.lane[j] += wide * wide;
            }
    });
    *dot = dots.total();
    *square = squares.total();
}

// work(rows) with rows of the type that they are of.
template <typename Work>
inline bool with_rows(const custodes_vectors& all_rows, Work work) {
    switch (all_rows.type) {
        case CUSTODES_FP16:
            return work(Rows<Half>{static_cast<const Half*>(all_rows.rows), all_rows.count, all_rows.dimension});
        case CUSTODES_FP32:
            return work(Rows<float>{static_cast<const float*>(all_rows.rows), all_rows.count, all_rows.dimension});
        default:
            return work(Rows<int8_t>{static_cast<const int8_t*>(all_rows.rows), all_rows.count, all_rows.dimension});
    }
}

}  // namespace CUSTODES_LEVEL
}  // namespace custodes
