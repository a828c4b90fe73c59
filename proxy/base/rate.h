/*
 * rate - so many in a second in the long run, and a burst at first.
 *
 * The generic cell rate algorithm (ITU-T I.371): what is kept is the moment at which all that came
 * would have been paid for, and that may be ahead of the clock by a burst. Pure. Calls nobody.
 */
#ifndef BASE_RATE_H
#define BASE_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct rate_limit {
    uint64_t per_second; /* 0: no limit */
    uint64_t burst;      /* so many may come at once after a quiet time; at least 1 */
};

struct rate {
    uint64_t paid_ns;
};

/* True if one more now would be too fast. */
bool rate_is_over(const struct rate *r, const struct rate_limit *limit, uint64_t now_ns);
/* One came. */
void rate_pay(struct rate *r, const struct rate_limit *limit, uint64_t now_ns);

#endif
