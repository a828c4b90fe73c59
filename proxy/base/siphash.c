/*
 * siphash - SipHash-2-4 as J.-P. Aumasson and D. J. Bernstein describe it ("SipHash: a fast
 * short-input PRF", 2012). Owns nothing, calls nobody.
 */
#include "base/siphash.h"

#include <endian.h>
#include <string.h>

struct state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static uint64_t little_endian(const uint8_t *data, size_t len)
{
    uint64_t x = 0;

    while (len-- > 0)
        x = x << 8 | data[len];
    return x;
}

/* Eight bytes, which compilers then load at once. */
static uint64_t word(const uint8_t *data)
{
    uint64_t x;

    memcpy(&x, data, sizeof(x));
    return le64toh(x);
}

static void rounds(struct state *s, int count)
{
    while (count-- > 0) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 = rotate(s->v2, 32);
    }
}

static void compress(struct state *s, uint64_t m)
{
    s->v3 ^= m;
    rounds(s, 2);
    s->v0 ^= m;
}

uint64_t siphash(const uint8_t key[16], const void *data, size_t len)
{
    uint64_t k0 = word(key), k1 = word(key + 8);
    struct state s = {k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
                      k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573)};
    const uint8_t *at = data;
    size_t left = len;

    for (; left >= 8; at += 8, left -= 8)
        compress(&s, word(at));
    compress(&s, (uint64_t)len << 56 | little_endian(at, left));
    s.v2 ^= 0xff;
    rounds(&s, 4);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
