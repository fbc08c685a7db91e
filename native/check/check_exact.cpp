// The exact index of every level against comparing everything, on odd sizes. Arrays have their exact size, so that a
// sanitizer sees a byte too far.
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "check.h"

extern "C" {
#define DECLARE_EXACT(level)                                                                   \
    int custodes_##level##_exact_build(const custodes_exact*, uint64_t*, uint32_t*, uint8_t*); \
    int custodes_##level##_exact_search(const custodes_exact*, const uint8_t*, int64_t, custodes_hits*);
EACH_LEVEL(DECLARE_EXACT)
}

namespace {

// Exactly as long as said: a vector may have room behind its end.
template <typename T>
struct Array {
    explicit Array(size_t count) : items(new T[count]()), size(count) {}
    bool operator==(const Array& other) const {
        return size == other.size && std::equal(items.get(), items.get() + size, other.items.get());
    }
    std::unique_ptr<T[]> items;
    size_t size;
};

struct Codes {
    Codes(size_t rows, size_t code_size) : bytes(rows * code_size), count(rows), size(code_size) {}
    uint8_t* at(size_t row) { return bytes.items.get() + row * size; }
    const uint8_t* at(size_t row) const { return bytes.items.get() + row * size; }
    Array<uint8_t> bytes;
    size_t count, size;
};

enum Kind { ANY, FEW, LAST_BYTE, ALIKE, ONE_KEY, KINDS };

uint64_t inverse(uint64_t odd) {
    uint64_t x = odd;
    for (int i = 0; i < 6; i++) x *= 2 - odd * x;  // Newton: right bits double
    return x;
}

// Words whose products with the first two factors add up to the same: one key for all.
void share_key(Random& random, uint8_t* code, size_t size) {
    const uint64_t first = random.next(), second = (99 - first * 0x9E3779B97F4A7C15u) * inverse(0xC2B2AE3D27D4EB4Fu);
    if (size < 16) return;
    std::memcpy(code, &first, 8);
    std::memcpy(code + (size < 24 ? size - 8 : 8), &second, 8);
}

Codes random_codes(Random& random, size_t count, size_t size, Kind kind) {
    Codes codes(count, size);
    for (size_t row = 0; row < count; row++) {
        uint8_t* code = codes.at(row);
        for (size_t i = 0; i < size; i++) {
            if (kind == ANY) code[i] = static_cast<uint8_t>(random.next());
            if (kind == ALIKE) code[i] = 255;
        }
        if (kind == FEW) std::memset(code, static_cast<int>(random.below(3)), size);
        if (kind == LAST_BYTE) code[size - 1] = static_cast<uint8_t>(random.below(200));
        if (kind == ONE_KEY) share_key(random, code, size);
    }
    return codes;
}

using Pair = std::pair<uint32_t, uint32_t>;

std::vector<Pair> plain_search(const Codes& codes, const Codes& queries) {
    std::vector<Pair> found;
    for (size_t row = 0; row < queries.count; row++)
        for (size_t at = 0; at < codes.count; at++)
            if (!std::memcmp(codes.at(at), queries.at(row), codes.size))
                found.emplace_back(static_cast<uint32_t>(row), static_cast<uint32_t>(at));
    return found;
}

struct Kernels {
    int (*build)(const custodes_exact*, uint64_t*, uint32_t*, uint8_t*);
    int (*search)(const custodes_exact*, const uint8_t*, int64_t, custodes_hits*);
};

bool agrees(const Kernels& kernels, const Codes& codes, const Codes& queries, const std::vector<Pair>& expected) {
    const size_t buckets = codes.count / 4 + 1;
    Array<uint64_t> heads(buckets + 1);
    Array<uint32_t> order(codes.count);
    Codes sorted(codes.count, codes.size);
    custodes_exact index{nullptr, codes.at(0), static_cast<int64_t>(codes.count), static_cast<int64_t>(buckets),
                         static_cast<int64_t>(codes.size)};
    if (kernels.build(&index, heads.items.get(), order.items.get(), sorted.at(0))) return false;
    for (size_t at = 0; at < codes.count; at++)
        if (std::memcmp(sorted.at(at), codes.at(order.items[at]), codes.size)) return false;
    index.heads = heads.items.get();
    index.codes = sorted.at(0);
    custodes_hits hits{};
    std::vector<Pair> found;
    if (kernels.search(&index, queries.at(0), static_cast<int64_t>(queries.count), &hits)) return false;
    for (int64_t i = 0; i < hits.count; i++)
        for (uint32_t at = 0; at < hits.hits[i].distance; at++)  // equal ones are in the order of their rows
            found.emplace_back(hits.hits[i].row, order.items[hits.hits[i].entry + at]);
    custodes_release(hits.hits);
    return found == expected;
}

}  // namespace

bool check(Random& random) {
    const size_t sizes[] = {8, 9, 15, 16, 17, 20, 24, 31, 32, 33, 63, 64};
    const size_t counts[] = {0, 1, 2, 15, 16, 17, 33, 127, 128, 129, 300};
    const size_t size = sizes[random.below(12)];
    const Kind kind = static_cast<Kind>(random.below(KINDS)), other = static_cast<Kind>(random.below(KINDS));
    const size_t count = random.below(8) ? counts[random.below(11)] : random.below(4000);
    const Codes codes = random_codes(random, count, size, kind);
    Codes queries = random_codes(random, counts[random.below(11)], size, other);
    for (size_t row = 0; row < queries.count && codes.count; row++) {  // a third entries, a third nearly
        if (row % 3 == 0) continue;
        std::memcpy(queries.at(row), codes.at(random.below(codes.count)), size);
        if (row % 3 == 1) queries.at(row)[random.below(size)] ^= static_cast<uint8_t>(1 << random.below(8));
    }
    const auto expected = plain_search(codes, queries);
#define RUN_LEVEL(level)                                                                                        \
    if (custodes_has_##level() &&                                                                               \
        !agrees({custodes_##level##_exact_build, custodes_##level##_exact_search}, codes, queries, expected)) { \
        std::printf("%s differs: %d codes of %d bytes, %d queries\n", #level, static_cast<int>(codes.count),    \
                    static_cast<int>(size), static_cast<int>(queries.count));                                   \
        return false;                                                                                           \
    }
    EACH_LEVEL(RUN_LEVEL)
    return true;
}
