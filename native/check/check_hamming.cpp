// The search kernels of every level against comparing everything, on odd sizes. Arrays have their exact size, so that a
// sanitizer sees a byte too far.
#include <algorithm>
#include <cstring>
#include <tuple>
#include <vector>

#include "check.h"

namespace {

using Pair = std::tuple<uint32_t, uint32_t, uint32_t>;

constexpr size_t SPARE = 32;

struct Codes {
    std::vector<uint8_t> bytes;
    int64_t count;
};

Codes random_codes(Random& random, int64_t count, int kind) {
    Codes codes{std::vector<uint8_t>(static_cast<size_t>(count) * 32), count};
    for (auto& byte : codes.bytes)
        byte = static_cast<uint8_t>(kind == 2 ? 255 : kind == 1 ? random.below(2) : random.below(256));
    return codes;
}

uint32_t plain_distance(const uint8_t* a, const uint8_t* b) {
    uint32_t total = 0;
    for (int bit = 0; bit < 256; bit++) total += ((a[bit / 8] ^ b[bit / 8]) >> (bit % 8)) & 1;
    return total;
}

std::vector<Pair> plain_search(const Codes& codes, const Codes& queries, uint32_t radius) {
    std::vector<Pair> found;
    for (int64_t row = 0; row < queries.count; row++)
        for (int64_t at = 0; at < codes.count; at++) {
            const uint32_t bits = plain_distance(&queries.bytes[static_cast<size_t>(row) * 32],
                                                 &codes.bytes[static_cast<size_t>(at) * 32]);
            if (bits <= radius) found.emplace_back(static_cast<uint32_t>(row), static_cast<uint32_t>(at), bits);
        }
    return found;
}

std::vector<Pair> taken(custodes_hits& hits) {
    std::vector<Pair> found;
    for (int64_t i = 0; i < hits.count; i++)
        found.emplace_back(hits.hits[i].row, hits.hits[i].entry, hits.hits[i].distance);
    std::sort(found.begin(), found.end());
    custodes_release(hits.hits);
    hits = {};
    return found;
}

// Arrays of one band, or of all 16 one after the other.
struct Bands {
    std::vector<uint32_t> starts, entries;
    std::vector<uint16_t> near, far;
    Bands(int64_t count, size_t bands)
        : starts(65537 * bands),
          entries(static_cast<size_t>(count) * bands),
          near(static_cast<size_t>(count) * bands + SPARE),
          far(static_cast<size_t>(count) * bands + SPARE) {}
};

custodes_table table_of(const Codes& codes, const Bands& bands, size_t band) {
    const size_t count = static_cast<size_t>(codes.count);
    return {codes.bytes.data(),
            bands.starts.data() + 65537 * band,
            bands.near.data() + count * band,
            bands.far.data() + count * band,
            bands.entries.data() + count * band,
            codes.count};
}

custodes_chain chain_of(int radius) {
    custodes_chain chain{static_cast<uint32_t>(radius), {}};
    const int total = radius + 1, low = total / 16 - 1, more = total % 16;
    for (int i = 0; i < 16; i++) chain.threshold[i] = low + ((i + 1) * more / 16 - i * more / 16);
    return chain;
}

#define CHECK_LEVEL(level)                                                                                           \
    bool check_##level(const Codes& codes, const Codes& queries, int radius) {                                       \
        const auto expected = plain_search(codes, queries, static_cast<uint32_t>(radius));                           \
        const custodes_chain chain = chain_of(radius);                                                               \
        const size_t count = static_cast<size_t>(codes.count);                                                       \
        custodes_hits hits{};                                                                                        \
        Bands all(codes.count, 16);                                                                                  \
        for (size_t band = 0; band < 16; band++)                                                                     \
            custodes_##level##_band(codes.bytes.data(), codes.count, static_cast<int64_t>(band),                     \
                                    all.starts.data() + 65537 * band, all.near.data() + count * band,                \
                                    all.far.data() + count * band, all.entries.data() + count * band);               \
        const custodes_table whole = table_of(codes, all, 0);                                                        \
        custodes_##level##_probe(&whole, &chain, queries.bytes.data(), queries.count, &hits);                        \
        if (taken(hits) != expected) return false;                                                                   \
        for (size_t band = 0; band < 16; band++) {                                                                   \
            const custodes_table one = table_of(codes, all, band);                                                   \
            custodes_##level##_join(&one, &chain, static_cast<int64_t>(band), queries.bytes.data(), queries.count,   \
                                    &hits);                                                                          \
        }                                                                                                            \
        if (taken(hits) != expected) return false;                                                                   \
        const int64_t stride = codes.count + static_cast<int64_t>(SPARE);                                            \
        std::vector<uint32_t> columns(static_cast<size_t>(stride) * 8);                                              \
        for (size_t at = 0; at < count; at++)                                                                        \
            for (size_t word = 0; word < 8; word++)                                                                  \
                std::memcpy(&columns[static_cast<size_t>(stride) * word + at], &codes.bytes[at * 32 + word * 4], 4); \
        custodes_##level##_compare(columns.data(), stride, codes.count, queries.bytes.data(), queries.count, radius, \
                                   &hits);                                                                           \
        return taken(hits) == expected;                                                                              \
    }

EACH_LEVEL(CHECK_LEVEL)

}  // namespace

bool check(Random& random) {
    const uint64_t most = random.below(8) ? 70 : 2000;
    const Codes codes =
        random_codes(random, static_cast<int64_t>(random.below(most)), static_cast<int>(random.below(3)));
    Codes queries = random_codes(random, static_cast<int64_t>(random.below(40)), static_cast<int>(random.below(3)));
    const int radius = static_cast<int>(random.below(65));
    for (int64_t row = 0; row < queries.count && codes.count; row += 2) {  // half of them near an entry
        const uint64_t entry = random.below(static_cast<uint64_t>(codes.count));
        std::memcpy(&queries.bytes[static_cast<size_t>(row) * 32], &codes.bytes[entry * 32], 32);
        for (int flips = 0; flips < radius + 1; flips++) {
            const uint64_t bit = random.below(256);
            queries.bytes[static_cast<size_t>(row) * 32 + bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
        }
    }
#define RUN_LEVEL(level)                                                                                    \
    if (custodes_has_##level() && !check_##level(codes, queries, radius)) {                                 \
        std::printf("%s differs: %d codes, %d queries, radius %d\n", #level, static_cast<int>(codes.count), \
                    static_cast<int>(queries.count), radius);                                               \
        return false;                                                                                       \
    }
    EACH_LEVEL(RUN_LEVEL)
    return true;
}
