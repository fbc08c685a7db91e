// Exact Hamming range search over 256-bit codes by multi-index hashing with chains.
//
// A code has 16 bands of 16 bits that stand in a ring. For a radius r choose whole numbers t[0..15], each -1 or more,
// whose sum is r - 15. If two codes differ in at most r bits, the differences d[i] - t[i] - 1 sum to less than zero, so
// by the cycle lemma some band begins a run whose every prefix sums to less than zero (pigeonring: Qin and Xiao, VLDB
// 2018). That band i has
//
//     d[i] <= t[i],   d[i] + d[i+1] <= t[i] + t[i+1] + 1,   d[i] + d[i+1] + d[i+2] <= t[i] + t[i+1] + t[i+2] + 2.
//
// Call it a start. Entries are sorted by the value of every band, with the two bands after it beside them ("near" and
// "far"), so a start is found by looking at the few values close to the query's own, and nearly everything else dies
// in those 32 bits. A pair is reported at its first start alone, so no pair is reported twice.
#pragma once

#include <cstdlib>

#include "custodes.h"
#include "simd.hpp"

namespace custodes {
namespace CUSTODES_LEVEL {

constexpr int BANDS = 16;
constexpr uint32_t VALUES = 1u << 16;
constexpr int CODE_BYTES = 32;

inline uint32_t band_value(const uint8_t* code, int band) {
    uint16_t value;
    std::memcpy(&value, code + 2 * band, 2);
    return value;
}

inline uint32_t band_near(const uint8_t* code, int band) { return band_value(code, (band + 1) % BANDS); }
inline uint32_t band_far(const uint8_t* code, int band) { return band_value(code, (band + 2) % BANDS); }

// In which bits two codes differ.
class Difference {
  public:
    Difference(const uint8_t* a, const uint8_t* b) {
        uint64_t other[4];
        std::memcpy(words_, a, CODE_BYTES);
        std::memcpy(other, b, CODE_BYTES);
        for (int i = 0; i < 4; i++) words_[i] ^= other[i];
    }

    uint32_t total() const {
        return popcount64(words_[0]) + popcount64(words_[1]) + popcount64(words_[2]) + popcount64(words_[3]);
    }

    int band(int i) const {
        uint16_t value;
        std::memcpy(&value, reinterpret_cast<const char*>(words_) + 2 * (i % BANDS), 2);
        return static_cast<int>(popcount64(value));
    }

  private:
    uint64_t words_[4];
};

// All 16-bit masks with at most four bits set, fewest first: what two values of a band may differ in.
struct Masks {
    static constexpr int COUNT = 1 + 16 + 120 + 560 + 1820;
    uint16_t mask[COUNT] = {};
    int end[5] = {1, 17, 137, 697, COUNT};  // end[c]: how many masks have at most c bits

    constexpr Masks() {
        int next[5] = {0, 1, 17, 137, 697};
        constexpr uint32_t NONE = VALUES;  // a bit above the band stands for "no further bit"
        for (uint32_t a = 1; a <= NONE; a <<= 1)
            for (uint32_t b = a; b <= NONE; b <<= 1)
                for (uint32_t c = b; c <= NONE; c <<= 1)
                    for (uint32_t d = c; d <= NONE; d <<= 1) {
                        if ((a == b && a != NONE) || (b == c && b != NONE) || (c == d && c != NONE)) continue;
                        const int ones = (a != NONE) + (b != NONE) + (c != NONE) + (d != NONE);
                        mask[next[ones]++] = static_cast<uint16_t>(a | b | c | d);
                    }
    }
};

constexpr Masks NEAR_MASKS;

// What a start must satisfy, band by band.
struct Limits {
    int one[BANDS], two[BANDS], three[BANDS];
    uint32_t radius;

