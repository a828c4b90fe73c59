/*
 * window - how many bytes a sender may have outstanding: small at first, larger while it is used up
 * fast.
 *
 * A window that is taken whole within two round trips (or WINDOW_HURRY_NS, if those are shorter) is
 * what holds the sender up, so it doubles, as far as its maximum and its budget allow. A sender
 * whose receiver or path is slow never gets there and keeps the small one. It never shrinks: what
 * was promised stays promised until the end.
 */
#ifndef BASE_WINDOW_H
#define BASE_WINDOW_H

#include <stdint.h>

#include "base/budget.h"

#define WINDOW_HURRY_NS (20 * UINT64_C(1000000))

struct window {
    uint64_t size, max;
    struct budget *budget; /* pays for what it grows by; NULL: nobody */
    uint64_t taken;        /* since since_ns */
    uint64_t since_ns;
};

/* size has been reserved already, if there is a budget. */
void window_init(struct window *w, uint64_t size, uint64_t max, struct budget *budget);
/* Gives all of it back to the budget. */
void window_fini(struct window *w);
/* The receiver has taken len bytes. Returns by how much the window has grown: usually 0. */
uint64_t window_taken(struct window *w, uint64_t len, uint64_t now_ns, uint64_t rtt_ns);
/* Doubles it, however fast it is taken, as far as its maximum allows; not at all if its budget does
 * not pay for all of that. Returns by how much it has grown. */
uint64_t window_grow(struct window *w);

#endif
