/*
 * window - counts what is taken in a time and doubles. Calls budget.
 */
#include "base/window.h"

#include <stddef.h>

void window_init(struct window *w, uint64_t size, uint64_t max, struct budget *budget)
{
    *w = (struct window){.size = size, .max = max > size ? max : size, .budget = budget};
}

void window_fini(struct window *w)
{
    if (w->budget)
        budget_release(w->budget, w->size);
    w->size = w->max = 0;
}

uint64_t window_grow(struct window *w)
{
    uint64_t by = w->max - w->size < w->size ? w->max - w->size : w->size;
    if (by == 0 || (w->budget && !budget_reserve(w->budget, by, BUDGET_GROWTH)))
        return 0;
    w->size += by;
    return by;
}

uint64_t window_taken(struct window *w, uint64_t len, uint64_t now_ns, uint64_t rtt_ns)
{
    uint64_t hurry = 2 * rtt_ns > WINDOW_HURRY_NS ? 2 * rtt_ns : WINDOW_HURRY_NS;
    if (now_ns - w->since_ns > hurry) { /* these were taken before; from here on it counts */
        w->since_ns = now_ns;
        w->taken = 0;
        return 0;
    }
    w->taken += len;
    if (w->taken < w->size)
        return 0;
    w->since_ns = now_ns;
    w->taken = 0;
    return window_grow(w);
}
