// Cosines of every level against plain loops: the same bits of every sum, and the same pairs. Arrays have their exact
// size, so that a sanitizer sees a byte too far.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <tuple>
#include <vector>

#include "check.h"

extern "C" {
#define DECLARE_VECTORS(level)                                                                                    \
    int custodes_##level##_vectors_dots(const custodes_vectors*, const float*, int64_t, float*, float*);          \
    int custodes_##level##_vectors_near(const custodes_vectors*, const int16_t*, const int32_t*, int64_t, float*, \
                                        custodes_hits*);                                                          \
    int custodes_##level##_vectors_exact(const custodes_vectors*, const double*, const custodes_hit*, int64_t,    \
                                         double*, double*);
EACH_LEVEL(DECLARE_VECTORS)
}

namespace {

// Exactly as long as said: a vector may have room behind its end.
template <typename T>
struct Array {
    explicit Array(size_t count) : items(new T[count]()), size(count) {}
    T& operator[](size_t i) { return items[i]; }
    const T& operator[](size_t i) const { return items[i]; }
    T* get() const { return items.get(); }
    bool same_bits(const Array& other) const {  // two that are no numbers are the same, whatever their bits
        for (size_t i = 0; i < size; i++)
            if (std::memcmp(&items[i], &other.items[i], sizeof(T)) && items[i] == items[i]) return false;
        return true;
    }
    std::unique_ptr<T[]> items;
    size_t size;
};

constexpr size_t SIZES[] = {2, 4, 1};  // bytes of a number, by type

// Rows as bytes, and as the floats that they are.
struct Rows {
    Rows(size_t rows, size_t dim, int64_t kind)
        : bytes(rows * dim * SIZES[kind]), numbers(rows * dim), count(rows), dimension(dim), type(kind) {}
    custodes_vectors c() const {
        return {bytes.get(), static_cast<int64_t>(count), static_cast<int64_t>(dimension), type};
    }
    // Beyond the dimension, zero.
    float at(size_t row, size_t i) const { return i < dimension ? numbers[row * dimension + i] : 0; }
    Array<uint8_t> bytes;
    Array<float> numbers;
    size_t count, dimension;
    int64_t type;
};

float half_value(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float value = exponent ? std::ldexp(static_cast<float>(1024 + fraction), exponent - 25)
                           : std::ldexp(static_cast<float>(fraction), -24);
    if (exponent == 31) value = fraction ? NAN : INFINITY;
    return bits & 0x8000 ? -value : value;
}

float ordinary(Random& random) { return static_cast<float>(random.below(20001)) / 10000 - 1; }

void fill(Random& random, Rows& rows) {
    const bool strange = random.below(4) == 0;
    for (size_t i = 0; i < rows.numbers.size; i++) {
        if (rows.type == CUSTODES_INT8) {
            const int8_t value = static_cast<int8_t>(random.next());
            rows.bytes[i] = static_cast<uint8_t>(value);
            rows.numbers[i] = value;
        } else if (rows.type == CUSTODES_FP16) {
            uint16_t bits = static_cast<uint16_t>(random.next());
            if (!strange) bits = static_cast<uint16_t>((bits & 0x83FF) | (12 + random.below(4)) << 10);
            std::memcpy(rows.bytes.get() + 2 * i, &bits, 2);
            rows.numbers[i] = half_value(bits);
        } else {
            float value = ordinary(random);
            if (strange) value = std::ldexp(value, static_cast<int>(random.below(200)) - 100);
            std::memcpy(rows.bytes.get() + 4 * i, &value, 4);
            rows.numbers[i] = value;
        }
    }
    for (size_t row = 0; row < rows.count && rows.dimension; row++) {
        if (random.below(9)) continue;
        std::memset(rows.bytes.get() + row * rows.dimension * SIZES[rows.type], 0, rows.dimension * SIZES[rows.type]);
        std::fill_n(rows.numbers.get() + row * rows.dimension, rows.dimension, 0.0f);
    }
}

size_t filled_up(size_t dimension) { return (dimension + 31) / 32 * 32; }

template <typename T>
T folded(std::vector<T> lanes) {
    while (lanes.size() > 1) {
        const size_t half = lanes.size() / 2;
        for (size_t i = 0; i < half; i++) lanes[i] = lanes[i] + lanes[i + half];
        lanes.resize(half);
    }
    return lanes[0];
}

// The sum of term(i), i up to the dimension filled up, in so many lanes.
template <typename T, typename Term>
T summed(size_t dimension, size_t lanes, Term term) {
    std::vector<T> sums(lanes);
    for (size_t i = 0; i < filled_up(dimension); i++) {
        const volatile T product = term(i);  // volatile: rounded before it is added
        sums[i % lanes] = sums[i % lanes] + product;
    }
    return folded(sums);
}

float plain_square(const Rows& rows, size_t row) {
    return summed<float>(rows.dimension, 32, [&](size_t i) { return rows.at(row, i) * rows.at(row, i); });
}

struct Kernels {
    int (*dots)(const custodes_vectors*, const float*, int64_t, float*, float*);
    int (*near)(const custodes_vectors*, const int16_t*, const int32_t*, int64_t, float*, custodes_hits*);
    int (*exact)(const custodes_vectors*, const double*, const custodes_hit*, int64_t, double*, double*);
};

bool dots_agree(const Kernels& kernels, const Rows& rows, const Array<float>& weights, size_t count) {
    const size_t width = filled_up(rows.dimension);
    Array<float> dots(count * rows.count), squares(rows.count), plain_dots(dots.size), plain_squares(rows.count);
    for (size_t row = 0; row < rows.count; row++) {
        plain_squares[row] = plain_square(rows, row);
        for (size_t k = 0; k < count; k++)
            plain_dots[k * rows.count + row] =
                summed<float>(rows.dimension, 32, [&](size_t i) { return rows.at(row, i) * weights[k * width + i]; });
    }
    const custodes_vectors c = rows.c();
    if (kernels.dots(&c, weights.get(), static_cast<int64_t>(count), dots.get(), squares.get())) return false;
    return dots.same_bits(plain_dots) && (!count || squares.same_bits(plain_squares));
}

using Pair = std::tuple<uint32_t, uint32_t, uint32_t>;

std::vector<int> plain_scaled(const Rows& rows, size_t row) {
    std::vector<int> out(filled_up(rows.dimension));
    const float square = plain_square(rows, row);
    if (!(square >= std::ldexp(1.0f, -100) && square <= std::ldexp(1.0f, 100))) return out;
    const float factor = 32000.0f / std::sqrt(square);
    for (size_t i = 0; i < rows.dimension; i++) out[i] = static_cast<int>(std::nearbyint(rows.at(row, i) * factor));
    return out;
}

bool near_agrees(Random& random, const Kernels& kernels, const Rows& rows, size_t groups) {
    const size_t width = filled_up(rows.dimension), count = 16 * groups;
    Array<int16_t> seeds(count * width);
    Array<int32_t> limits(count);
    std::vector<int64_t> whole(count * width);
    for (size_t seed = 0; seed < count; seed++) {
        const bool one = random.below(4) == 0;  // the longest numbers there are
        const uint64_t most = static_cast<uint64_t>(32000 / std::sqrt(static_cast<double>(width)));
        for (size_t i = 0; i < width; i++) {
            int value = static_cast<int>(random.below(2 * most + 1)) - static_cast<int>(most);
            if (one) value = i == seed % width ? 32000 : 0;
            whole[seed * width + i] = value;
            seeds[((seed / 16 * (width / 2) + i / 2) * 16 + seed % 16) * 2 + i % 2] = static_cast<int16_t>(value);
        }
    }
    std::vector<std::vector<int64_t>> sums(rows.count, std::vector<int64_t>(count));
    for (size_t row = 0; row < rows.count; row++) {
        const std::vector<int> scaled = plain_scaled(rows, row);
        for (size_t seed = 0; seed < count; seed++)
            for (size_t i = 0; i < width; i++) sums[row][seed] += scaled[i] * whole[seed * width + i];
    }
    std::vector<Pair> expected;
    for (size_t seed = 0; seed < count; seed++) {  // some limits are met exactly
        const int64_t met = rows.count ? sums[random.below(rows.count)][seed] : 0;
        limits[seed] = random.below(8) ? static_cast<int32_t>(met) : random.below(2) ? INT32_MIN : INT32_MAX;
        for (size_t row = 0; row < rows.count; row++)
            if (sums[row][seed] >= limits[seed])
                expected.emplace_back(row, seed, static_cast<uint32_t>(static_cast<int32_t>(sums[row][seed])));
    }
    custodes_hits hits{};
    Array<float> squares(rows.count), plain_squares(rows.count);
    for (size_t row = 0; row < rows.count; row++) plain_squares[row] = plain_square(rows, row);
    const custodes_vectors c = rows.c();
    if (kernels.near(&c, seeds.get(), limits.get(), static_cast<int64_t>(groups), squares.get(), &hits)) return false;
    std::vector<Pair> found;
    for (int64_t i = 0; i < hits.count; i++)
        found.emplace_back(hits.hits[i].row, hits.hits[i].entry, hits.hits[i].distance);
    custodes_release(hits.hits);
    std::sort(found.begin(), found.end());
    std::sort(expected.begin(), expected.end());
    return found == expected && squares.same_bits(plain_squares);
}

bool exact_agrees(Random& random, const Kernels& kernels, const Rows& rows) {
    const size_t width = filled_up(rows.dimension), count = rows.count ? random.below(40) : 0, seeds = 3;
    Array<double> numbers(seeds * width), dots(count), squares(count), plain_dots(count), plain_squares(count);
    for (size_t i = 0; i < numbers.size; i++) numbers[i] = static_cast<double>(ordinary(random)) / 3;
    Array<custodes_hit> pairs(count);
    for (size_t i = 0; i < count; i++) {
        const size_t row = random.below(rows.count), seed = random.below(seeds);
        pairs[i] = {static_cast<uint32_t>(row), static_cast<uint32_t>(seed), 0};
        plain_dots[i] = summed<double>(rows.dimension, 8, [&](size_t j) {
            return static_cast<double>(rows.at(row, j)) * numbers[seed * width + j];
        });
        plain_squares[i] = summed<double>(rows.dimension, 8, [&](size_t j) {
            return static_cast<double>(rows.at(row, j)) * static_cast<double>(rows.at(row, j));
        });
    }
    const custodes_vectors c = rows.c();
    if (kernels.exact(&c, numbers.get(), pairs.get(), static_cast<int64_t>(count), dots.get(), squares.get()))
        return false;
    return dots.same_bits(plain_dots) && squares.same_bits(plain_squares);
}

}  // namespace

