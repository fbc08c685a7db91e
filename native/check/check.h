// What the check programs share: where their numbers come from, how they run, and the declarations of every level's
// kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

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

// Numbers from a seed (SplitMix64: Steele, Lea, Flood, 2014), or from a fuzzer's bytes first.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}
    Random(const uint8_t* data, size_t size) : data_(data), left_(size) {}

    uint64_t next() {
        if (left_ >= 2) {
            const uint64_t drawn = data_[0] | static_cast<uint64_t>(data_[1]) << 8;
            data_ += 2;
            left_ -= 2;
            return drawn;
        }
        uint64_t z = state_ += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }

    uint64_t below(uint64_t limit) { return next() % limit; }

  private:
    uint64_t state_ = 0;
    const uint8_t* data_ = nullptr;
    size_t left_ = 0;
};

extern "C" {
void custodes_release(void* memory);
#define DECLARE_HAMMING(level)                                                                                  \
    int custodes_has_##level(void);                                                                             \
    int custodes_##level##_band(const uint8_t*, int64_t, int64_t, uint32_t*, uint16_t*, uint16_t*, uint32_t*);  \
    int custodes_##level##_probe(const custodes_table*, const custodes_chain*, const uint8_t*, int64_t,         \
                                 custodes_hits*);                                                               \
    int custodes_##level##_join(const custodes_table*, const custodes_chain*, int64_t, const uint8_t*, int64_t, \
                                custodes_hits*);                                                                \
    int custodes_##level##_compare(const uint32_t*, int64_t, int64_t, const uint8_t*, int64_t, int64_t, custodes_hits*);
EACH_LEVEL(DECLARE_HAMMING)
}

// Every check program defines this: one round with what `random` gives. False, after saying what differs, is a failure.
bool check(Random& random);

#if defined(CUSTODES_FUZZ)  // clang++ -fsanitize=fuzzer: see build.py
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Random random(data, size);
    if (!check(random)) std::abort();
    return 0;
}
#else
int main(int argc, char** argv) {  // ROUNDS SEED; exit status 0: every round agreed
    Random random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
    for (int round = 0, rounds = argc > 1 ? std::atoi(argv[1]) : 20; round < rounds; round++)
        if (!check(random)) return 1;
    return 0;
}
#endif
