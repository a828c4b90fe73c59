/*
 * dgramq - a list of copies of datagrams, oldest first. Calls nobody.
 */
#include "base/dgramq.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct dgramq_item {
    STAILQ_ENTRY(dgramq_item) entry;
    size_t len;
    uint8_t data[];
};

void dgramq_init(struct dgramq *q, size_t max_count, size_t max_bytes, uint64_t *waiting,
                 uint64_t *dropped)
{
    *q = (struct dgramq){
        .max_count = max_count, .max_bytes = max_bytes, .waiting = waiting, .dropped = dropped};
    STAILQ_INIT(&q->items);
}

void dgramq_fini(struct dgramq *q)
{
    while (q->count > 0)
        dgramq_pop(q);
}

static void count_dropped(struct dgramq *q)
{
    if (q->dropped)
        ++*q->dropped;
}

void dgramq_push(struct dgramq *q, const void *data, size_t len)
{
    if (len > q->max_bytes || q->max_count == 0) {
        count_dropped(q);
        return;
    }
    while (q->count == q->max_count || len > q->max_bytes - q->bytes) {
        dgramq_pop(q);
        count_dropped(q);
    }
    struct dgramq_item *item = malloc(sizeof(*item) + len);
    assert(item);
    item->len = len;
    if (len > 0)
        memcpy(item->data, data, len);
    STAILQ_INSERT_TAIL(&q->items, item, entry);
    q->count++;
    q->bytes += len;
    if (q->waiting)
        ++*q->waiting;
}

bool dgramq_peek(const struct dgramq *q, const uint8_t **data, size_t *len)
{
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
    free(item);
}
