// Rows of a PNG file and its compressed data: filters taken off and put on, and deflate without a search for matches.
//
// Sources: W3C PNG 3, section 9 (filters); RFC 1951 (deflate). Pixels have `step` bytes, 1 to 4; a row has a whole
// number of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__) || defined(_M_X64)
#define CUSTODES_PIXELS_X86 1
#include <immintrin.h>
#endif

namespace custodes {
namespace CUSTODES_LEVEL {

// --- filters ---

enum Filter { PLAIN, SUB, UP, AVERAGE, PAETH };

// Of a, b and c the one nearest to a + b - c, where two are as near the one named first: by the sides of a and b on
// which 3 c - a - b lies, so that little waits for a.
inline uint8_t nearest(int a, int b, int c) {
    const int turn = 3 * c - a - b, low = a < b ? a : b, high = a < b ? b : a;
    return static_cast<uint8_t>(turn <= low ? high : high <= turn ? low : c);
}

// What a filter foretells of a byte, from those to the left (a), above (b) and above to the left (c).
template <int FILTER>
inline uint8_t foretold(uint8_t a, uint8_t b, uint8_t c) {
    if (FILTER == SUB) return a;
    if (FILTER == UP) return b;
    if (FILTER == AVERAGE) return static_cast<uint8_t>((a + b) >> 1);
    return FILTER == PAETH ? nearest(a, b, c) : uint8_t{0};
}

// The bytes [from, to) of a row, one after the other.
template <int FILTER>
inline void restore_bytes(const uint8_t* row, const uint8_t* above, int64_t step, int64_t from, int64_t to,
                          uint8_t* out) {
    for (int64_t i = from; i < to; i++) {
        const uint8_t a = i < step ? uint8_t{0} : out[i - step], c = i < step ? uint8_t{0} : above[i - step];
        out[i] = static_cast<uint8_t>(row[i] + foretold<FILTER>(a, above[i], c));
    }
}

#if defined(CUSTODES_PIXELS_X86)

inline __m128i load_pixel(const uint8_t* from) {
    int32_t word;
    std::memcpy(&word, from, 4);
    return _mm_cvtsi32_si128(word);
}

inline void store_pixel(uint8_t* to, __m128i pixel) {
    const int32_t word = _mm_cvtsi128_si32(pixel);
    std::memcpy(to, &word, 4);
}

#if defined(CUSTODES_AVX512) || defined(CUSTODES_AVX2)
inline __m128i either(__m128i mask, __m128i yes, __m128i no) { return _mm_blendv_epi8(no, yes, mask); }
#else
inline __m128i either(__m128i mask, __m128i yes, __m128i no) {
    return _mm_or_si128(_mm_and_si128(mask, yes), _mm_andnot_si128(mask, no));
}
#endif

inline __m128i wide(__m128i bytes) { return _mm_unpacklo_epi8(bytes, _mm_setzero_si128()); }

// The same for one pixel at once, of 16 bits a sample.
template <int FILTER>
inline __m128i foretold_pixel(__m128i a, __m128i b, __m128i c) {
    if (FILTER == SUB) return a;
    if (FILTER == AVERAGE) return _mm_srli_epi16(_mm_add_epi16(a, b), 1);
    const __m128i turn = _mm_sub_epi16(_mm_sub_epi16(_mm_add_epi16(c, _mm_add_epi16(c, c)), b), a);
    const __m128i low = _mm_min_epi16(a, b), high = _mm_max_epi16(a, b);
    return either(_mm_cmpgt_epi16(turn, low), either(_mm_cmpgt_epi16(high, turn), c, low), high);
}

// Pixels of 3 or 4 bytes, four bytes at once: the last pixel is left to others, so that nothing beyond the row is
// touched.
template <int FILTER, int STEP>
inline int64_t restore_pixels(const uint8_t* row, const uint8_t* above, int64_t size, uint8_t* out) {
    __m128i a = _mm_setzero_si128(), c = a;
    int64_t i = 0;
    for (; i + 4 < size; i += STEP) {
        const __m128i b = wide(load_pixel(above + i));
        a = _mm_add_epi8(wide(load_pixel(row + i)), foretold_pixel<FILTER>(a, b, c));  // the upper halves stay zero
        c = b;
        store_pixel(out + i, _mm_packus_epi16(a, a));
    }
    return i;
}

// Two Paeth rows at once, the lower a pixel behind the upper: a pixel waits for the one to its left, and two wait no
// longer than one. `out` has both, one behind the other. Gives how many bytes of the upper are done, of the lower a
// pixel fewer.
template <int STEP>
inline int64_t restore_two(const uint8_t* upper, const uint8_t* lower, const uint8_t* above, int64_t size,
                           uint8_t* out) {
    if (size < STEP + 4) return 0;
    restore_bytes<PAETH>(upper, above, STEP, 0, STEP, out);
    __m128i a = wide(load_pixel(out)), c = wide(load_pixel(above));
    int64_t i = STEP;
    for (; i + 4 < size; i += STEP) {
        const __m128i rest = _mm_unpacklo_epi32(load_pixel(upper + i), load_pixel(lower + i - STEP));
        const __m128i b = _mm_unpacklo_epi64(wide(load_pixel(above + i)), a);
        a = _mm_add_epi8(wide(rest), foretold_pixel<PAETH>(a, b, c));
        c = b;
        const __m128i both = _mm_packus_epi16(a, a);
        store_pixel(out + i, both);
        store_pixel(out + size + i - STEP, _mm_srli_epi64(both, 32));
    }
    return i;
}

inline int64_t restore_two_start(const uint8_t* upper, const uint8_t* lower, const uint8_t* above, int64_t step,
                                 int64_t size, uint8_t* out) {
    if (step == 3) return restore_two<3>(upper, lower, above, size, out);
    return step == 4 ? restore_two<4>(upper, lower, above, size, out) : 0;
}

template <int FILTER>
inline int64_t restore_start(const uint8_t* row, const uint8_t* above, int64_t step, int64_t size, uint8_t* out) {
    if (step == 3) return restore_pixels<FILTER, 3>(row, above, size, out);
    return step == 4 ? restore_pixels<FILTER, 4>(row, above, size, out) : 0;
}

#else

template <int>
inline int64_t restore_start(const uint8_t*, const uint8_t*, int64_t, int64_t, uint8_t*) {
    return 0;
}

inline int64_t restore_two_start(const uint8_t*, const uint8_t*, const uint8_t*, int64_t, int64_t, uint8_t*) {
    return 0;
}

#endif

template <int FILTER>
inline void restore_row(const uint8_t* row, const uint8_t* above, int64_t step, int64_t size, uint8_t* out) {
    const int64_t done = restore_start<FILTER>(row, above, step, size, out);
    restore_bytes<FILTER>(row, above, step, done, size, out);
}

inline void restore_row(int filter, const uint8_t* row, const uint8_t* above, int64_t step, int64_t size,
                        uint8_t* out) {
    if (filter == SUB) return restore_row<SUB>(row, above, step, size, out);
    if (filter == AVERAGE) return restore_row<AVERAGE>(row, above, step, size, out);
    if (filter == PAETH) return restore_row<PAETH>(row, above, step, size, out);
    if (filter == PLAIN) {
        std::memcpy(out, row, static_cast<size_t>(size));
        return;
    }
    for (int64_t i = 0; i < size; i++) out[i] = static_cast<uint8_t>(row[i] + above[i]);
}

// Two rows of Paeth's filter.
inline void restore_pair(const uint8_t* upper, const uint8_t* lower, const uint8_t* above, int64_t step, int64_t size,
                         uint8_t* out) {
    const int64_t done = restore_two_start(upper, lower, above, step, size, out);
    restore_bytes<PAETH>(upper, above, step, done, size, out);
    restore_bytes<PAETH>(lower, out, step, done ? done - step : 0, size, out + size);
}

// `rows` of a filter's number (0 to 4) and `size` bytes each; `zeros` stand above the first.
inline void restore_rows(const uint8_t* rows, int64_t count, int64_t size, int64_t step, const uint8_t* zeros,
                         uint8_t* out) {
    const uint8_t* above = zeros;
    for (int64_t row = 0, taken = 1; row < count; row += taken) {
        const uint8_t* next = rows + size + 1;
        taken = row + 1 < count && rows[0] == PAETH && next[0] == PAETH ? 2 : 1;
        if (taken == 2)
            restore_pair(rows + 1, next + 1, above, step, size, out);
        else
            restore_row(rows[0], rows + 1, above, step, size, out);
        rows += taken * (size + 1);
        out += taken * size;
        above = out - size;
    }
}

// Every row by the average: of all filters that take no choosing the one that packs photos best.
inline void average_rows(const uint8_t* pixels, int64_t count, int64_t size, int64_t step, const uint8_t* zeros,
                         uint8_t* out) {
    const uint8_t* above = zeros;
    for (int64_t row = 0; row < count; row++, above = pixels, pixels += size) {
        *out++ = AVERAGE;
        const int64_t first = step < size ? step : size;
        for (int64_t i = 0; i < first; i++) out[i] = static_cast<uint8_t>(pixels[i] - (above[i] >> 1));
        for (int64_t i = first; i < size; i++)
            out[i] = static_cast<uint8_t>(pixels[i] - ((pixels[i - step] + above[i]) >> 1));
        out += size;
    }
}

// --- luma ---

// As Pillow makes it of red, green and blue, in whole numbers (Convert.c, L24).
inline void luma_of(const uint8_t* rgb, int64_t count, uint8_t* out) {
    for (int64_t i = 0; i < count; i++)
        out[i] = static_cast<uint8_t>(
            (rgb[3 * i] * 19595u + rgb[3 * i + 1] * 38470u + rgb[3 * i + 2] * 7471u + 0x8000u) >> 16);
}

// --- deflate ---

constexpr int END = 256, SYMBOLS = 286, BITS_MAX = 12, LENGTH_BITS_MAX = 7, CODE_LENGTHS = 19;
constexpr int64_t BLOCK = 1 << 17, REPEAT_MAX = 258;

// Bits of a stream, the lowest first. Room for 8 bytes more than are written.
struct BitWriter {
    uint8_t* at;
    uint64_t held;
    unsigned bits;

