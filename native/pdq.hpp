// PDQ: luma of any size to 64 x 64, and that to 256 bits, their three reflections and the quality.
//
// The order of every float32 operation is fixed, and pdq.py has the same: products are rounded, then added one after
// the other, first term first. Vectors lie across sums, never along one. So all levels and NumPy give the same bits.
#pragma once

#include <cstdlib>

#include "custodes.h"
#include "floats.hpp"

namespace custodes {
namespace CUSTODES_LEVEL {

constexpr int GRID = 64;
constexpr int FREQUENCIES = 16;
constexpr int COEFFICIENTS = FREQUENCIES * FREQUENCIES;
constexpr int PDQ_BYTES = COEFFICIENTS / 8;

// --- rows: a band of luma to rows of (64, columns) ---

// VECTORS * FLOATS columns of one weighted sum of rows.
template <int VECTORS, typename Pixel>
inline void sum_rows_here(const Pixel* from, int64_t columns, const float* weights, int64_t support, float* to) {
    Floats total[VECTORS];
    for (int i = 0; i < VECTORS; i++) total[i] = product(load(from + FLOATS * i), all(weights[0]));
    for (int64_t at = 1; at < support; at++) {
        from += columns;
        const Floats weight = all(weights[at]);
        for (int i = 0; i < VECTORS; i++) total[i] = sum(total[i], product(load(from + FLOATS * i), weight));
    }
    for (int i = 0; i < VECTORS; i++) store(to + FLOATS * i, total[i]);
}

// Fewer columns than a vector has.
template <typename Pixel>
inline void sum_rows_narrow(const Pixel* from, int64_t columns, const float* weights, int64_t support, float* to) {
    for (int64_t column = 0; column < columns; column++) {
        float total = static_cast<float>(from[column]) * weights[0];
        for (int64_t at = 1; at < support; at++) total += static_cast<float>(from[column + columns * at]) * weights[at];
        to[column] = total;
    }
}

// The tents from `first` on, `count` of them. The band starts with the row where the first of them begins.
struct Range {
    int64_t first, count;
};

template <typename Pixel>
inline void sum_rows(const Pixel* band, int64_t columns, const custodes_tents& tents, Range range, float* out) {
    for (int64_t k = range.first; k < range.first + range.count; k++, out += columns) {
        const Pixel* from = band + columns * (tents.begin[k] - tents.begin[range.first]);
        const float* weights = tents.weights + tents.support * k;
        if (columns < FLOATS) {
            sum_rows_narrow(from, columns, weights, tents.support, out);
            continue;
        }
        int64_t column = 0;
        for (; column + 4 * FLOATS <= columns; column += 4 * FLOATS)
            sum_rows_here<4>(from + column, columns, weights, tents.support, out + column);
        for (; column + FLOATS <= columns; column += FLOATS)
            sum_rows_here<1>(from + column, columns, weights, tents.support, out + column);
        if (column < columns) {  // the last vector overlaps the one before
            column = columns - FLOATS;
            sum_rows_here<1>(from + column, columns, weights, tents.support, out + column);
        }
    }
}

// --- columns: (64, columns) to (64, 64) ---

// FLOATS rows side by side: (columns, FLOATS).
inline void turn(const float* rows, int64_t columns, float* out) {
    if (columns < FLOATS) {
        for (int64_t column = 0; column < columns; column++)
            for (int64_t i = 0; i < FLOATS; i++) out[FLOATS * column + i] = rows[columns * i + column];
        return;
    }
    for (int64_t column = 0; column < columns; column += FLOATS) {
        const int64_t at = column + FLOATS <= columns ? column : columns - FLOATS;
        Floats block[FLOATS];
        for (int64_t i = 0; i < FLOATS; i++) block[i] = load(rows + columns * i + at);
        transpose(block);
        for (int64_t i = 0; i < FLOATS; i++) store(out + FLOATS * (at + i), block[i]);
    }
}

// `turned` has room for columns * FLOATS.
inline void sum_columns(const float* rows, int64_t columns, const custodes_tents& tents, float* turned, float* luma) {
    for (int row = 0; row < GRID; row += FLOATS) {
        turn(rows + columns * row, columns, turned);
        for (int column = 0; column < GRID; column += FLOATS) {
            Floats total[FLOATS];
            for (int i = 0; i < FLOATS; i++) {
                const float* from = turned + FLOATS * tents.begin[column + i];
                const float* weights = tents.weights + tents.support * (column + i);
                total[i] = product(load(from), all(weights[0]));
                for (int64_t at = 1; at < tents.support; at++)
                    total[i] = sum(total[i], product(load(from + FLOATS * at), all(weights[at])));
            }
            transpose(total);
            for (int i = 0; i < FLOATS; i++) store(luma + GRID * (row + i) + column, total[i]);
        }
    }
}

// --- the code ---

// out[a][f] = sum over s of from[s][a] * dct[s][f]: once for the columns, once for the rows, turned each time.
template <int COUNT>
inline void project(const float* from, const float* dct, float* out) {
    constexpr int TOGETHER = 8;
    for (int f = 0; f < FREQUENCIES; f += FLOATS) {
        for (int a = 0; a < COUNT; a += TOGETHER) {
            Floats total[TOGETHER];
            for (int i = 0; i < TOGETHER; i++) total[i] = product(all(from[a + i]), load(dct + f));
            for (int s = 1; s < GRID; s++) {
                const Floats wave = load(dct + FREQUENCIES * s + f);
                for (int i = 0; i < TOGETHER; i++)
                    total[i] = sum(total[i], product(all(from[COUNT * s + a + i]), wave));
            }
            for (int i = 0; i < TOGETHER; i++) store(out + FREQUENCIES * (a + i) + f, total[i]);
        }
    }
}

// Whole numbers in the order of the floats, which have no negative zero.
inline void order_keys(const float* values, int32_t* keys) {
    std::memcpy(keys, values, COEFFICIENTS * sizeof *keys);
    for (int i = 0; i < COEFFICIENTS; i++) keys[i] ^= (keys[i] >> 31) & 0x7FFFFFFF;
}

// The lower median, the 128th smallest: the greatest number that at most 127 are below, found bit by bit.
inline int32_t lower_median(const int32_t* keys) {
    int32_t median = INT32_MIN;
    for (int bit = 31; bit >= 0; bit--) {
        const int32_t higher = bit == 31 ? 0 : median | int32_t{1} << bit;
        int32_t below = 0;
        for (int i = 0; i < COEFFICIENTS; i++) below += keys[i] < higher;
        if (below < COEFFICIENTS / 2) median = higher;
    }
    return median;
}

// Bit 16 i + j says whether coefficient (i, j) is above the median; bit 0 is the last of the code.
inline void write_code(const float* values, uint8_t* code) {
    int32_t keys[COEFFICIENTS];
    order_keys(values, keys);
    const int32_t median = lower_median(keys);
    for (int byte = 0; byte < PDQ_BYTES; byte++) {
        unsigned bits = 0;
        for (int i = 0; i < 8; i++) bits |= static_cast<unsigned>(keys[8 * byte + i] > median) << i;
        code[PDQ_BYTES - 1 - byte] = static_cast<uint8_t>(bits);
    }
}

// The code and those of the image flipped in x, in y, and in both: coefficients change signs, and so the median.
inline void write_codes(const float* coefficients, uint8_t* codes) {
    for (int form = 0; form < 4; form++) {
        float values[COEFFICIENTS];
        for (int k = 0; k < COEFFICIENTS; k++) {
            const int row = k / FREQUENCIES, column = k % FREQUENCIES;
            const int odd[4] = {0, row + 1, column + 1, row + column};
            const float value = odd[form] % 2 ? -coefficients[k] : coefficients[k];
            values[k] = value + 0.0f;  // which makes a negative zero positive
        }
        write_code(values, codes + PDQ_BYTES * form);
    }
}

// The whole per cent of a difference of neighbours, cut towards zero; enough of one for the highest score is enough.
inline int32_t change(float a, float b) {
    constexpr float ENOUGH = 9000;
    float percent = (a - b) * 100.0f / 255.0f;
    percent = percent < ENOUGH ? percent : ENOUGH;
    percent = percent > -ENOUGH ? percent : -ENOUGH;
    const int32_t whole = static_cast<int32_t>(percent);
    return whole < 0 ? -whole : whole;
}

inline uint8_t quality_of(const float* luma) {
    int32_t total = 0;
    for (int i = 0; i < GRID * (GRID - 1); i++) total += change(luma[i + GRID], luma[i]);
    for (int row = 0; row < GRID; row++)
        for (int i = GRID * row; i < GRID * row + GRID - 1; i++) total += change(luma[i + 1], luma[i]);
    return static_cast<uint8_t>(total / 90 < 100 ? total / 90 : 100);
}

// 129 bytes: the code, its three reflections, the quality. `dct` is (64, 16).
inline void write_pdq(const float* luma, const float* dct, uint8_t* out) {
    float half[GRID * FREQUENCIES], coefficients[COEFFICIENTS];
    project<GRID>(luma, dct, half);
    project<FREQUENCIES>(half, dct, coefficients);
    write_codes(coefficients, out);
    out[4 * PDQ_BYTES] = quality_of(luma);
}

}  // namespace CUSTODES_LEVEL
}  // namespace custodes
