// The kernels of one level. Compiled once for each, with CUSTODES_LEVEL naming it: see build.py.
#include "custodes.h"
#include "exact.hpp"
#include "forms.hpp"
#include "hamming.hpp"
#include "pdq.hpp"
#include "pixels.hpp"
#include "resize.hpp"
#include "vectors.hpp"

#define CUSTODES_JOINED(level, name) custodes_##level##_##name
#define CUSTODES_NAMED(level, name) CUSTODES_JOINED(level, name)
#define KERNEL(name) extern "C" CUSTODES_API int CUSTODES_NAMED(CUSTODES_LEVEL, name)

using namespace custodes::CUSTODES_LEVEL;

// Sort codes by one band: 65,537 starts, then near, far and entries of `count` each.
KERNEL(band)
(const uint8_t* codes, int64_t count, int64_t band, uint32_t* starts, uint16_t* near, uint16_t* far,
 uint32_t* entries) {
    sort_by_band(codes, count, static_cast<int>(band), {starts, near, far, entries});
    return 0;
}

// All pairs of a query and an entry within the radius, one query at a time.
KERNEL(probe)
(const custodes_table* table, const custodes_chain* chain, const uint8_t* queries, int64_t count, custodes_hits* hits) {
    const Limits limits(*chain);
    Candidates candidates(queries, table->codes, limits, hits);
    Probe probe(*table, limits, &candidates);
    for (int64_t row = 0; row < count; row++)
        if (!probe.search(static_cast<uint32_t>(row), queries + CODE_BYTES * row)) return 1;
    return 0;
}

// The pairs that are reported at one band, of all queries together; the table is that of this band alone.
KERNEL(join)
(const custodes_table* table, const custodes_chain* chain, int64_t band, const uint8_t* queries, int64_t count,
 custodes_hits* hits) {
    const Limits limits(*chain);
    Candidates candidates(queries, table->codes, limits, hits);
    return join_band(*table, {queries, count}, static_cast<int>(band), limits, &candidates) ? 0 : 1;
}

// All pairs within the radius by comparing everything; `columns` are the codes' eight words of 32 bits, `stride` apart.
KERNEL(compare)
(const uint32_t* columns, int64_t stride, int64_t count, const uint8_t* queries, int64_t rows, int64_t radius,
 custodes_hits* hits) {
    const Columns codes{columns, stride, count};
    for (int64_t row = 0; row < rows; row++)
        if (!compare_all(codes, queries + CODE_BYTES * row, static_cast<uint32_t>(row), static_cast<uint32_t>(radius),
                         hits))
            return 1;
    return 0;
}

// Put codes in the order of an exact index: `buckets` + 1 heads, zeroed before; which row stands where; the rows so
// ordered.
KERNEL(exact_build)(const custodes_exact* rows, uint64_t* heads, uint32_t* order, uint8_t* codes) {
    return exact_build(*rows, {heads, order, codes}) ? 0 : 1;
}

// Runs of equal codes as hits: row of the query, first place in the index, how many places.
KERNEL(exact_search)(const custodes_exact* index, const uint8_t* queries, int64_t rows, custodes_hits* hits) {
    return exact_search(*index, queries, rows, hits) ? 0 : 1;
}

// `count` weighted sums of the rows of a band, from the tent `first` on, whose begin is the first row of the band.
KERNEL(pdq_rows_uint8)
(const uint8_t* band, int64_t columns, const custodes_tents* tents, int64_t first, int64_t count, float* out) {
    sum_rows(band, columns, *tents, {first, count}, out);
    return 0;
}

KERNEL(pdq_rows_float32)
(const float* band, int64_t columns, const custodes_tents* tents, int64_t first, int64_t count, float* out) {
    sum_rows(band, columns, *tents, {first, count}, out);
    return 0;
}

// 64 rows of weighted sums to the 64 x 64 luma, and to 129 bytes: the code, its three reflections, the quality.
KERNEL(pdq)
(const float* rows, int64_t columns, const custodes_tents* tents, const float* dct, float* luma, uint8_t* out) {
    void* space = std::malloc(static_cast<size_t>(columns) * FLOATS * sizeof(float));
    if (!space) return 1;
    sum_columns(rows, columns, *tents, static_cast<float*>(space), luma);
    std::free(space);
    write_pdq(luma, dct, out);
    return 0;
}

