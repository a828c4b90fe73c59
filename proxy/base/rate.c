/*
 * rate - moves a moment.
 */
#include "base/rate.h"

#include "base/timers.h"

static uint64_t interval(const struct rate_limit *limit)
{
    return NS_PER_S / limit->per_second;
}

bool rate_is_over(const struct rate *r, const struct rate_limit *limit, uint64_t now_ns)
{
    return limit->per_second && r->paid_ns > now_ns + (limit->burst - 1) * interval(limit);
}

void rate_pay(struct rate *r, const struct rate_limit *limit, uint64_t now_ns)
{
    if (!limit->per_second)
        return;
    if (r->paid_ns < now_ns)
        r->paid_ns = now_ns;
    r->paid_ns += interval(limit);
}