    explicit Limits(const custodes_chain& chain) : radius(chain.radius) {
        for (int i = 0; i < BANDS; i++) {
            const int next = chain.threshold[(i + 1) % BANDS], last = chain.threshold[(i + 2) % BANDS];
            one[i] = chain.threshold[i];
            two[i] = one[i] + next + 1;
            three[i] = two[i] + last + 1;
        }
    }

    bool is_start(const Difference& d, int i) const {
        const int first = d.band(i);
        if (first > one[i]) return false;
        const int second = first + d.band(i + 1);
        return second <= two[i] && second + d.band(i + 2) <= three[i];
    }

    // Whether a pair is to be reported at this band: no earlier one is a start.
    bool is_reported(const Difference& d, int band) const {
        for (int i = 0; i < band; i++)
            if (is_start(d, i)) return false;
        return is_start(d, band);
    }
};

inline bool report(custodes_hits* hits, uint32_t row, uint32_t entry, uint32_t bits) {
    if (hits->count == hits->capacity) {
        const int64_t capacity = hits->capacity ? 2 * hits->capacity : 1024;
        void* grown = std::realloc(hits->hits, static_cast<size_t>(capacity) * sizeof(custodes_hit));
        if (!grown) return false;
        hits->hits = static_cast<custodes_hit*>(grown);
        hits->capacity = capacity;
    }
    hits->hits[hits->count++] = {row, entry, bits};
    return true;
}

// Pairs that passed the first look, collected so that their codes arrive from memory together.
class Candidates {
  public:
    Candidates(const uint8_t* queries, const uint8_t* codes, const Limits& limits, custodes_hits* hits)
        : queries_(queries), codes_(codes), limits_(limits), hits_(hits) {}

    bool add(uint32_t row, uint32_t entry, int band) {
        prefetch(codes_ + int64_t{CODE_BYTES} * entry);
        prefetch(queries_ + int64_t{CODE_BYTES} * row);
        pairs_[count_++] = {row, entry, band};
        return count_ < SIZE || flush();
    }

    bool flush() {
        const int count = count_;
        count_ = 0;
        for (int i = 0; i < count; i++) {
            const Pair& pair = pairs_[i];
            const Difference d(queries_ + int64_t{CODE_BYTES} * pair.row, codes_ + int64_t{CODE_BYTES} * pair.entry);
            const uint32_t bits = d.total();
            if (bits > limits_.radius || !limits_.is_reported(d, pair.band)) continue;
            if (!report(hits_, pair.row, pair.entry, bits)) return false;
        }
        return true;
    }

  private:
    static constexpr int SIZE = 64;
    struct Pair {
        uint32_t row, entry;
        int band;
    };
    Pair pairs_[SIZE];
    int count_ = 0;
    const uint8_t* queries_;
    const uint8_t* codes_;
    const Limits& limits_;
    custodes_hits* hits_;
};

// --- tables ---

struct BandArrays {
    uint32_t* starts;
    uint16_t *near, *far;
    uint32_t* entries;
};

// A counting sort: `starts` of the values of a band, and put(place, code, row) for every row. Rows of one value keep
// their order, because they are put from behind, each before the one that was put last.
template <typename Put>
void sort_rows(const uint8_t* codes, int64_t count, int band, uint32_t* starts, Put put) {
    std::memset(starts, 0, (VALUES + 1) * sizeof *starts);
    for (int64_t row = 0; row < count; row++) starts[band_value(codes + CODE_BYTES * row, band)]++;
    uint32_t end = 0;
    for (uint32_t value = 0; value <= VALUES; value++) starts[value] = end += starts[value];
    for (int64_t row = count - 1; row >= 0; row--) {
        const uint8_t* code = codes + CODE_BYTES * row;
        put(--starts[band_value(code, band)], code, static_cast<uint32_t>(row));
    }
}

inline void sort_by_band(const uint8_t* codes, int64_t count, int band, BandArrays out) {
    sort_rows(codes, count, band, out.starts, [=](uint32_t at, const uint8_t* code, uint32_t row) {
        out.near[at] = static_cast<uint16_t>(band_near(code, band));
        out.far[at] = static_cast<uint16_t>(band_far(code, band));
        out.entries[at] = row;
    });
}

// --- one query at a time ---

// Band by band: first ask for the memory of all runs, then look at those of the band before, whose memory has come.
class Probe {
  public:
    Probe(const custodes_table& table, const Limits& limits, Candidates* candidates)
        : table_(table), limits_(limits), candidates_(candidates) {}

