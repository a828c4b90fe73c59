/*
 * timers - deadlines in a heap, earliest first.
 *
 * The timers themselves belong to whoever set them. Calls heap, the clock it was given and, from
 * timers_run, the timers' owners.
 */
#include "base/timers.h"

#include <assert.h>
#include <stdlib.h>

struct timers {
    uint64_t (*now_ns)(void *clock);
    void *clock;
    struct heap heap;
    bool running;
    uint64_t run_ns; /* the present run fires what is due at this time */
};

struct timers *timers_new(uint64_t (*now_ns)(void *clock), void *clock)
{
    struct timers *t = calloc(1, sizeof(*t));
    assert(t);
    t->now_ns = now_ns;
    t->clock = clock;
    return t;
}

void timers_free(struct timers *t)
{
    if (!t)
        return;
    heap_fini(&t->heap);
    free(t);
}

uint64_t timers_now(const struct timers *t)
{
    return t->now_ns(t->clock);
}

uint64_t timers_next(const struct timers *t)
{
    const struct heap_node *first = heap_first(&t->heap);
    return first ? first->key : TIMERS_NEVER;
}

void timer_init(struct timer *timer, void (*fired)(void *owner), void *owner)
{
    *timer = (struct timer){.fired = fired, .owner = owner};
}

bool timer_is_set(const struct timer *timer)
{
    return timer->node.is_in;
}

void timer_set(struct timers *t, struct timer *timer, uint64_t due_ns)
{
    if (due_ns == TIMERS_NEVER) {
        timer_stop(t, timer);
        return;
    }
    /* One nanosecond too late is not due in this run, but is in the next. */
    if (t->running && due_ns <= t->run_ns)
        due_ns = t->run_ns + 1;
    heap_put(&t->heap, &timer->node, due_ns, 0);
}

void timer_stop(struct timers *t, struct timer *timer)
{
    heap_take(&t->heap, &timer->node);
}

void timers_run(struct timers *t)
{
    assert(!t->running);
    t->running = true;
    t->run_ns = timers_now(t);
    while (timers_next(t) <= t->run_ns) {
        /* the node is a timer's first member */
        struct timer *timer = (struct timer *)(void *)heap_first(&t->heap);
        timer_stop(t, timer);
        timer->fired(timer->owner);
    }
    t->running = false;
}
