/*
 * random - numbers for choices that nobody gains from guessing: which of two, how long a pause.
 *
 * SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). The same
 * seed gives the same numbers, so tests can tell what comes. Nothing for keys or ids.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state; /* any value is a seed */
};

uint64_t random_next(struct random *r);
/* Below limit, which is not 0. */
uint64_t random_below(struct random *r, uint64_t limit);

#endif
