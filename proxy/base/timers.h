/*
 * timers - one heap of deadlines per worker, on an injected clock.
 *
 * The clock is a function, so the worker gives the system's monotonic clock and the tests give a
 * pretend one. timers never sleeps: whoever owns it asks timers_next() when to come back (the
 * worker arms a timerfd, the test world moves its clock) and then calls timers_run().
 *
 * Times are nanoseconds on the clock's own scale; TIMERS_NEVER is no time. The caller owns each
 * struct timer, which must stay in place while it is set. Setting and stopping never fail.
 */
#ifndef BASE_TIMERS_H
#define BASE_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"

#define TIMERS_NEVER UINT64_MAX
#define NS_PER_US    UINT64_C(1000)
#define NS_PER_MS    UINT64_C(1000000)
#define NS_PER_S     UINT64_C(1000000000)

struct timers;

struct timer {
    struct heap_node node;      /* first; its key is when it is due */
    void (*fired)(void *owner); /* called by timers_run once per timer_set */
    void *owner;
};

/* now_ns(clock) must never go backwards. */
struct timers *timers_new(uint64_t (*now_ns)(void *clock), void *clock);
/* No timer may be set any more. */
void timers_free(struct timers *t);

uint64_t timers_now(const struct timers *t);
/* The earliest deadline, or TIMERS_NEVER. */
uint64_t timers_next(const struct timers *t);
/* Fires every timer that is due, earliest first. A timer set by a firing one to a time already
 * past waits for the next run, so that this ends. */
void timers_run(struct timers *t);

void timer_init(struct timer *timer, void (*fired)(void *owner), void *owner);
bool timer_is_set(const struct timer *timer);
/* Moves it if it is set already. TIMERS_NEVER stops it. */
void timer_set(struct timers *t, struct timer *timer, uint64_t due_ns);
void timer_stop(struct timers *t, struct timer *timer);

#endif
