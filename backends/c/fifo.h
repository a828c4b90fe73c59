/*
 * fifo - bytes in, the same bytes out, in one piece of memory.
 *
 * It grows as it is written to and is given back when it runs empty; the bound belongs to whoever
 * holds it. All zero is an empty one; with spare, large memory comes from there and goes there.
 * Running out of memory ends the process.
 */
#ifndef BACKENDS_C_FIFO_H
#define BACKENDS_C_FIFO_H

#include <stddef.h>
#include <stdint.h>

#include "spare.h"

struct fifo {
    uint8_t *at;
    size_t capacity, head, len;
    struct spare *spare; /* or NULL; stays after fifo_fini */
};

/* Copies len bytes to the end. data must not point into the fifo. */
void fifo_write(struct fifo *f, const void *data, size_t len);
/* The f->len bytes held, oldest first. Valid until the next fifo_write, fifo_take or fifo_fini. */
const uint8_t *fifo_peek(const struct fifo *f);
/* Drops the oldest len bytes; len <= f->len. */
void fifo_take(struct fifo *f, size_t len);
/* Drops everything and gives the memory back; it may be used again. */
void fifo_fini(struct fifo *f);

#endif
