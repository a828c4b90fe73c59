/*
 * fifo.c - bytes in, the same bytes out. Owns one block of memory. Calls spare.
 */
#include "fifo.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 1024, KEPT_WHEN_EMPTY = 16384 };

static void make_room(struct fifo *f, size_t len)
{
    if (f->head > 0 && f->len + len <= f->capacity && f->head >= f->capacity / 2) {
        memmove(f->at, f->at + f->head, f->len);
        f->head = 0;
        return;
    }
    size_t capacity = f->capacity ? f->capacity : SMALLEST;
    while (capacity < f->len + len)
        capacity *= 2;
    if (capacity == f->capacity)
        capacity *= 2; /* there is room, but too little of it is behind the bytes */
    uint8_t *fresh = spare_take(f->spare, capacity, &capacity);
    if (f->len > 0)
        memcpy(fresh, f->at + f->head, f->len);
    spare_give(f->spare, f->at, f->capacity);
    f->at = fresh;
    f->capacity = capacity;
    f->head = 0;
}

void fifo_write(struct fifo *f, const void *data, size_t len)
{
    if (len == 0)
        return;
    if (f->capacity - f->head - f->len < len)
        make_room(f, len);
    memcpy(f->at + f->head + f->len, data, len);
    f->len += len;
}

const uint8_t *fifo_peek(const struct fifo *f)
{
    return f->at + f->head;
}

void fifo_take(struct fifo *f, size_t len)
{
    assert(len <= f->len);
    f->head += len;
    f->len -= len;
    if (f->len > 0)
        return;
    f->head = 0;
    if (f->capacity > KEPT_WHEN_EMPTY)
        fifo_fini(f);
}

void fifo_fini(struct fifo *f)
{
    spare_give(f->spare, f->at, f->capacity);
    *f = (struct fifo){.spare = f->spare};
}
