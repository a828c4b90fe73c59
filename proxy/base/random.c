/*
 * random - see random.h. Owns nothing, calls nobody.
 */
#include "base/random.h"

#include <assert.h>

uint64_t random_next(struct random *r)
{
    uint64_t x = r->state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t random_below(struct random *r, uint64_t limit)
{
    assert(limit > 0);
    return random_next(r) % limit; /* the first few are likelier by less than limit in 2^64 */
}
