// MD5 (RFC 1321), SHA-1 and SHA-256 (FIPS 180-4) of the same bytes in one pass.
//
// MD5 is one long chain of dependent steps, which leaves most of a processor idle. The SHA instructions of x86 are
// woven into it, four rounds at a time, so that all three together take little longer than MD5 alone. Where there are
// no such instructions this file offers nothing, and the caller takes the digests one after another. It is compiled
// once, whatever the levels are: only what says CUSTODES_SHA uses them.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) || defined(_M_X64)
#define CUSTODES_DIGESTS 1
#include <immintrin.h>
#if defined(__GNUC__)
#define CUSTODES_SHA __attribute__((target("sha,sse4.1,ssse3")))
#define CUSTODES_SHA_INLINE __attribute__((target("sha,sse4.1,ssse3"), always_inline)) inline
#else
#define CUSTODES_SHA
#define CUSTODES_SHA_INLINE __forceinline
#endif

namespace custodes {
namespace digest {

constexpr int BLOCK_BYTES = 64;
constexpr int MD5_BYTES = 16, SHA1_BYTES = 20, SHA256_BYTES = 32;

// RFC 1321, 3.4: floor(2^32 * abs(sin(i + 1))).
constexpr uint32_t MD5_SINES[64] = {
    0xD76AA478, 0xE8C7B756, 0x242070DB, 0xC1BDCEEE, 0xF57C0FAF, 0x4787C62A, 0xA8304613, 0xFD469501,
    0x698098D8, 0x8B44F7AF, 0xFFFF5BB1, 0x895CD7BE, 0x6B901122, 0xFD987193, 0xA679438E, 0x49B40821,
    0xF61E2562, 0xC040B340, 0x265E5A51, 0xE9B6C7AA, 0xD62F105D, 0x02441453, 0xD8A1E681, 0xE7D3FBC8,
    0x21E1CDE6, 0xC33707D6, 0xF4D50D87, 0x455A14ED, 0xA9E3E905, 0xFCEFA3F8, 0x676F02D9, 0x8D2A4C8A,
    0xFFFA3942, 0x8771F681, 0x6D9D6122, 0xFDE5380C, 0xA4BEEA44, 0x4BDECFA9, 0xF6BB4B60, 0xBEBFBC70,
    0x289B7EC6, 0xEAA127FA, 0xD4EF3085, 0x04881D05, 0xD9D4D039, 0xE6DB99E5, 0x1FA27CF8, 0xC4AC5665,
    0xF4292244, 0x432AFF97, 0xAB9423A7, 0xFC93A039, 0x655B59C3, 0x8F0CCC92, 0xFFEFF47D, 0x85845DD1,
    0x6FA87E4F, 0xFE2CE6E0, 0xA3014314, 0x4E0811A1, 0xF7537E82, 0xBD3AF235, 0x2AD7D2BB, 0xEB86D391};

constexpr int MD5_TURNS[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

// FIPS 180-4, 4.2.2.
alignas(16) constexpr uint32_t SHA256_CONSTANTS[64] = {
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2};

inline uint32_t turned(uint32_t x, int bits) { return x << bits | x >> (32 - bits); }

struct Md5 {
    uint32_t a = 0x67452301, b = 0xEFCDAB89, c = 0x98BADCFE, d = 0x10325476;

    // Step STEP of 64. The names turn round once a step, so after four they are where they were.
    template <int STEP>
    CUSTODES_SHA_INLINE void step(const uint8_t* block) {
        constexpr int ROUND = STEP / 16;
        constexpr int PLACES[4] = {STEP % 16, (5 * STEP + 1) % 16, (3 * STEP + 5) % 16, 7 * STEP % 16};
        uint32_t word;
        std::memcpy(&word, block + 4 * PLACES[ROUND], 4);
        uint32_t sum = a + MD5_SINES[STEP] + word;
        if (ROUND == 0) sum += d ^ (b & (c ^ d));
        if (ROUND == 1) sum = (sum + (c & ~d)) + (b & d);  // two sums instead of an or: b comes last, and waits less
        if (ROUND == 2) sum += b ^ (c ^ d);
        if (ROUND == 3) sum += c ^ (b | ~d);
        const uint32_t next = b + turned(sum, MD5_TURNS[ROUND][STEP % 4]);
        a = d;
        d = c;
        c = b;
        b = next;
    }
};

// A block as sixteen words whose bytes are turned round; `order` says in which order the four of a vector stand.
CUSTODES_SHA_INLINE void load_words(const uint8_t* block, __m128i order, __m128i (&words)[4]) {
    for (int i = 0; i < 4; i++)
        words[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block) + i), order);
}

struct Sha1 {
    __m128i abcd = _mm_set_epi32(0x67452301, static_cast<int>(0xEFCDAB89), static_cast<int>(0x98BADCFE), 0x10325476);
    __m128i e = _mm_set_epi32(static_cast<int>(0xC3D2E1F0), 0, 0, 0);
    __m128i before{}, words[4]{};

