// The PDQ kernels of every level against plain loops, bit for bit, on odd sizes. Arrays have their exact size, so that
// a sanitizer sees a byte too far.
#include <algorithm>
#include <cstring>
#include <vector>

#include "check.h"

#define DECLARE_PDQ(level)                                                                                             \
    extern "C" int custodes_##level##_pdq_rows_uint8(const uint8_t*, int64_t, const custodes_tents*, int64_t, int64_t, \
                                                     float*);                                                          \
    extern "C" int custodes_##level##_pdq_rows_float32(const float*, int64_t, const custodes_tents*, int64_t, int64_t, \
                                                       float*);                                                        \
    extern "C" int custodes_##level##_pdq(const float*, int64_t, const custodes_tents*, const float*, float*,          \
                                          uint8_t*);                                                                   \
    extern "C" int custodes_##level##_pdq_forms(const uint8_t*, int64_t, uint8_t*);
EACH_LEVEL(DECLARE_PDQ)

namespace {

constexpr size_t GRID = 64, FREQUENCIES = 16, COEFFICIENTS = 256, ANSWER = 129;

struct Axis {
    std::vector<int64_t> begin;
    std::vector<float> weights;
    size_t support;

    custodes_tents tents() const { return {begin.data(), weights.data(), static_cast<int64_t>(support)}; }
};

Axis random_axis(Random& random, size_t samples) {
    Axis axis{std::vector<int64_t>(GRID), {}, 1 + static_cast<size_t>(random.below(std::min<size_t>(samples, 9)))};
    for (auto& begin : axis.begin) begin = static_cast<int64_t>(random.below(samples - axis.support + 1));
    std::sort(axis.begin.begin(), axis.begin.end());
    axis.begin.back() = static_cast<int64_t>(samples - axis.support);  // so that the last sample is read
    axis.weights.resize(GRID * axis.support);
    const float share = 1.0f / (500.0f * static_cast<float>(axis.support));
    for (auto& weight : axis.weights) weight = static_cast<float>(random.below(1000)) * share;
    return axis;
}

struct Picture {
    size_t rows, columns;
    std::vector<uint8_t> bytes;
    std::vector<float> floats;
};

Picture random_picture(Random& random, size_t rows, size_t columns) {
    Picture picture{rows, columns, std::vector<uint8_t>(rows * columns), {}};
    const uint64_t kind = random.below(4), most = 1 + random.below(256);
    for (auto& byte : picture.bytes) {
        const uint64_t values[] = {0, most - 1, (most - 1) * random.below(2), random.below(most)};
        byte = static_cast<uint8_t>(values[kind]);
    }
    picture.floats.assign(picture.bytes.begin(), picture.bytes.end());
    return picture;
}

// --- the plain way ---

std::vector<float> plain_rows(const Picture& picture, const Axis& lines) {
    std::vector<float> out(GRID * picture.columns);
    for (size_t k = 0; k < GRID; k++)
        for (size_t column = 0; column < picture.columns; column++) {
            float total = 0;
            for (size_t at = 0; at < lines.support; at++)
                total += picture.floats[(static_cast<size_t>(lines.begin[k]) + at) * picture.columns + column] *
                         lines.weights[k * lines.support + at];
            out[k * picture.columns + column] = total;
        }
    return out;
}

std::vector<float> plain_columns(const std::vector<float>& rows, size_t width, const Axis& columns) {
    std::vector<float> out(GRID * GRID);
    for (size_t row = 0; row < GRID; row++)
        for (size_t k = 0; k < GRID; k++) {
            float total = 0;
            for (size_t at = 0; at < columns.support; at++)
                total += rows[row * width + static_cast<size_t>(columns.begin[k]) + at] *
                         columns.weights[k * columns.support + at];
            out[row * GRID + k] = total;
        }
    return out;
}

void plain_code(const std::vector<float>& values, uint8_t* code) {
    std::vector<float> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    std::memset(code, 0, 32);
    for (size_t k = 0; k < COEFFICIENTS; k++)
        if (values[k] > sorted[127]) code[31 - k / 8] = static_cast<uint8_t>(code[31 - k / 8] | 1 << (k % 8));
}

int plain_quality(const std::vector<float>& luma) {
    int total = 0;
    for (size_t row = 0; row < GRID; row++)
        for (size_t column = 0; column < GRID; column++) {
            const float own = luma[row * GRID + column];
            if (row + 1 < GRID)
                total += std::abs(static_cast<int>((luma[(row + 1) * GRID + column] - own) * 100.0f / 255.0f));
            if (column + 1 < GRID)
                total += std::abs(static_cast<int>((luma[row * GRID + column + 1] - own) * 100.0f / 255.0f));
        }
    return std::min(100, total / 90);
}

std::vector<float> plain_coefficients(const std::vector<float>& luma, const std::vector<float>& dct) {
    std::vector<float> half(FREQUENCIES * GRID), out(COEFFICIENTS);
    for (size_t i = 0; i < FREQUENCIES; i++)
        for (size_t column = 0; column < GRID; column++)
            for (size_t row = 0; row < GRID; row++)
                half[i * GRID + column] += luma[row * GRID + column] * dct[row * FREQUENCIES + i];
    for (size_t i = 0; i < FREQUENCIES; i++)
        for (size_t j = 0; j < FREQUENCIES; j++)
            for (size_t column = 0; column < GRID; column++)
                out[i * FREQUENCIES + j] += half[i * GRID + column] * dct[column * FREQUENCIES + j];
    return out;
}

std::vector<uint8_t> plain_answer(const std::vector<float>& luma, const std::vector<float>& dct) {
    const std::vector<float> coefficients = plain_coefficients(luma, dct);
    std::vector<uint8_t> out(ANSWER);
    for (size_t form = 0; form < 4; form++) {
        std::vector<float> values = coefficients;
        for (size_t k = 0; k < COEFFICIENTS; k++) {
            const bool row_odd = k / FREQUENCIES % 2 == 0, column_odd = k % 2 == 0;  // counted from frequency 1
            if ((form == 1 && row_odd) || (form == 2 && column_odd) || (form == 3 && row_odd != column_odd))
                values[k] = -values[k];
        }
        plain_code(values, &out[form * 32]);
    }
    out[128] = static_cast<uint8_t>(plain_quality(luma));
    return out;
}

bool bit_of(const uint8_t* code, size_t k) { return code[31 - k / 8] >> (k % 8) & 1; }

std::vector<uint8_t> plain_forms(const std::vector<uint8_t>& codes) {
    constexpr size_t SQUARE[] = {0, 2, 3, 1, 1, 2, 0, 3};
    constexpr bool TURNED[] = {false, true, false, true, false, false, true, true};
    std::vector<uint8_t> out(codes.size() * 2);
    for (size_t i = 0; i < codes.size() / 128; i++)
        for (size_t form = 0; form < 8; form++)
            for (size_t k = 0; k < COEFFICIENTS; k++) {
                const size_t from = TURNED[form] ? k % 16 * 16 + k / 16 : k;
                uint8_t& byte = out[i * 256 + form * 32 + 31 - k / 8];
                if (bit_of(&codes[i * 128 + SQUARE[form] * 32], from)) byte = static_cast<uint8_t>(byte | 1 << (k % 8));
            }
    return out;
}

// --- the kernels ---

struct Case {
    Picture picture;
    Axis lines, columns;
    std::vector<float> dct;
    std::vector<uint8_t> codes;
    size_t step;  // tents to a band
};

template <typename Pixel>
std::vector<Pixel> band_of(const std::vector<Pixel>& pixels, const Case& given, size_t first, size_t last) {
    const size_t top = static_cast<size_t>(given.lines.begin[first]);
    const size_t bottom = static_cast<size_t>(given.lines.begin[last]) + given.lines.support,
                 width = given.picture.columns;
    return {pixels.begin() + static_cast<ptrdiff_t>(top * width),
            pixels.begin() + static_cast<ptrdiff_t>(bottom * width)};
}

struct Level {
    decltype(&custodes_baseline_pdq_rows_uint8) rows_of_bytes;
    decltype(&custodes_baseline_pdq_rows_float32) rows_of_floats;
    decltype(&custodes_baseline_pdq) pdq;
    decltype(&custodes_baseline_pdq_forms) forms;
};

template <typename Pixel, typename Kernel>
std::vector<float> rows_by(const Case& given, const std::vector<Pixel>& pixels, Kernel kernel) {
    const custodes_tents tents = given.lines.tents();
    const size_t width = given.picture.columns;
    std::vector<float> out;
    for (size_t first = 0; first < GRID; first += given.step) {
        const size_t count = std::min(given.step, GRID - first);
        const std::vector<Pixel> band = band_of(pixels, given, first, first + count - 1);
        std::vector<float> part(count * width);
        kernel(band.data(), static_cast<int64_t>(width), &tents, static_cast<int64_t>(first),
               static_cast<int64_t>(count), part.data());
        out.insert(out.end(), part.begin(), part.end());
    }
    out.shrink_to_fit();
    return out;
}

bool agrees(const Case& given, const Level& level) {
    const std::vector<float> rows = plain_rows(given.picture, given.lines);
    if (rows_by(given, given.picture.bytes, level.rows_of_bytes) != rows) return false;
    if (rows_by(given, given.picture.floats, level.rows_of_floats) != rows) return false;
    const std::vector<float> expected = plain_columns(rows, given.picture.columns, given.columns);
    const custodes_tents tents = given.columns.tents();
    std::vector<float> luma(GRID * GRID);
    std::vector<uint8_t> answer(ANSWER), forms(given.codes.size() * 2);
    level.pdq(rows.data(), static_cast<int64_t>(given.picture.columns), &tents, given.dct.data(), luma.data(),
              answer.data());
    level.forms(given.codes.data(), static_cast<int64_t>(given.codes.size() / 128), forms.data());
    return luma == expected && answer == plain_answer(luma, given.dct) && forms == plain_forms(given.codes);
}

Case random_case(Random& random) {
    constexpr size_t SIDES[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 67, 127, 131, 300};
    const bool long_one = random.below(16) == 0;  // one side is extreme
    size_t rows = SIDES[random.below(19)], columns = long_one ? 16383 : SIDES[random.below(19)];
    if (long_one) rows = 1 + rows % 5;
    if (long_one && random.below(2)) std::swap(rows, columns);
    Case given{random_picture(random, rows, columns),
               random_axis(random, rows),
               random_axis(random, columns),
               std::vector<float>(GRID * FREQUENCIES),
               std::vector<uint8_t>(128 * random.below(4)),
               1 + static_cast<size_t>(random.below(GRID))};
    for (auto& value : given.dct) value = static_cast<float>(random.below(2001)) / 1000.0f - 1.0f;
    for (auto& byte : given.codes) byte = static_cast<uint8_t>(random.below(256));
    return given;
}

}  // namespace

bool check(Random& random) {
    const Case given = random_case(random);
#define RUN_LEVEL(level)                                                                               \
    if (custodes_has_##level() &&                                                                      \
        !agrees(given, {custodes_##level##_pdq_rows_uint8, custodes_##level##_pdq_rows_float32,        \
                        custodes_##level##_pdq, custodes_##level##_pdq_forms})) {                      \
        std::printf("%s differs: %d rows, %d columns\n", #level, static_cast<int>(given.picture.rows), \
                    static_cast<int>(given.picture.columns));                                          \
        return false;                                                                                  \
    }
    EACH_LEVEL(RUN_LEVEL)
    return true;
}
