// PNG's filters, deflate, luma and the sums of resizing, of every level against plain loops, on odd sizes. Arrays have
// their exact size, so that a sanitizer sees a byte too far.
#include <algorithm>
#include <vector>

#include "check.h"

#define DECLARE_PIXELS(level)                                                                                          \
    extern "C" int custodes_##level##_png_restore(const uint8_t*, int64_t, int64_t, int64_t, const uint8_t*,           \
                                                  uint8_t*);                                                           \
    extern "C" int custodes_##level##_png_average(const uint8_t*, int64_t, int64_t, int64_t, const uint8_t*,           \
                                                  uint8_t*);                                                           \
    extern "C" int custodes_##level##_deflate(const uint8_t*, int64_t, uint8_t*, int64_t*);                            \
    extern "C" int custodes_##level##_luma(const uint8_t*, int64_t, uint8_t*);                                         \
    extern "C" int custodes_##level##_resize_columns(const uint8_t*, int64_t, int64_t, const int32_t*, const int32_t*, \
                                                     const int32_t*, int64_t, int64_t, uint8_t*);                      \
    extern "C" int custodes_##level##_resize_rows(const uint8_t*, int64_t, const int32_t*, const int32_t*,             \
                                                  const int32_t*, int64_t, int64_t, uint8_t*);
EACH_LEVEL(DECLARE_PIXELS)

