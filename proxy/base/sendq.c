/*
 * sendq - a list of chunks, each knowing which part of the stream it holds.
 *
 * A write first fills the last chunk, then adds new ones: the first is as large as the write, each
 * following one up to twice the one before, so that a short stream costs little and a long one few
 * allocations. Bytes are written behind those already lent and never move. Calls nobody.
 */
#include "base/sendq.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN 256
#define CHUNK_MAX 16384

struct sendq_chunk {
    TAILQ_ENTRY(sendq_chunk) entry;
    uint64_t start; /* offset in the stream of data[0] */
    size_t len, size;
    uint8_t data[];
};

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static uint64_t chunk_end(const struct sendq_chunk *c)
{
    return c->start + c->len;
}

void sendq_init(struct sendq *q, size_t limit, uint64_t *held)
{
    *q = (struct sendq){.limit = limit, .held = held};
    TAILQ_INIT(&q->chunks);
}

static void account_gone(struct sendq *q, uint64_t bytes)
{
    if (q->held)
        *q->held -= bytes;
}

void sendq_fini(struct sendq *q)
{
    struct sendq_chunk *c;

    while ((c = TAILQ_FIRST(&q->chunks))) {
        TAILQ_REMOVE(&q->chunks, c, entry);
        free(c);
    }
    account_gone(q, q->end - q->base);
    *q = (struct sendq){.limit = 0};
    TAILQ_INIT(&q->chunks);
}

static struct sendq_chunk *add_chunk(struct sendq *q, size_t need)
{
    struct sendq_chunk *last = TAILQ_LAST(&q->chunks, sendq_chunks);
    size_t size = last ? 2 * last->size : CHUNK_MIN;

    if (size < need)
        size = need;
    size = min_size(size, CHUNK_MAX);
    struct sendq_chunk *c = malloc(sizeof(*c) + size);
    assert(c);
    c->start = q->end;
    c->len = 0;
    c->size = size;
    TAILQ_INSERT_TAIL(&q->chunks, c, entry);
    return c;
}

size_t sendq_write(struct sendq *q, const void *data, size_t len)
{
    size_t taken = min_size(len, sendq_room(q));
    const uint8_t *from = data;

    for (size_t left = taken; left > 0;) {
        struct sendq_chunk *c = TAILQ_LAST(&q->chunks, sendq_chunks);
        if (!c || c->len == c->size)
            c = add_chunk(q, left);
        size_t n = min_size(left, c->size - c->len);
        memcpy(c->data + c->len, from, n);
        if (!q->at)
            q->at = c;
        c->len += n;
        q->end += n;
        from += n;
        left -= n;
    }
    if (q->held)
        *q->held += taken;
    return taken;
}

size_t sendq_room(const struct sendq *q)
{
    size_t held = sendq_held(q);
    return held < q->limit ? q->limit - held : 0;
}

size_t sendq_held(const struct sendq *q)
{
    return (size_t)(q->end - q->base);
}

size_t sendq_unsent(const struct sendq *q)
{
    return (size_t)(q->end - q->sent);
}

size_t sendq_peek(const struct sendq *q, struct iovec *slices, size_t count)
{
    struct sendq_chunk *c = q->at;
    uint64_t offset = q->sent;
    size_t n = 0;

    for (; c && n < count; c = TAILQ_NEXT(c, entry), n++) {
        size_t skip = (size_t)(offset - c->start);
        slices[n] = (struct iovec){.iov_base = c->data + skip, .iov_len = c->len - skip};
        offset = chunk_end(c);
    }
    return n;
}

void sendq_sent(struct sendq *q, size_t len)
{
    assert(len <= sendq_unsent(q));
    q->sent += len;
    /* More may still be written into a chunk whose bytes are all sent; that write sets `at`. */
    while (q->at && q->sent >= chunk_end(q->at))
        q->at = TAILQ_NEXT(q->at, entry);
}

static void free_acked(struct sendq *q)
{
    struct sendq_chunk *c;
    while ((c = TAILQ_FIRST(&q->chunks)) && chunk_end(c) <= q->base) {
        TAILQ_REMOVE(&q->chunks, c, entry);
        free(c);
    }
}

void sendq_acked(struct sendq *q, size_t len)
{
    assert(len <= q->sent - q->base);
    q->base += len;
    account_gone(q, len);
    free_acked(q);
}

void sendq_cut(struct sendq *q, uint64_t from)
{
    struct sendq_chunk *c;
    uint64_t end = from > q->sent ? from : q->sent;

    q->limit = 0;
    if (end >= q->end)
        return;
    while ((c = TAILQ_LAST(&q->chunks, sendq_chunks)) && c->start >= end) {
        TAILQ_REMOVE(&q->chunks, c, entry);
        free(c);
    }
    if (c)
        c->len = (size_t)(end - c->start);
    account_gone(q, q->end - end);
    q->end = end;
    if (q->sent == end)
        q->at = NULL;
    free_acked(q);
}