bool check(Random& random) {
    const size_t dimensions[] = {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 257};
    const size_t counts[] = {0, 1, 2, 5, 6, 7, 11, 12, 13, 25, 119, 120, 121, 250};
    Rows rows(counts[random.below(14)], dimensions[random.below(15)], static_cast<int64_t>(random.below(3)));
    fill(random, rows);
    const size_t count = random.below(10), groups = random.below(5);
    Array<float> weights(count * filled_up(rows.dimension));
    for (size_t i = 0; i < weights.size; i++) weights[i] = ordinary(random);
    const uint64_t seed = random.next();
#define RUN_LEVEL(level)                                                                                           \
    if (custodes_has_##level()) {                                                                                  \
        const Kernels kernels{custodes_##level##_vectors_dots, custodes_##level##_vectors_near,                    \
                              custodes_##level##_vectors_exact};                                                   \
        Random own(seed);                                                                                          \
        if (!dots_agree(kernels, rows, weights, count) || !near_agrees(own, kernels, rows, groups) ||              \
            !exact_agrees(own, kernels, rows)) {                                                                   \
            std::printf("%s differs: %d rows of %d, type %d, %d groups\n", #level, static_cast<int>(rows.count),   \
                        static_cast<int>(rows.dimension), static_cast<int>(rows.type), static_cast<int>(groups)); \
            return false;                                                                                          \
        }                                                                                                          \
    }
    EACH_LEVEL(RUN_LEVEL)
    return true;
}
