/*
 * timers - a binary heap of deadlines, earliest on top.
 *
 * Owns the heap's array of pointers; the timers themselves belong to whoever set them. Each timer
 * knows its place in the array, so moving and stopping cost no search. Calls the clock it was
 * given and, from timers_run, the timers' owners.
 */
#include "base/timers.h"

#include <assert.h>
#include <stdlib.h>

struct timers {
    uint64_t (*now_ns)(void *clock);
    void *clock;
    struct timer **heap;
    size_t count, room;
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
    assert(t->count == 0);
    free(t->heap);
    free(t);
}

uint64_t timers_now(const struct timers *t)
{
    return t->now_ns(t->clock);
}

uint64_t timers_next(const struct timers *t)
{
    return t->count ? t->heap[0]->due_ns : TIMERS_NEVER;
}

static void place(struct timers *t, struct timer *timer, size_t slot)
{
    t->heap[slot] = timer;
    timer->slot = slot;
}

static void sift_up(struct timers *t, struct timer *timer, size_t slot)
{
    while (slot > 0) {
        size_t parent = (slot - 1) / 2;
        if (t->heap[parent]->due_ns <= timer->due_ns)
            break;
        place(t, t->heap[parent], slot);
        slot = parent;
    }
    place(t, timer, slot);
}

static void sift_down(struct timers *t, struct timer *timer, size_t slot)
{
    for (;;) {
        size_t child = 2 * slot + 1;
        if (child >= t->count)
            break;
        if (child + 1 < t->count && t->heap[child + 1]->due_ns < t->heap[child]->due_ns)
            child++;
        if (timer->due_ns <= t->heap[child]->due_ns)
            break;
        place(t, t->heap[child], slot);
        slot = child;
    }
    place(t, timer, slot);
}

/* Finds the right place for a timer that may belong anywhere, beginning at slot. */
static void settle(struct timers *t, struct timer *timer, size_t slot)
{
    if (slot > 0 && t->heap[(slot - 1) / 2]->due_ns > timer->due_ns)
        sift_up(t, timer, slot);
    else
        sift_down(t, timer, slot);
}

void timer_init(struct timer *timer, void (*fired)(void *owner), void *owner)
{
    *timer = (struct timer){.due_ns = TIMERS_NEVER, .fired = fired, .owner = owner};
}

static size_t slot_of_new(struct timers *t)
{
    if (t->count == t->room) {
        t->room = t->room ? 2 * t->room : 64;
        t->heap = realloc(t->heap, t->room * sizeof(struct timer *));
        assert(t->heap);
    }
    return t->count++;
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
    size_t slot = timer->due_ns == TIMERS_NEVER ? slot_of_new(t) : timer->slot;
    timer->due_ns = due_ns;
    settle(t, timer, slot);
}

void timer_stop(struct timers *t, struct timer *timer)
{
    if (timer->due_ns == TIMERS_NEVER)
        return;
    assert(timer->slot < t->count && t->heap[timer->slot] == timer);
    timer->due_ns = TIMERS_NEVER;
    struct timer *last = t->heap[--t->count];
    if (last != timer)
        settle(t, last, timer->slot);
}

void timers_run(struct timers *t)
{
    assert(!t->running);
    t->running = true;
    t->run_ns = timers_now(t);
    while (t->count && t->heap[0]->due_ns <= t->run_ns) {
        struct timer *timer = t->heap[0];
        timer_stop(t, timer);
        timer->fired(timer->owner);
    }
    t->running = false;
}