    bool search(uint32_t row, const uint8_t* query) {
        Runs *now = &runs_[0], *before = &runs_[1];
        before->count = 0;
        for (int band = 0; band < BANDS; band++) {
            if (limits_.one[band] < 0) continue;
            gather(query, band, now);
            if (!look(row, query, *before)) return false;
            Runs* const next = before;
            before = now;
            now = next;
        }
        return look(row, query, *before) && confirm(row, query) && candidates_->flush();
    }

  private:
    // A stretch of entries to look at: those whose band has one value close to the query's.
    struct Run {
        uint32_t at, count;
        int ones;  // bits in which the band differs
    };
    struct Runs {
        int band, count;
        Run run[Masks::COUNT];
    };
    // A place whose band and the next are near enough.
    struct Place {
        uint32_t at;
        int band, bits;
    };

    void gather(const uint8_t* query, int band, Runs* runs) const {
        const uint32_t* starts = table_.starts + int64_t{VALUES + 1} * band;
        const uint16_t* near = table_.near + table_.count * band;
        const uint32_t value = band_value(query, band);
        int count = 0, probe = 0;
        for (int ones = 0; ones <= limits_.one[band]; ones++) {
            for (; probe < NEAR_MASKS.end[ones]; probe++) {
                const uint32_t at = starts[value ^ NEAR_MASKS.mask[probe]];
                const uint32_t end = starts[(value ^ NEAR_MASKS.mask[probe]) + 1];
                if (at == end) continue;
                for (uint32_t line = at; line < end && line < at + AHEAD; line += 32) prefetch(near + line);
                runs->run[count++] = {at, end - at, ones};
            }
        }
        runs->band = band;
        runs->count = count;
    }

    bool look(uint32_t row, const uint8_t* query, const Runs& runs) {
        const uint16_t* near = table_.near + table_.count * runs.band;
        const Halves own = all_halves(band_near(query, runs.band));
        for (int i = 0; i < runs.count; i++) {
            const Run& run = runs.run[i];
            const int most = limits_.two[runs.band] - run.ones;
            if (most < 0) continue;
            const Halves limit = all_halves(static_cast<uint32_t>(most));
            for (uint32_t from = 0; from < run.count; from += HALVES) {
                uint32_t found = halves_within(load_halves(near + run.at + from), own, limit);
                for (; found; found &= found - 1) {
                    const uint32_t lane = from + lowest(found);
                    if (lane < run.count && !keep({run.at + lane, runs.band, run.ones}, row, query)) return false;
                }
            }
        }
        return true;
    }

    bool keep(Place place, uint32_t row, const uint8_t* query) {
        prefetch(table_.far + table_.count * place.band + place.at);
        prefetch(table_.entries + table_.count * place.band + place.at);
        places_[kept_++] = place;
        return kept_ < KEPT_MAX || confirm(row, query);
    }

    // The same with the third band, now that it has come.
    bool confirm(uint32_t row, const uint8_t* query) {
        const int kept = kept_;
        kept_ = 0;
        for (int i = 0; i < kept; i++) {
            const Place& place = places_[i];
            const int64_t at = table_.count * place.band + place.at;
            const uint32_t near = popcount64(table_.near[at] ^ band_near(query, place.band));
            const uint32_t far = popcount64(table_.far[at] ^ band_far(query, place.band));
            if (place.bits + static_cast<int>(near + far) > limits_.three[place.band]) continue;
            if (!candidates_->add(row, table_.entries[at], place.band)) return false;
        }
        return true;
    }

