/*
 * recvq - a list of chunks, written at the last and dropped from the first.
 *
 * A write first fills the last chunk, then adds new ones, each up to twice the one before. Calls
 * nobody.
 */
#include "base/recvq.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN 256
#define CHUNK_MAX 16384

struct recvq_chunk {
    TAILQ_ENTRY(recvq_chunk) entry;
    size_t begin, end, size;
    uint8_t data[];
};

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

void recvq_init(struct recvq *q, uint64_t *held)
{
    *q = (struct recvq){.held = held};
    TAILQ_INIT(&q->chunks);
}

void recvq_fini(struct recvq *q)
{
    recvq_drop(q, q->held_bytes);
}

static struct recvq_chunk *add_chunk(struct recvq *q, size_t need)
{
    struct recvq_chunk *last = TAILQ_LAST(&q->chunks, recvq_chunks);
    size_t size = last ? 2 * last->size : CHUNK_MIN;

    if (size < need)
        size = need;
    size = min_size(size, CHUNK_MAX);
    struct recvq_chunk *c = malloc(sizeof(*c) + size);
    assert(c);
    c->begin = c->end = 0;
    c->size = size;
    TAILQ_INSERT_TAIL(&q->chunks, c, entry);
    return c;
}

void recvq_write(struct recvq *q, const void *data, size_t len)
{
    const uint8_t *from = data;

    for (size_t left = len; left > 0;) {
        struct recvq_chunk *c = TAILQ_LAST(&q->chunks, recvq_chunks);
        if (!c || c->end == c->size)
            c = add_chunk(q, left);
        size_t n = min_size(left, c->size - c->end);
        memcpy(c->data + c->end, from, n);
        c->end += n;
        from += n;
        left -= n;
    }
    q->held_bytes += len;
    if (q->held)
        *q->held += len;
}

size_t recvq_held(const struct recvq *q)
{
    return q->held_bytes;
}

const uint8_t *recvq_peek(const struct recvq *q, size_t *len)
{
    const struct recvq_chunk *c = TAILQ_FIRST(&q->chunks);

    *len = c ? c->end - c->begin : 0;
    return c ? c->data + c->begin : NULL;
}

int recvq_lend(const struct recvq *q, struct iovec *pieces, int max)
{
    struct recvq_chunk *c;
    int count = 0;

    TAILQ_FOREACH (c, &q->chunks, entry) {
        if (count == max)
            break;
        pieces[count++] =
            (struct iovec){.iov_base = c->data + c->begin, .iov_len = c->end - c->begin};
    }
    return count;
}

void recvq_drop(struct recvq *q, size_t len)
{
    assert(len <= q->held_bytes);
    q->held_bytes -= len;
    if (q->held)
        *q->held -= len;
    while (len > 0) {
        struct recvq_chunk *c = TAILQ_FIRST(&q->chunks);
        size_t n = min_size(len, c->end - c->begin);
        c->begin += n;
        len -= n;
        if (c->begin == c->end) {
            TAILQ_REMOVE(&q->chunks, c, entry);
            free(c);
        }
    }
}