// The eight forms of each code with its reflections: (count, 128) to (count, 8, 32).
KERNEL(pdq_forms)(const uint8_t* codes, int64_t count, uint8_t* forms) {
    for (int64_t i = 0; i < count; i++) write_forms(codes + 4 * PDQ_BYTES * i, forms + 8 * PDQ_BYTES * i);
    return 0;
}

// Of each vector its square, and its products with `count` others (their numbers filled up to a multiple of 32): all
// products with the first one, then with the second.
KERNEL(vectors_dots)
(const custodes_vectors* vectors, const float* weights, int64_t count, float* products, float* squares) {
    with_rows(*vectors, [&](const auto& rows) {
        dots(rows, weights, count, products, squares);
        return true;
    });
    return 0;
}

// Pairs of a vector and a seed whose sum of integers reaches the seed's limit, and the square of each vector. Seeds and
// limits are laid out as vectors.hpp says. A vector whose square is out of range has the sum 0 with every seed.
KERNEL(vectors_near)
(const custodes_vectors* vectors, const int16_t* seeds, const int32_t* limits, int64_t groups, float* squares,
 custodes_hits* hits) {
    Near near({seeds, limits, groups}, vectors->dimension, hits);
    return with_rows(*vectors, [&](const auto& rows) { return near.search(rows, squares); }) ? 0 : 1;
}

// Of each pair the product of its vector and its seed (numbers filled up to a multiple of 32), and the vector's square.
KERNEL(vectors_exact)
(const custodes_vectors* vectors, const double* seeds, const custodes_hit* pairs, int64_t count, double* products,
 double* squares) {
    const int64_t stride = filled_up(vectors->dimension);
    with_rows(*vectors, [&](const auto& rows) {
        for (int64_t i = 0; i < count; i++)
            long_sums(rows.row(pairs[i].row), rows.dimension, seeds + stride * pairs[i].entry, products + i,
                      squares + i);
        return true;
    });
    return 0;
}

// Filters taken off: `count` rows of a filter's number, 0 to 4, and `size` bytes, to rows of `size` bytes. `zeros` are
// `size` bytes.
KERNEL(png_restore)
(const uint8_t* rows, int64_t count, int64_t size, int64_t step, const uint8_t* zeros, uint8_t* out) {
    restore_rows(rows, count, size, step, zeros, out);
    return 0;
}

// Rows of `size` bytes filtered by the average: each with the filter's number before it.
KERNEL(png_average)
(const uint8_t* pixels, int64_t count, int64_t size, int64_t step, const uint8_t* zeros, uint8_t* out) {
    average_rows(pixels, count, size, step, zeros, out);
    return 0;
}

// Deflated, at least one byte: `out` has the room that pixels.hpp says; `*written` bytes of it are used.
KERNEL(deflate)(const uint8_t* data, int64_t size, uint8_t* out, int64_t* written) {
    *written = pack(data, size, out);
    return 0;
}

// Luma of `count` pixels of red, green and blue.
KERNEL(luma)(const uint8_t* rgb, int64_t count, uint8_t* out) {
    luma_of(rgb, count, out);
    return 0;
}

// Of `rows` rows of `width` pixels (red, green, blue) `count` weighted sums of each: see resize.hpp.
KERNEL(resize_columns)
(const uint8_t* pixels, int64_t rows, int64_t width, const int32_t* starts, const int32_t* counts,
 const int32_t* weights, int64_t taps, int64_t count, uint8_t* out) {
    resize_columns(pixels, rows, width, {starts, counts, weights, taps, count}, out);
    return 0;
}

// The same of columns: `count` weighted sums of rows of `size` bytes.
KERNEL(resize_rows)
(const uint8_t* pixels, int64_t size, const int32_t* starts, const int32_t* counts, const int32_t* weights,
 int64_t taps, int64_t count, uint8_t* out) {
    resize_rows(pixels, size, {starts, counts, weights, taps, count}, out);
    return 0;
}
