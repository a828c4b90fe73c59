/*
 * pattern - the bytes that the benchmarks send: the byte at offset k is k modulo 251. So whoever
 * receives them can compare them with what they should be, at the price of a memcmp.
 */
#ifndef TESTS_BENCH_PATTERN_H
#define TESTS_BENCH_PATTERN_H

#include <stddef.h>
#include <stdint.h>

enum { PATTERN_PERIOD = 251, PATTERN_CHUNK = 1 << 16 };

static uint8_t pattern[PATTERN_CHUNK + PATTERN_PERIOD];

static inline void pattern_init(void)
{
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i % PATTERN_PERIOD);
}

/* PATTERN_CHUNK bytes as they are from this offset on. */
static inline const uint8_t *pattern_at(uint64_t offset)
{
    return pattern + offset % PATTERN_PERIOD;
}

/* As much of left as lies together. */
static inline size_t pattern_len(uint64_t left)
{
    return left < PATTERN_CHUNK ? (size_t)left : PATTERN_CHUNK;
}

/* How many bytes a client of /source asks for: 8 bytes, big-endian. */
static inline uint64_t pattern_size(const uint8_t asked[8])
{
    uint64_t size = 0;
    for (int i = 0; i < 8; i++)
        size = size << 8 | asked[i];
    return size;
}

static inline void pattern_ask(uint8_t asked[8], uint64_t size)
{
    for (int i = 7; i >= 0; i--, size >>= 8)
        asked[i] = (uint8_t)size;
}

#endif
