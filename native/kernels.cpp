// The kernels of one level. Compiled once for each, with CUSTODES_LEVEL naming it: see build.py.
#include "custodes.h"
#include "exact.hpp"
#include "hamming.hpp"

#define CUSTODES_JOINED(level, name) custodes_##level##_##name
#define CUSTODES_NAMED(level, name) CUSTODES_JOINED(level, name)
#define KERNEL(name) extern "C" CUSTODES_API int CUSTODES_NAMED(CUSTODES_LEVEL, name)

using namespace custodes::CUSTODES_LEVEL;

// Sort codes by one band: 65,537 starts, then after and entries of `count` each.
KERNEL(band)(const uint8_t* codes, int64_t count, int64_t band, uint32_t* starts, uint32_t* after, uint32_t* entries) {
    sort_by_band(codes, count, static_cast<int>(band), {starts, after, entries});
    return 0;
}

// All pairs of a query and an entry within the radius, one query at a time.
KERNEL(probe)(const custodes_table* table, const custodes_chain* chain, const uint8_t* queries, int64_t count,
              custodes_hits* hits) {
    const Limits limits(*chain);
    Candidates candidates(queries, table->codes, limits, hits);
    Probe probe(*table, limits, &candidates);
    for (int64_t row = 0; row < count; row++)
        if (!probe.search(static_cast<uint32_t>(row), queries + CODE_BYTES * row)) return 1;
    return 0;
}

// The pairs that are reported at one band, of all queries; both tables are those of this band alone.
KERNEL(join)(const custodes_table* table, const custodes_table* queries, const custodes_chain* chain, int64_t band,
             custodes_hits* hits) {
    const Limits limits(*chain);
    Candidates candidates(queries->codes, table->codes, limits, hits);
    return join_band(*table, *queries, static_cast<int>(band), limits, &candidates) ? 0 : 1;
}

// All pairs within the radius by comparing everything; `columns` are the codes' eight words of 32 bits, `stride` apart.
KERNEL(compare)(const uint32_t* columns, int64_t stride, int64_t count, const uint8_t* queries, int64_t rows,
                int64_t radius, custodes_hits* hits) {
    const Columns codes{columns, stride, count};
    for (int64_t row = 0; row < rows; row++)
        if (!compare_all(codes, queries + CODE_BYTES * row, static_cast<uint32_t>(row), static_cast<uint32_t>(radius), hits)) return 1;
    return 0;
}

// Put codes in the order of an exact index: `buckets` + 1 heads, zeroed before; which row stands where; the rows so ordered.
KERNEL(exact_build)(const custodes_exact* rows, uint64_t* heads, uint32_t* order, uint8_t* codes) {
    return exact_build(*rows, {heads, order, codes}) ? 0 : 1;
}

// Runs of equal codes as hits: row of the query, first place in the index, how many places.
KERNEL(exact_search)(const custodes_exact* index, const uint8_t* queries, int64_t rows, custodes_hits* hits) {
    return exact_search(*index, queries, rows, hits) ? 0 : 1;
}
