// Equality search over codes of one length, from 8 to 64 bytes.
//
// A code's 64-bit key chooses its bucket, about four codes to one. A bucket's head is 64 bits: in the low half where
// its codes start, in the high half a Bloom filter of three bits for each of them. So nearly every miss ends at one
// look into memory. In a bucket codes are sorted, as numbers of 64 bits, the first one first; equal ones keep their
// order.
// Whatever codes somebody chooses, even all for one bucket, an answer costs two binary searches and no more.
//
// Keys, buckets and filters are those of src/custodes/index/buckets.py, bit for bit: either searches what either built.
#pragma once

#include <cstdlib>

#include "custodes.h"
#include "hamming.hpp"

namespace custodes {
namespace CUSTODES_LEVEL {

constexpr uint64_t EXACT_FACTORS[] = {0x9E3779B97F4A7C15u, 0xC2B2AE3D27D4EB4Fu, 0x165667B19E3779F9u,
                                      0xD6E8FEB86659FD93u, 0xA0761D6478BD642Fu, 0xE7037ED1A0B428DBu,
                                      0x8EBC6AF09C88C6E3u, 0x589965CC75374CC3u};
constexpr uint64_t EXACT_LAST_FACTOR = 0xFF51AFD7ED558CCDu;
constexpr int EXACT_BLOCK = 128;  // rows whose memory is asked for together

inline uint32_t bucket_of(uint64_t key, uint64_t buckets) { return static_cast<uint32_t>((key >> 32) * buckets >> 32); }

inline uint32_t filter_bits(uint64_t key) {
    return 1u << (key >> 12 & 31) | 1u << (key >> 17 & 31) | 1u << (key >> 22 & 31);
}

inline uint32_t head_start(uint64_t head) { return static_cast<uint32_t>(head); }
inline uint32_t head_filter(uint64_t head) { return static_cast<uint32_t>(head >> 32); }

// How codes of SIZE bytes are read; SIZE 0: the size is told at run time.
template <int SIZE>
class ExactCodes {
  public:
    ExactCodes(const uint8_t* codes, int64_t size) : codes_(codes), size_(size) {}

    int64_t size() const { return SIZE ? SIZE : size_; }
    const uint8_t* at(int64_t row) const { return codes_ + size() * row; }

    uint64_t key(const uint8_t* code) const {
        uint64_t total = 0;
        for (int i = 0; i < words(); i++) total += word(code, i) * EXACT_FACTORS[i];
        return (total ^ total >> 32) * EXACT_LAST_FACTOR;
    }

    bool before(const uint8_t* a, const uint8_t* b, bool or_equal) const {
        for (int i = 0; i < words(); i++) {
            const uint64_t x = word(a, i), y = word(b, i);
            if (x != y) return x < y;
        }
        return or_equal;
    }

  private:
    int words() const { return static_cast<int>((size() + 7) / 8); }

    // The last word may overlap the one before it.
    uint64_t word(const uint8_t* code, int i) const {
        uint64_t value;
        std::memcpy(&value, code + (i + 1 < words() ? 8 * i : size() - 8), 8);
        return value;
    }

    const uint8_t* codes_;
    int64_t size_;
};

// --- search ---

template <int SIZE>
class ExactSearch {
  public:
    ExactSearch(const custodes_exact& index, const uint8_t* queries, custodes_hits* hits)
        : heads_(index.heads),
          buckets_(static_cast<uint64_t>(index.buckets)),
          codes_(index.codes, index.size),
          queries_(queries, index.size),
          hits_(hits) {}

    bool search(int64_t rows) {
        for (int64_t from = 0; from < rows; from += EXACT_BLOCK) {
            const int64_t left = rows - from;
            ask(from, static_cast<int>(left < EXACT_BLOCK ? left : EXACT_BLOCK));
            if (!look()) return false;
        }
        return true;
    }

  private:
    // 1. Where the heads lie. 2. Which of them may hold the query. Both loops are without branches.
    void ask(int64_t from, int rows) {
        uint32_t buckets[EXACT_BLOCK], filters[EXACT_BLOCK];
        for (int i = 0; i < rows; i++) {
            const uint64_t key = queries_.key(queries_.at(from + i));
            buckets[i] = bucket_of(key, buckets_);
            filters[i] = filter_bits(key);
            prefetch(heads_ + buckets[i]);
        }
        count_ = 0;
        for (int i = 0; i < rows; i++) {
            const uint64_t head = heads_[buckets[i]];
            row_[count_] = static_cast<uint32_t>(from + i);
            bucket_[count_] = buckets[i];
            count_ += (head_filter(head) & filters[i]) == filters[i];
        }
    }

    // 3. Ask for the codes of those that are left. 4. Compare.
    bool look() {
        for (int i = 0; i < count_; i++) prefetch(codes_.at(head_start(heads_[bucket_[i]])));
        for (int i = 0; i < count_; i++) {
            const uint32_t at = head_start(heads_[bucket_[i]]), end = head_start(heads_[bucket_[i] + 1]);
            const uint8_t* query = queries_.at(row_[i]);
            const uint32_t first = bound(query, at, end, false), last = bound(query, first, end, true);
            if (first < last && !report(hits_, row_[i], first, last - first)) return false;
        }
        return true;
    }

    // The first place in [at, end) whose code does not come before the query; or whose code comes after it.
    uint32_t bound(const uint8_t* query, uint32_t at, uint32_t end, bool after) const {
        while (at < end) {
            const uint32_t middle = at + (end - at) / 2;
            if (codes_.before(codes_.at(middle), query, after))
                at = middle + 1;
            else
                end = middle;
        }
        return at;
    }