    static constexpr uint32_t AHEAD = 512;  // entries of a run asked for ahead; the processor guesses the rest
    static constexpr int KEPT_MAX = 64;
    const custodes_table& table_;
    const Limits& limits_;
    Candidates* candidates_;
    Place places_[KEPT_MAX];
    int kept_ = 0;
    Runs runs_[2];
};

// --- many queries at once ---

// Queries by the value of one band, with the 32 bits after it in one word.
struct Sorted {
    const uint32_t* starts;
    const uint32_t* after;
    const uint32_t* rows;
};

// Queries whose band has a value close to a given one, side by side.
class Neighbours {
  public:
    Neighbours(const Sorted& queries, uint32_t* space) : after_(space), queries_(queries) {}

    void gather(uint32_t value, int ones_max) {
        int64_t count = 0;
        int probe = 0;
        for (int ones = 0; ones <= ones_max; ones++) {
            for (; probe < NEAR_MASKS.end[ones]; probe++) {
                const uint32_t near = value ^ NEAR_MASKS.mask[probe];
                const uint32_t at = queries_.starts[near], size = queries_.starts[near + 1] - at;
                at_[probe] = at;
                for (uint32_t i = 0; i < size; i += LANES) store(after_ + count + i, load(queries_.after + at + i));
                count += size;
                end_[probe] = count;
            }
        }
    }

    const uint32_t* after() const { return after_; }

    // How many there are whose value differs in at most this many bits.
    int64_t count(int ones) const { return ones < 0 ? 0 : end_[NEAR_MASKS.end[ones] - 1]; }

    uint32_t row(int64_t place) const {
        int probe = 0;
        while (end_[probe] <= place) probe++;
        const int64_t first = probe ? end_[probe - 1] : 0;
        return queries_.rows[at_[probe] + (place - first)];
    }

  private:
    uint32_t* after_;  // room for all queries and LANES more
    const Sorted& queries_;
    uint32_t at_[Masks::COUNT];
    int64_t end_[Masks::COUNT];
};

class Join {
  public:
    Join(const custodes_table& table, int band, const Limits& limits, Candidates* candidates)
        : table_(table), band_(band), limits_(limits), candidates_(candidates) {}

    // Compare the entries of one value with all queries near it.
    bool compare(const Neighbours& near, uint32_t at, uint32_t end) {
        for (int ones = 0; ones <= limits_.one[band_]; ones++) {
            const int64_t from = near.count(ones - 1), to = near.count(ones);
            if (from == to) continue;
            const Lanes limit = all(static_cast<uint32_t>(limits_.three[band_] - ones));
            for (uint32_t entry = at; entry < end; entry += TOGETHER)
                if (!compare_four(near, {from, to}, limit, {entry, end})) return false;
        }
        return true;
    }

  private:
    static constexpr uint32_t TOGETHER = 4;  // entries held in registers while the queries stream by

    template <typename Place>
    struct Range {
        Place from, to;
    };

    bool compare_four(const Neighbours& near, Range<int64_t> places, Lanes limit, Range<uint32_t> entries) {
        Lanes own[TOGETHER];
        for (uint32_t i = 0; i < TOGETHER; i++)
            own[i] = all(after(entries.from + i < entries.to ? entries.from + i : entries.from));
        for (int64_t at = places.from; at < places.to; at += LANES) {
            const Lanes theirs = load(near.after() + at);
            Found found[TOGETHER];
            for (uint32_t i = 0; i < TOGETHER; i++) found[i] = at_most(differing(theirs, own[i]), limit);
            if (!any(either(either(found[0], found[1]), either(found[2], found[3])))) continue;
            for (uint32_t i = 0; i < TOGETHER && entries.from + i < entries.to; i++)
                if (!take(near, {at, places.to}, bits(found[i]), table_.entries[entries.from + i])) return false;
        }
        return true;
    }

    uint32_t after(uint32_t at) const { return table_.near[at] | static_cast<uint32_t>(table_.far[at]) << 16; }

