/* The C interface of the kernels: plain pointers and sizes, no Python. Arrays are little-endian and belong to the
 * caller.
 *
 * Every function exists once a level, as custodes_<level>_<name>; which levels a machine has, custodes_has_<level>
 * says. A function returns 0, or 1 where memory ran out. Arrays are trusted, in their sizes and in
 * what they point to: whoever calls checks what comes from outside.
 */
#ifndef CUSTODES_H
#define CUSTODES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define CUSTODES_API __declspec(dllexport)
#else
#define CUSTODES_API __attribute__((visibility("default")))
#endif

/* Grows with every change to this file. */
#define CUSTODES_INTERFACE 4

/* Codes sorted by the value of each of their 16 bands. `count` codes of 32 bytes; for each band 65,537 `starts`,
 * `count` `near` (the next band), `far` (the one after it) and `entries` (rows of codes). `near` and `far` end in 32
 * spare. */
typedef struct {
    const uint8_t* codes;
    const uint32_t* starts;
    const uint16_t* near;
    const uint16_t* far;
    const uint32_t* entries;
    int64_t count;
} custodes_table;

/* A radius, and the bits that a band may differ in where a chain starts; -1: none starts there. */
typedef struct {
    uint32_t radius;
    int32_t threshold[16];
} custodes_chain;

typedef struct {
    uint32_t row, entry, distance;
} custodes_hit;

/* Grown with realloc; given back with custodes_release. */
typedef struct {
    custodes_hit* hits;
    int64_t count, capacity;
} custodes_hits;

/* Codes of `size` bytes (8 to 64) in the order of exact.hpp, and the heads of `buckets` buckets, one head more than
 * that, whose starts rise to `count`. For exact_build codes are in any order, and heads are not read. */
typedef struct {
    const uint64_t* heads;
    const uint8_t* codes;
    int64_t count, buckets, size;
} custodes_exact;

/* Weighted sums along one axis of an image: each of 64 begins at a sample and has `support` weights. begin rises, and
 * begin + support stays inside the image. */
typedef struct {
    const int64_t* begin;
    const float* weights;
    int64_t support;
} custodes_tents;

/* `count` vectors of `dimension` numbers each, one after the other; `type` is what a number is. */
enum { CUSTODES_FP16, CUSTODES_FP32, CUSTODES_INT8 };
typedef struct {
    const void* rows;
    int64_t count, dimension, type;
} custodes_vectors;

#ifdef __cplusplus
}
#endif

#endif
