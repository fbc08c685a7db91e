// The eight dihedral forms of codes: bits of 16 x 16 squares turned over their diagonal.
#pragma once

#include <cstdint>
#include <cstring>

namespace custodes {
namespace CUSTODES_LEVEL {

constexpr int SQUARES = 4;       // the code, and those of flipx, flipy and rotate180
constexpr int SQUARE_WORDS = 4;  // of 64 bits: four rows of 16 bits each, the first row lowest
constexpr int SQUARE_BYTES = 8 * SQUARE_WORDS;

// Words of four squares side by side, so that compilers work on all four at once.
struct Squares {
    uint64_t word[SQUARE_WORDS][SQUARES];
};

// A code is one number of 256 bits, its first byte highest.
inline uint64_t load_word(const uint8_t* from) {
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) word |= uint64_t{from[7 - i]} << (8 * i);
    return word;
}

inline void store_word(uint8_t* to, uint64_t word) {
    for (int i = 0; i < 8; i++) to[7 - i] = static_cast<uint8_t>(word >> (8 * i));
}

inline void exchange(uint64_t (&a)[SQUARES], uint64_t (&b)[SQUARES], int shift, uint64_t mask) {
    for (int i = 0; i < SQUARES; i++) {
        const uint64_t differing_bits = ((a[i] >> shift) ^ b[i]) & mask;
        b[i] ^= differing_bits;
        a[i] ^= differing_bits << shift;
    }
}

inline void exchange_within(uint64_t (&a)[SQUARES], int shift, uint64_t mask) {
    for (int i = 0; i < SQUARES; i++) {
        const uint64_t differing_bits = ((a[i] >> shift) ^ a[i]) & mask;
        a[i] ^= differing_bits ^ differing_bits << shift;
    }
}

// Blocks of 8, 4, 2 and 1 rows change places with the blocks across the diagonal.
inline void turn_over(Squares* squares) {
    auto& word = squares->word;
    exchange(word[0], word[2], 8, 0x00FF00FF00FF00FF);
    exchange(word[1], word[3], 8, 0x00FF00FF00FF00FF);
    exchange(word[0], word[1], 4, 0x0F0F0F0F0F0F0F0F);
    exchange(word[2], word[3], 4, 0x0F0F0F0F0F0F0F0F);
    for (auto& four_rows : word) {
        exchange_within(four_rows, 30, 0x00000000CCCCCCCC);
        exchange_within(four_rows, 15, 0x0000AAAA0000AAAA);
    }
}

// `codes` is four codes, `forms` eight: the order of FORMS in pdq.py.
inline void write_forms(const uint8_t* codes, uint8_t* forms) {
    constexpr int PLAIN[SQUARES] = {0, 4, 5, 2};   // where each of the four goes as it is
    constexpr int TURNED[SQUARES] = {6, 3, 1, 7};  // and turned over
    Squares squares;
    for (int i = 0; i < SQUARES; i++) {
        std::memcpy(forms + SQUARE_BYTES * PLAIN[i], codes + SQUARE_BYTES * i, SQUARE_BYTES);
        for (int w = 0; w < SQUARE_WORDS; w++)
            squares.word[w][i] = load_word(codes + SQUARE_BYTES * i + 8 * (SQUARE_WORDS - 1 - w));
    }
    turn_over(&squares);
    for (int i = 0; i < SQUARES; i++)
        for (int w = 0; w < SQUARE_WORDS; w++)
            store_word(forms + SQUARE_BYTES * TURNED[i] + 8 * (SQUARE_WORDS - 1 - w), squares.word[w][i]);
}

}  // namespace CUSTODES_LEVEL
}  // namespace custodes
