// What the check programs share: a seeded generator, and the declarations of every level's kernels.
#pragma once

#include <cstdint>

#include "custodes.h"

#if defined(CUSTODES_BASELINE_ONLY)
#define EACH_LEVEL(DO) DO(baseline)
#elif defined(__x86_64__) || defined(_M_X64)
#define EACH_LEVEL(DO) DO(avx512) DO(avx2) DO(baseline)
#elif defined(__aarch64__) || defined(_M_ARM64)
#define EACH_LEVEL(DO) DO(neon) DO(baseline)
#else
#define EACH_LEVEL(DO) DO(baseline)
#endif

// SplitMix64 (Steele, Lea, Flood, 2014): the same numbers from the same seed everywhere.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}

    uint64_t next() {
        uint64_t z = state_ += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }

    uint64_t below(uint64_t limit) { return next() % limit; }

  private:
    uint64_t state_;
};

extern "C" {
void custodes_release(void* memory);
#define DECLARE_HAMMING(level)                                                                                         \
    int custodes_has_##level(void);                                                                                    \
    int custodes_##level##_band(const uint8_t*, int64_t, int64_t, uint32_t*, uint32_t*, uint32_t*);                    \
    int custodes_##level##_probe(const custodes_table*, const custodes_chain*, const uint8_t*, int64_t, custodes_hits*); \
    int custodes_##level##_join(const custodes_table*, const custodes_table*, const custodes_chain*, int64_t,          \
                                custodes_hits*);                                                                       \
    int custodes_##level##_compare(const uint32_t*, int64_t, int64_t, const uint8_t*, int64_t, int64_t, custodes_hits*);
EACH_LEVEL(DECLARE_HAMMING)
}