    bool take(const Neighbours& near, Range<int64_t> places, uint32_t found, uint32_t entry) {
        for (; found; found &= found - 1) {
            const int64_t at = places.from + lowest(found);
            if (at < places.to && !candidates_->add(near.row(at), entry, band_)) return false;
        }
        return true;
    }

    const custodes_table& table_;
    int band_;
    const Limits& limits_;
    Candidates* candidates_;
};

struct Queries {
    const uint8_t* codes;
    int64_t count;
};

// `space` has room for 65,537 starts and three times as many words as there are queries, and LANES more twice.
inline Sorted sort_queries(Queries queries, int band, uint32_t* space) {
    uint32_t *starts = space, *after = starts + VALUES + 1, *rows = after + queries.count + LANES;
    sort_rows(queries.codes, queries.count, band, starts, [=](uint32_t at, const uint8_t* code, uint32_t row) {
        after[at] = band_near(code, band) | band_far(code, band) << 16;
        rows[at] = row;
    });
    for (int i = 0; i < LANES; i++) after[queries.count + i] = 0;
    return {starts, after, rows};
}

inline bool join_band(const custodes_table& table, Queries queries, int band, const Limits& limits,
                      Candidates* candidates) {
    if (limits.one[band] < 0 || queries.count == 0) return true;
    const size_t words = VALUES + 1 + 3 * static_cast<size_t>(queries.count) + 2 * LANES;
    uint32_t* const space = static_cast<uint32_t*>(std::malloc(words * sizeof(uint32_t)));
    if (!space) return false;
    const Sorted sorted = sort_queries(queries, band, space);
    Neighbours near(sorted, space + VALUES + 1 + 2 * queries.count + LANES);
    Join join(table, band, limits, candidates);
    bool done = true;
    for (uint32_t value = 0; value < VALUES && done; value++) {
        const uint32_t at = table.starts[value], end = table.starts[value + 1];
        if (at == end) continue;
        near.gather(value, limits.one[band]);
        done = join.compare(near, at, end);
    }
    std::free(space);
    return done && candidates->flush();
}

// --- everything with everything: for few entries ---

struct Columns {
    const uint32_t* words;  // eight columns
    int64_t stride, count;
};

// Words that tell nearly all other codes apart: those of random codes differ in 16 bits a word, give or take 2.8.
inline int telling_words(uint32_t radius) {
    const uint32_t radius_max[] = {31, 44, 58};  // of 3, 4 and 5 words: 3.5 standard deviations below their mean
    int words = 3;
    for (uint32_t most : radius_max) words += radius > most;
    return words;
}

inline uint32_t distance_at(const Columns& codes, const uint32_t* query, int64_t at) {
    uint32_t total = 0;
    for (int i = 0; i < 8; i++) total += popcount64(query[i] ^ codes.words[codes.stride * i + at]);
    return total;
}

inline bool compare_all(const Columns& codes, const uint8_t* query, uint32_t row, uint32_t radius,
                        custodes_hits* hits) {
    uint32_t words[8];
    std::memcpy(words, query, sizeof words);
    const int telling = telling_words(radius);
    const Lanes limit = all(radius);
    for (int64_t from = 0; from < codes.count; from += LANES) {
        Lanes total = differing(load(codes.words + from), all(words[0]));
        for (int i = 1; i < telling; i++)
            total = sum(total, differing(load(codes.words + codes.stride * i + from), all(words[i])));
        uint32_t found = bits(at_most(total, limit));
        for (; found; found &= found - 1) {
            const int64_t at = from + lowest(found);
            if (at >= codes.count) continue;
            const uint32_t bits_apart = distance_at(codes, words, at);
            if (bits_apart <= radius && !report(hits, row, static_cast<uint32_t>(at), bits_apart)) return false;
        }
    }
    return true;
}

}  // namespace CUSTODES_LEVEL
}  // namespace custodes