    CUSTODES_SHA_INLINE void load(const uint8_t* block) {
        load_words(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), words);
    }

    // Four rounds of 80.
    template <int GROUP>
    CUSTODES_SHA_INLINE void rounds() {
        __m128i& word = words[GROUP % 4];
        if (GROUP >= 4) {
            const __m128i early = _mm_sha1msg1_epu32(word, words[(GROUP + 1) % 4]);
            word = _mm_sha1msg2_epu32(_mm_xor_si128(early, words[(GROUP + 2) % 4]), words[(GROUP + 3) % 4]);
        }
        const __m128i sum = GROUP == 0 ? _mm_add_epi32(e, word) : _mm_sha1nexte_epu32(before, word);
        before = abcd;
        abcd = _mm_sha1rnds4_epu32(abcd, sum, GROUP / 5);
    }
};

struct Sha256 {
    __m128i abef = _mm_set_epi32(0x6A09E667, static_cast<int>(0xBB67AE85), 0x510E527F, static_cast<int>(0x9B05688C));
    __m128i cdgh = _mm_set_epi32(0x3C6EF372, static_cast<int>(0xA54FF53A), 0x1F83D9AB, 0x5BE0CD19);
    __m128i words[4]{};

    CUSTODES_SHA_INLINE void load(const uint8_t* block) {
        load_words(block, _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3), words);
    }

    // Four rounds of 64.
    template <int GROUP>
    CUSTODES_SHA_INLINE void rounds() {
        __m128i& word = words[GROUP % 4];
        if (GROUP >= 4) {
            const __m128i last = words[(GROUP + 3) % 4];
            const __m128i early = _mm_sha256msg1_epu32(word, words[(GROUP + 1) % 4]);
            word = _mm_sha256msg2_epu32(_mm_add_epi32(early, _mm_alignr_epi8(last, words[(GROUP + 2) % 4], 4)), last);
        }
        const __m128i constants = _mm_load_si128(reinterpret_cast<const __m128i*>(SHA256_CONSTANTS) + GROUP);
        const __m128i sum = _mm_add_epi32(word, constants);
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
    }
};

struct Digests {
    Md5 md5;
    Sha1 sha1;
    Sha256 sha256;

    // A sixteenth of a block: four steps of MD5 and four rounds of SHA-256; after every fourth, a group of SHA-1 more.
    template <int PART>
    CUSTODES_SHA_INLINE void part(const uint8_t* block) {
        md5.step<4 * PART>(block);
        sha256.rounds<PART>();
        md5.step<4 * PART + 1>(block);
        sha1.rounds<5 * PART / 4>();
        md5.step<4 * PART + 2>(block);
        if (PART % 4 == 3) sha1.rounds<5 * PART / 4 + 1>();
        md5.step<4 * PART + 3>(block);
    }

    CUSTODES_SHA void blocks(const uint8_t* from, const uint8_t* end);
};