    const uint64_t* heads_;
    uint64_t buckets_;
    ExactCodes<SIZE> codes_, queries_;
    custodes_hits* hits_;
    int count_ = 0;
    uint32_t row_[EXACT_BLOCK], bucket_[EXACT_BLOCK];
};

inline bool exact_search(const custodes_exact& index, const uint8_t* queries, int64_t rows, custodes_hits* hits) {
    switch (index.size) {
        case 16:
            return ExactSearch<16>(index, queries, hits).search(rows);
        case 20:
            return ExactSearch<20>(index, queries, hits).search(rows);
        case 32:
            return ExactSearch<32>(index, queries, hits).search(rows);
        default:
            return ExactSearch<0>(index, queries, hits).search(rows);
    }
}

// --- building ---

struct ExactArrays {
    uint64_t* heads;  // buckets + 1, zeroed
    uint32_t* order;  // which row stands where
    uint8_t* codes;   // the rows in that order
};

template <int SIZE>
class ExactBuild {
  public:
    ExactBuild(const custodes_exact& rows, ExactArrays out)
        : rows_(rows.codes, rows.size), count_(rows.count), buckets_(static_cast<uint64_t>(rows.buckets)), out_(out) {}

    bool build() {
        count();
        place();
        return sort();
    }

  private:
    void count() {
        for (int64_t from = 0; from < count_; from += EXACT_BLOCK) {
            const int rows = block(from);
            for (int i = 0; i < rows; i++) out_.heads[bucket_[i]]++;
        }
        uint64_t end = 0;
        for (uint64_t bucket = 0; bucket <= buckets_; bucket++) out_.heads[bucket] = end += out_.heads[bucket];
    }

    // From behind, so that heads end where buckets start, and equal codes keep their order.
    void place() {
        for (int64_t from = (count_ - 1) / EXACT_BLOCK * EXACT_BLOCK; from >= 0 && count_; from -= EXACT_BLOCK)
            for (int i = block(from) - 1; i >= 0; i--)
                out_.order[--out_.heads[bucket_[i]]] = static_cast<uint32_t>(from + i);
    }

    // Find the buckets of a block of rows; how many rows it has.
    int block(int64_t from) {
        const int rows = static_cast<int>(count_ - from < EXACT_BLOCK ? count_ - from : EXACT_BLOCK);
        for (int i = 0; i < rows; i++) {
            bucket_[i] = bucket_of(rows_.key(rows_.at(from + i)), buckets_);
            prefetch(out_.heads + bucket_[i]);
        }
        return rows;
    }

    bool sort() {
        int64_t asked = 0;
        for (uint64_t bucket = 0; bucket < buckets_; bucket++) {
            const uint32_t at = head_start(out_.heads[bucket]), end = head_start(out_.heads[bucket + 1]);
            for (; asked < count_ && asked < int64_t{end} + AHEAD; asked++) prefetch(rows_.at(out_.order[asked]));
            if (!sort_rows(out_.order + at, end - at)) return false;
            uint32_t filter = 0;
            for (uint32_t i = at; i < end; i++) {
                const uint8_t* code = rows_.at(out_.order[i]);
                std::memcpy(out_.codes + rows_.size() * i, code, static_cast<size_t>(rows_.size()));
                filter |= filter_bits(rows_.key(code));
            }
            out_.heads[bucket] |= uint64_t{filter} << 32;
        }
        return true;
    }

    bool follows(uint32_t a, uint32_t b) const { return rows_.before(rows_.at(b), rows_.at(a), false); }

    // Stable; in order already costs one comparison a row.
    bool sort_rows(uint32_t* rows, uint32_t count) const {
        for (uint32_t from = 0; from < count; from += RUN)
            insert_rows(rows + from, count - from < RUN ? count - from : RUN);
        if (count <= RUN) return true;
        uint32_t* space = static_cast<uint32_t*>(std::malloc(sizeof *rows * count));
        if (!space) return false;
        for (uint64_t length = RUN; length < count; length *= 2)
            for (uint64_t from = 0; from + length < count; from += 2 * length)
                merge_rows(rows + from, length, count - from < 2 * length ? count - from : 2 * length, space);
        std::free(space);
        return true;
    }

    void insert_rows(uint32_t* rows, uint32_t count) const {
        for (uint32_t i = 1; i < count; i++) {
            const uint32_t row = rows[i];
            uint32_t to = i;
            for (; to && follows(rows[to - 1], row); to--) rows[to] = rows[to - 1];
            rows[to] = row;
        }
    }

    // Two sorted runs, [0, middle) and [middle, end), to one.
    void merge_rows(uint32_t* rows, uint64_t middle, uint64_t end, uint32_t* space) const {
        if (!follows(rows[middle - 1], rows[middle])) return;
        std::memcpy(space, rows, sizeof *rows * middle);
        uint64_t a = 0, b = middle, to = 0;
        while (a < middle) rows[to++] = b < end && follows(space[a], rows[b]) ? rows[b++] : space[a++];
    }

    static constexpr uint32_t RUN = 16;
    static constexpr uint32_t AHEAD = 64;  // rows asked for ahead
    ExactCodes<SIZE> rows_;
    int64_t count_;
    uint64_t buckets_;
    ExactArrays out_;
    uint32_t bucket_[EXACT_BLOCK];
};

inline bool exact_build(const custodes_exact& rows, ExactArrays out) {
    switch (rows.size) {
        case 16:
            return ExactBuild<16>(rows, out).build();
        case 20:
            return ExactBuild<20>(rows, out).build();
        case 32:
            return ExactBuild<32>(rows, out).build();
        default:
            return ExactBuild<0>(rows, out).build();
    }
}

}  // namespace CUSTODES_LEVEL
}  // namespace custodes