namespace {

using Bytes = std::vector<uint8_t>;

Bytes random_bytes(Random& random, size_t size) {
    Bytes bytes(size);
    const uint64_t most = 1 + random.below(256), kept = random.below(40);
    for (size_t i = 0; i < size; i++)
        bytes[i] = i && random.below(40) < kept ? bytes[i - 1] : static_cast<uint8_t>(random.below(most));
    return bytes;
}

// --- the plain way ---

uint8_t foretold(int filter, int a, int b, int c) {
    if (filter == 1) return static_cast<uint8_t>(a);
    if (filter == 2) return static_cast<uint8_t>(b);
    if (filter == 3) return static_cast<uint8_t>((a + b) / 2);
    if (filter == 0) return 0;
    const int p = a + b - c, pa = std::abs(p - a), pb = std::abs(p - b), pc = std::abs(p - c);
    return static_cast<uint8_t>(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}

Bytes plain_restored(const Bytes& rows, size_t count, size_t size, size_t step) {
    Bytes out(count * size);
    for (size_t row = 0; row < count; row++)
        for (size_t i = 0; i < size; i++) {
            const auto at = [&](size_t r, size_t j) { return static_cast<int>(out[r * size + j]); };
            const int a = i < step ? 0 : at(row, i - step), b = row ? at(row - 1, i) : 0;
            const int c = row && i >= step ? at(row - 1, i - step) : 0;
            const uint8_t* told = rows.data() + row * (size + 1);
            out[row * size + i] = static_cast<uint8_t>(told[1 + i] + foretold(told[0], a, b, c));
        }
    return out;
}

// Inflates what is of blocks with codes of their own (RFC 1951, section 3.2.7); empty where it is not that.
class Inflated {
  public:
    Bytes out;

    explicit Inflated(const Bytes& data) : data_(data) {
        while (whole_ && !block()) {
        }
        if (!whole_ || at_ > 8 * data.size()) out.clear();
    }

  private:
    struct Table {
        std::vector<unsigned> sizes, codes;
    };

    unsigned bits(unsigned count) {
        unsigned value = 0;
        for (unsigned i = 0; i < count; i++, at_++)
            if (at_ < 8 * data_.size()) value |= static_cast<unsigned>(data_[at_ / 8] >> (at_ % 8) & 1) << i;
        if (at_ > 8 * data_.size()) whole_ = false;
        return value;
    }

    static Table table(std::vector<unsigned> sizes) {
        std::vector<unsigned> codes(sizes.size());
        unsigned next = 0;
        for (unsigned size = 1; size < 16; size++, next <<= 1)
            for (size_t s = 0; s < sizes.size(); s++)
                if (sizes[s] == size) codes[s] = next++;
        return {std::move(sizes), std::move(codes)};
    }

    unsigned symbol(const Table& table) {
        unsigned code = 0;
        for (unsigned size = 1; size < 16 && whole_; size++) {
            code = code << 1 | bits(1);
            for (size_t s = 0; s < table.sizes.size(); s++)
                if (table.sizes[s] == size && table.codes[s] == code) return static_cast<unsigned>(s);
        }
        whole_ = false;
        return 0;
    }

    bool block() {  // whether it is the last
        const bool last = bits(1);
        if (bits(2) != 2) whole_ = false;
        const unsigned literals = 257 + bits(5), distances = 1 + bits(5), told = 4 + bits(4);
        constexpr unsigned ORDER[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
        std::vector<unsigned> sizes(19), all;
        for (unsigned i = 0; i < told; i++) sizes[ORDER[i]] = bits(3);
        const Table of_sizes = table(sizes);
        for (unsigned i = 0; i < literals + distances; i++) all.push_back(symbol(of_sizes));
        const Table codes = table({all.begin(), all.begin() + literals}),
                    far = table({all.begin() + literals, all.end()});
        for (unsigned found = symbol(codes); whole_ && found != 256; found = symbol(codes)) {
            if (found < 256) {
                out.push_back(static_cast<uint8_t>(found));
                continue;
            }
            const unsigned extra = found < 265 || found == 285 ? 0 : (found - 261) / 4;
            const unsigned base = found == 285  ? 258
                                  : found < 265 ? found - 254
                                                : 3 + ((4 + (found - 265) % 4) << extra);
            const unsigned length = base + bits(extra);
            if (symbol(far) != 0 || out.empty()) whole_ = false;
            for (unsigned i = 0; i < length && whole_; i++) out.push_back(out.back());
        }
        return last;
    }

    const Bytes& data_;
    size_t at_ = 0;
    bool whole_ = true;
};

struct Sums {
    std::vector<int32_t> starts, counts, weights;
    size_t taps;
};

Sums random_sums(Random& random, size_t samples) {
    Sums sums{{}, {}, {}, 1 + random.below(std::min<size_t>(samples, 7))};
    for (uint64_t i = 0, count = 1 + random.below(20); i < count; i++) {
        const size_t taps = 1 + random.below(sums.taps),
                     start = random.below(2) ? samples - taps : random.below(samples - taps + 1);
        sums.starts.push_back(static_cast<int32_t>(start));
        sums.counts.push_back(static_cast<int32_t>(taps));
        for (size_t tap = 0; tap < sums.taps; tap++)
            sums.weights.push_back(static_cast<int32_t>(random.below(1 << 20)) - (1 << 18));
    }
    return sums;
}

// Sums of samples `stride` apart, each of which is one of `inner` beside each other; `outer` such lines.
Bytes plain_sums(const Bytes& from, size_t outer, size_t length, size_t inner, const Sums& sums) {
    Bytes out;
    for (size_t line = 0; line < outer; line++)
        for (size_t i = 0; i < sums.starts.size(); i++)
            for (size_t c = 0; c < inner; c++) {
                int64_t total = 1 << 21;
                for (size_t tap = 0; tap < static_cast<size_t>(sums.counts[i]); tap++)
                    total += from[(line * length + static_cast<size_t>(sums.starts[i]) + tap) * inner + c] *
                             static_cast<int64_t>(sums.weights[i * sums.taps + tap]);
                out.push_back(static_cast<uint8_t>(std::clamp<int64_t>(total >> 22, 0, 255)));
            }
    return out;
}

bool agree(const char* what, const Bytes& one, const Bytes& other) {
    if (one == other) return true;
    std::printf("%s differs\n", what);
    return false;
}

int64_t size_of(const Bytes& bytes) { return static_cast<int64_t>(bytes.size()); }

}  // namespace

#define CHECK_LEVEL(level)                                                                                       \
    if (custodes_has_##level()) {                                                                                \
        Bytes out(restored.size()), filtered(rows.size()), back(restored.size()), grey(pixels.size() / 3);       \
        custodes_##level##_png_restore(rows.data(), rows_count, row_size, pixel, zeros.data(), out.data());      \
        if (!agree(#level ": what a filter leaves", out, restored)) return false;                                \
        custodes_##level##_png_average(out.data(), rows_count, row_size, pixel, zeros.data(), filtered.data());  \
        if (!agree(#level ": the average", plain_restored(filtered, count, size, step), restored)) return false; \
        Bytes packed(text.size() * 3 / 2 + 512 * (text.size() / (1 << 17) + 1) + 64);                            \
        int64_t written = 0;                                                                                     \
        custodes_##level##_deflate(text.data(), size_of(text), packed.data(), &written);                         \
        packed.resize(static_cast<size_t>(written));                                                             \
        if (!agree(#level ": what was deflated", Inflated(packed).out, text)) return false;                      \
        custodes_##level##_luma(pixels.data(), size_of(grey), grey.data());                                      \
        if (!agree(#level ": luma", grey, luma)) return false;                                                   \
        Bytes narrow(by_columns.size()), low(by_rows.size());                                                    \
        custodes_##level##_resize_columns(pixels.data(), high, wide, across.starts.data(), across.counts.data(), \
                                          across.weights.data(), static_cast<int64_t>(across.taps),              \
                                          static_cast<int64_t>(across.starts.size()), narrow.data());            \
        if (!agree(#level ": columns", narrow, by_columns)) return false;                                        \
        custodes_##level##_resize_rows(pixels.data(), 3 * wide, down.starts.data(), down.counts.data(),          \
                                       down.weights.data(), static_cast<int64_t>(down.taps),                     \
                                       static_cast<int64_t>(down.starts.size()), low.data());                    \
        if (!agree(#level ": rows", low, by_rows)) return false;                                                 \
    }

bool check(Random& random) {
    const size_t step = 1 + random.below(4), size = step * (1 + random.below(40)), count = 1 + random.below(12);
    const int64_t rows_count = static_cast<int64_t>(count), row_size = static_cast<int64_t>(size),
                  pixel = static_cast<int64_t>(step);
    Bytes rows = random_bytes(random, count * (size + 1)), zeros(size);
    for (size_t row = 0; row < count; row++) rows[row * (size + 1)] = static_cast<uint8_t>(random.below(5));
    const Bytes restored = plain_restored(rows, count, size, step);

    const bool long_text = random.below(10) == 0;  // of more than one block
    const Bytes text = random_bytes(random, 1 + random.below(long_text ? 300000 : 3000));

    const size_t width = 1 + random.below(60), height = 1 + random.below(20);
    const int64_t wide = static_cast<int64_t>(width), high = static_cast<int64_t>(height);
    const Bytes pixels = random_bytes(random, 3 * width * height);
    Bytes luma;
    for (size_t i = 0; i < pixels.size(); i += 3)
        luma.push_back(
            static_cast<uint8_t>((pixels[i] * 19595 + pixels[i + 1] * 38470 + pixels[i + 2] * 7471 + 32768) / 65536));
    const Sums across = random_sums(random, width), down = random_sums(random, height);
    const Bytes by_columns = plain_sums(pixels, height, width, 3, across),
                by_rows = plain_sums(pixels, 1, height, 3 * width, down);
    EACH_LEVEL(CHECK_LEVEL)
    return true;
}