// Out of line, once: it is long. All of it is in registers.
CUSTODES_SHA inline void Digests::blocks(const uint8_t* from, const uint8_t* end) {
    Digests now = *this;
    for (const uint8_t* at = from; at != end; at += BLOCK_BYTES) {
        const Digests was = now;
        now.sha1.load(at);
        now.sha256.load(at);
        now.part<0>(at), now.part<1>(at), now.part<2>(at), now.part<3>(at);
        now.part<4>(at), now.part<5>(at), now.part<6>(at), now.part<7>(at);
        now.part<8>(at), now.part<9>(at), now.part<10>(at), now.part<11>(at);
        now.part<12>(at), now.part<13>(at), now.part<14>(at), now.part<15>(at);
        now.md5.a += was.md5.a, now.md5.b += was.md5.b, now.md5.c += was.md5.c, now.md5.d += was.md5.d;
        now.sha1.e = _mm_sha1nexte_epu32(now.sha1.before, was.sha1.e);
        now.sha1.abcd = _mm_add_epi32(now.sha1.abcd, was.sha1.abcd);
        now.sha256.abef = _mm_add_epi32(now.sha256.abef, was.sha256.abef);
        now.sha256.cdgh = _mm_add_epi32(now.sha256.cdgh, was.sha256.cdgh);
    }
    *this = now;
}

inline void write_big(uint8_t* out, uint32_t word) {
    for (int i = 0; i < 4; i++) out[i] = static_cast<uint8_t>(word >> (24 - 8 * i));
}

CUSTODES_SHA inline void write_all(const Digests& digests, uint8_t* out) {
    const uint32_t md5[4] = {digests.md5.a, digests.md5.b, digests.md5.c, digests.md5.d};
    std::memcpy(out, md5, MD5_BYTES);
    uint32_t abcd[4], e[4], abef[4], cdgh[4];  // the last lane is the first word
    std::memcpy(abcd, &digests.sha1.abcd, sizeof abcd);
    std::memcpy(e, &digests.sha1.e, sizeof e);
    std::memcpy(abef, &digests.sha256.abef, sizeof abef);
    std::memcpy(cdgh, &digests.sha256.cdgh, sizeof cdgh);
    const uint32_t big[13] = {abcd[3], abcd[2], abcd[1], abcd[0], e[3],    abef[3], abef[2],
                              cdgh[3], cdgh[2], abef[1], abef[0], cdgh[1], cdgh[0]};
    for (int i = 0; i < 13; i++) write_big(out + MD5_BYTES + 4 * i, big[i]);
}

// The last one or two blocks: the rest of the message, a one bit, zeros, and the length in bits, which MD5 writes in
// the other order. So they are taken twice.
CUSTODES_SHA inline void finish(Digests digests, const uint8_t* rest, uint64_t size, uint8_t* out) {
    const uint64_t left = size % BLOCK_BYTES, length = left < BLOCK_BYTES - 8 ? BLOCK_BYTES : 2 * BLOCK_BYTES;
    const uint64_t bits = 8 * size;
    uint8_t end[2 * BLOCK_BYTES] = {};
    if (left) std::memcpy(end, rest, left);
    end[left] = 0x80;
    Digests shas = digests;
    std::memcpy(end + length - 8, &bits, 8);
    digests.blocks(end, end + length);
    write_big(end + length - 8, static_cast<uint32_t>(bits >> 32));
    write_big(end + length - 4, static_cast<uint32_t>(bits));
    shas.blocks(end, end + length);
    shas.md5 = digests.md5;
    write_all(shas, out);
}

CUSTODES_SHA inline void digest_all(const uint8_t* data, uint64_t size, uint8_t* out) {
    Digests digests;
    const uint64_t whole = size - size % BLOCK_BYTES;
    digests.blocks(data, data + whole);
    finish(digests, data + whole, size, out);
}

}  // namespace digest
}  // namespace custodes
#endif
