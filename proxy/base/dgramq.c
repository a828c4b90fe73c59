/*
 * dgramq - a list of copies of datagrams, oldest first. Calls budget and timers.
 */
#include "base/dgramq.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/budget.h"
#include "base/timers.h"

enum { USUAL_SIZE = 1500, LARGEST_SIZE = 65535 };

struct dgramq_item {
    STAILQ_ENTRY(dgramq_item) entry;
    uint64_t due_ns; /* then it is too old */
    size_t len;
    uint8_t data[];
};

size_t dgramq_bytes_for(size_t max_count)
{
    size_t bytes = max_count * USUAL_SIZE;
    return bytes > LARGEST_SIZE ? bytes : LARGEST_SIZE;
}

void dgramq_init(struct dgramq *q, size_t max_count, size_t max_bytes, uint64_t *waiting,
                 uint64_t *dropped, struct budget *budget)
{
    *q = (struct dgramq){.max_count = max_count,
                         .max_bytes = max_bytes,
                         .waiting = waiting,
                         .dropped = dropped,
                         .budget = budget};
    STAILQ_INIT(&q->items);
}

void dgramq_set_ttl(struct dgramq *q, const struct timers *timers, uint64_t ttl_ns,
                    uint64_t *expired)
{
    q->timers = ttl_ns ? timers : NULL;
    q->ttl_ns = ttl_ns;
    q->expired = expired;
}

void dgramq_fini(struct dgramq *q)
{
    while (q->count > 0)
        dgramq_pop(q);
}

static void drop_oldest(struct dgramq *q)
{
    dgramq_pop(q);
    if (q->dropped)
        ++*q->dropped;
}

/* Makes room by dropping; false if there is none even in the empty queue. */
static bool make_room(struct dgramq *q, size_t len)
{
    if (len > q->max_bytes || q->max_count == 0)
        return false;
    while (q->count == q->max_count || len > q->max_bytes - q->bytes)
        drop_oldest(q);
    while (q->budget &&
           !budget_reserve(q->budget, sizeof(struct dgramq_item) + len, BUDGET_NEWCOMER)) {
        if (q->count == 0)
            return false;
        drop_oldest(q);
    }
    return true;
}

void dgramq_push(struct dgramq *q, const void *data, size_t len)
{
    if (!make_room(q, len)) {
        if (q->dropped)
            ++*q->dropped;
        return;
    }
    struct dgramq_item *item = malloc(sizeof(*item) + len);
    assert(item);
    item->len = len;
    item->due_ns = q->timers ? timers_now(q->timers) + q->ttl_ns : TIMERS_NEVER;
    if (len > 0)
        memcpy(item->data, data, len);
    STAILQ_INSERT_TAIL(&q->items, item, entry);
    q->count++;
    q->bytes += len;
    if (q->waiting)
        ++*q->waiting;
}

static void drop_expired(struct dgramq *q)
{
    uint64_t now = timers_now(q->timers);

    while (q->count > 0 && STAILQ_FIRST(&q->items)->due_ns <= now) {
        dgramq_pop(q);
        if (q->expired)
            ++*q->expired;
    }
}

bool dgramq_peek(struct dgramq *q, const uint8_t **data, size_t *len)
{
    if (q->timers)
        drop_expired(q);
    const struct dgramq_item *item = STAILQ_FIRST(&q->items);

    if (!item)
        return false;
    *data = item->data;
    *len = item->len;
    return true;
}

void dgramq_pop(struct dgramq *q)
{
    struct dgramq_item *item = STAILQ_FIRST(&q->items);

    assert(item);
    STAILQ_REMOVE_HEAD(&q->items, entry);
    q->count--;
    q->bytes -= item->len;
    if (q->waiting)
        --*q->waiting;
    if (q->budget)
        budget_release(q->budget, sizeof(*item) + item->len);
    free(item);
}
