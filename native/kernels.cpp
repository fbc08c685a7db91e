// The kernels of one level. Compiled once for each, with CUSTODES_LEVEL naming it: see build.py.
#include "custodes.h"
#include "hamming.hpp"

#define CUSTODES_JOINED(level, name) custodes_##level##_##name
#define CUSTODES_NAMED(level, name) CUSTODES_JOINED(level, name)
#define KERNEL(name) extern "C" CUSTODES_API int CUSTODES_NAMED(CUSTODES_LEVEL, name)

using namespace custodes::CUSTODES_LEVEL;

// Sort codes by one band: 65,537 starts, then after and entries of `count` each.
KERNEL(band)(const uint8_t* codes, int64_t count, int band, uint32_t* starts, uint32_t* after, uint32_t* entries) {
    sort_by_band(codes, count, band, {starts, after, entries});
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
KERNEL(join)(const custodes_table* table, const custodes_table* queries, const custodes_chain* chain, int band,
             custodes_hits* hits) {
    const Limits limits(*chain);
    Candidates candidates(queries->codes, table->codes, limits, hits);
    return join_band(*table, *queries, band, limits, &candidates) ? 0 : 1;
}

// All pairs within the radius by comparing everything; `columns` are the codes' eight words of 32 bits, `stride` apart.
KERNEL(compare)(const uint32_t* columns, int64_t stride, int64_t count, const uint8_t* queries, int64_t rows,
                uint32_t radius, custodes_hits* hits) {
    const Columns codes{columns, stride, count};
    for (int64_t row = 0; row < rows; row++)
        if (!compare_all(codes, queries + CODE_BYTES * row, static_cast<uint32_t>(row), radius, hits)) return 1;
    return 0;
}