    void add(uint64_t value, unsigned size) {  // no more than 56 between flushes
        held |= value << bits;
        bits += size;
    }
    void flush() {
        std::memcpy(at, &held, 8);
        at += bits >> 3;
        held >>= bits & ~7u;
        bits &= 7;
    }
};

struct Code {
    uint16_t bits, size;
};

// Sizes of a prefix code of at most `limit` bits for `count` symbols; at least two of them are used.
inline void code_sizes(const uint32_t* used, int count, int limit, uint8_t* sizes) {
    struct Node {
        uint64_t weight;
        int parent;
    };
    int order[SYMBOLS], leaves = 0;
    for (int s = 0; s < count; s++) {
        sizes[s] = 0;
        if (used[s]) order[leaves++] = s;
    }
    std::sort(order, order + leaves, [used](int a, int b) { return used[a] != used[b] ? used[a] < used[b] : a < b; });
    // Leaves in rising order, then the inner nodes, which are made in rising order too: two queues.
    Node nodes[2 * SYMBOLS];
    for (int i = 0; i < leaves; i++) nodes[i] = {used[order[i]], 0};
    int leaf = 0, inner = leaves, end = leaves;
    const auto lightest = [&]() {
        return leaf < leaves && (inner == end || nodes[leaf].weight <= nodes[inner].weight) ? leaf++ : inner++;
    };
    while (end < 2 * leaves - 1) {
        const int one = lightest(), other = lightest();
        nodes[end] = {nodes[one].weight + nodes[other].weight, 0};
        nodes[one].parent = nodes[other].parent = end++;
    }
    int depth[2 * SYMBOLS], having[64] = {0};
    depth[end - 1] = 0;
    for (int i = end - 2; i >= 0; i--) {
        depth[i] = depth[nodes[i].parent] + 1;
        if (i < leaves) having[std::min(depth[i], limit)]++;
    }
    // What was cut to the limit is more than the code has room for: a shorter one is made longer until all fit.
    int64_t room = 0;
    for (int bits = 1; bits <= limit; bits++) room += static_cast<int64_t>(having[bits]) << (limit - bits);
    for (; room > int64_t{1} << limit; room--) {
        int bits = limit - 1;
        while (!having[bits]) bits--;
        having[bits]--;
        having[bits + 1] += 2;
        having[limit]--;
    }
    for (int bits = limit, i = 0; bits > 0; bits--)
        for (int n = 0; n < having[bits]; n++) sizes[order[i++]] = static_cast<uint8_t>(bits);
}

// The codes of these sizes (RFC 1951, section 3.2.2), their first bit lowest.
inline void number_codes(const uint8_t* sizes, int count, Code* codes) {
    unsigned next[16] = {0}, having[16] = {0};
    for (int s = 0; s < count; s++) having[sizes[s]]++;
    having[0] = 0;
    for (int bits = 1; bits < 16; bits++) next[bits] = (next[bits - 1] + having[bits - 1]) << 1;
    for (int s = 0; s < count; s++) {
        unsigned value = next[sizes[s]]++, turned = 0;
        for (int bit = 0; bit < sizes[s]; bit++, value >>= 1) turned = turned << 1 | (value & 1);
        codes[s] = {static_cast<uint16_t>(sizes[s] ? turned : 0), sizes[s]};
    }
}

// How a length is told (RFC 1951, section 3.2.5): a symbol, and further bits.
struct Length {
    uint16_t symbol;
    uint8_t extra, bits;
};

inline Length length_of(int64_t length) {
    if (length == REPEAT_MAX) return {285, 0, 0};
    const int64_t over = length - 3;
    if (over < 8) return {static_cast<uint16_t>(257 + over), 0, 0};
    int bits = 1;
    while (over >> (bits + 3)) bits++;
    return {static_cast<uint16_t>(257 + 4 * bits + (over >> bits)), static_cast<uint8_t>(over & ((1 << bits) - 1)),
            static_cast<uint8_t>(bits)};
}

// How many bytes from `at` on equal the one before them.
inline int64_t repeated(const uint8_t* data, int64_t at, int64_t to) {
    const int64_t from = at;
    for (uint64_t here, before; at + 8 <= to; at += 8) {
        std::memcpy(&here, data + at, 8);
        std::memcpy(&before, data + at - 1, 8);
        if (here != before) break;
    }
    while (at < to && data[at] == data[at - 1]) at++;
    return at - from;
}

// Walk over a block: eight bytes that each equal the one before begin a repetition, all else is told as it is.
template <typename Told>
inline void walk(const uint8_t* data, int64_t from, int64_t to, Told&& told) {
    int64_t i = from;
    while (i + 8 <= to) {
        uint64_t here, before;
        if (i) {
            std::memcpy(&here, data + i, 8);
            std::memcpy(&before, data + i - 1, 8);
            if (here == before) {
                int64_t end = i + 8;
                end += repeated(data, end, std::min(to, i + REPEAT_MAX));
                told.repetition(end - i);
                i = end;
                continue;
            }
        }
        told.eight(data + i);
        i += 8;
    }
    for (; i < to; i++) told.one(data[i]);
}

struct Counter {
    uint32_t used[4][SYMBOLS];

