// Which levels this machine has, and what is the same for all of them.
#include <cstdlib>

#include "custodes.h"
#include "digest.hpp"

#if defined(__x86_64__) || defined(_M_X64)
#define CUSTODES_X86 1
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace {

#if defined(CUSTODES_X86)

struct Registers {
    unsigned a, b, c, d;
};

Registers cpuid(unsigned leaf) {
    Registers r{};
#if defined(_MSC_VER)
    int out[4];
    __cpuidex(out, static_cast<int>(leaf), 0);
    r = {static_cast<unsigned>(out[0]), static_cast<unsigned>(out[1]), static_cast<unsigned>(out[2]),
         static_cast<unsigned>(out[3])};
#else
    __cpuid_count(leaf, 0, r.a, r.b, r.c, r.d);
#endif
    return r;
}

// The vector registers that the operating system saves and restores (XCR0).
unsigned long long saved_registers() {
    if (!(cpuid(1).c >> 27 & 1)) return 0;  // OSXSAVE
#if defined(_MSC_VER)
    return _xgetbv(0);
#else
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return static_cast<unsigned long long>(high) << 32 | low;
#endif
}

bool has(unsigned word, int bit) { return word >> bit & 1; }

bool has_avx2() {
    if (cpuid(0).a < 7 || (saved_registers() & 0x6) != 0x6) return false;
    const Registers one = cpuid(1), seven = cpuid(7);
    // POPCNT, AVX, F16C, AVX2, BMI2
    return has(one.c, 23) && has(one.c, 28) && has(one.c, 29) && has(seven.b, 5) && has(seven.b, 8);
}

bool has_avx512() {
    if (!has_avx2() || (saved_registers() & 0xE6) != 0xE6) return false;
    const Registers seven = cpuid(7);
    // F, DQ, BW, VL, VNNI, BITALG, VPOPCNTDQ
    return has(seven.b, 16) && has(seven.b, 17) && has(seven.b, 30) && has(seven.b, 31) && has(seven.c, 11) &&
           has(seven.c, 12) && has(seven.c, 14);
}

bool has_sha() {
    if (cpuid(0).a < 7) return false;
    const Registers one = cpuid(1);
    return has(one.c, 9) && has(one.c, 19) && has(cpuid(7).b, 29);  // SSSE3, SSE4.1, SHA
}

#endif

}  // namespace

extern "C" CUSTODES_API int custodes_interface(void) { return CUSTODES_INTERFACE; }

extern "C" CUSTODES_API void custodes_release(void* memory) { std::free(memory); }

#if defined(CUSTODES_X86)
extern "C" CUSTODES_API int custodes_has_avx512(void) { return has_avx512(); }
extern "C" CUSTODES_API int custodes_has_avx2(void) { return has_avx2(); }
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
extern "C" CUSTODES_API int custodes_has_neon(void) { return 1; }  // part of the architecture
#endif
extern "C" CUSTODES_API int custodes_has_baseline(void) { return 1; }

#if defined(CUSTODES_DIGESTS)
extern "C" CUSTODES_API int custodes_has_sha(void) { return has_sha(); }

// MD5, SHA-1 and SHA-256 one after the other: 68 bytes. Only where custodes_has_sha.
extern "C" CUSTODES_API void custodes_digests(const uint8_t* data, int64_t size, uint8_t* out) {
    custodes::digest::digest_all(data, static_cast<uint64_t>(size), out);
}
#endif