    void one(uint8_t byte) { used[0][byte]++; }
    void eight(const uint8_t* bytes) {
        for (int i = 0; i < 8; i++) used[i & 3][bytes[i]]++;
    }
    void repetition(int64_t length) { used[0][length_of(length).symbol]++; }
};

struct Packer {
    BitWriter out;
    const Code* codes;

    void one(uint8_t byte) {
        out.add(codes[byte].bits, codes[byte].size);
        out.flush();
    }
    void eight(const uint8_t* bytes) {  // 4 codes of at most 12 bits, and at most 7 bits that wait
        for (int half = 0; half < 8; half += 4) {
            for (int i = 0; i < 4; i++) out.add(codes[bytes[half + i]].bits, codes[bytes[half + i]].size);
            out.flush();
        }
    }
    void repetition(int64_t length) {
        const Length told = length_of(length);
        out.add(codes[told.symbol].bits, codes[told.symbol].size);
        out.add(told.extra, told.bits);
        out.add(0, 1);  // from one byte before: the only distance
        out.flush();
    }
};

// The head of a block with codes of its own (RFC 1951, section 3.2.7), every size told as it is; the one distance has
// one bit.
inline void write_head(const uint8_t* sizes, bool last, BitWriter* out) {
    constexpr uint8_t ORDER[CODE_LENGTHS] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint32_t used[CODE_LENGTHS] = {0};
    for (int s = 0; s < SYMBOLS; s++) used[sizes[s]]++;
    used[1]++;
    uint8_t told[CODE_LENGTHS];
    Code codes[CODE_LENGTHS];
    code_sizes(used, CODE_LENGTHS, LENGTH_BITS_MAX, told);
    number_codes(told, CODE_LENGTHS, codes);
    out->add(last ? 5 : 4, 3);
    out->add(SYMBOLS - 257, 5);
    out->add(0, 5);
    out->add(CODE_LENGTHS - 4, 4);
    out->flush();
    for (const uint8_t symbol : ORDER) {
        out->add(told[symbol], 3);
        out->flush();
    }
    for (int s = 0; s <= SYMBOLS; s++) {
        const Code code = codes[s < SYMBOLS ? sizes[s] : 1];
        out->add(code.bits, code.size);
        out->flush();
    }
}

// `out` has room for half as much again as `size`, 512 bytes for each block, and 64. Gives how many bytes were written.
inline int64_t pack(const uint8_t* data, int64_t size, uint8_t* out) {
    Packer packer{{out, 0, 0}, nullptr};
    for (int64_t from = 0; from < size; from += BLOCK) {
        const int64_t to = std::min(from + BLOCK, size);
        Counter counter{};
        walk(data, from, to, counter);
        uint32_t* used = counter.used[0];
        for (int s = 0; s < SYMBOLS; s++) used[s] += counter.used[1][s] + counter.used[2][s] + counter.used[3][s];
        used[END] = 1;
        uint8_t sizes[SYMBOLS];
        Code codes[SYMBOLS];
        code_sizes(used, SYMBOLS, BITS_MAX, sizes);
        number_codes(sizes, SYMBOLS, codes);
        write_head(sizes, to == size, &packer.out);
        packer.codes = codes;
        walk(data, from, to, packer);
        packer.out.add(codes[END].bits, codes[END].size);
        packer.out.flush();
    }
    packer.out.add(0, 7);
    packer.out.flush();
    return packer.out.at - out;
}

}  // namespace CUSTODES_LEVEL
}  // namespace custodes
