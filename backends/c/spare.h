/*
 * spare - a few large blocks of memory, kept for whoever needs one next.
 *
 * Under load the same blocks are needed again and again; fresh ones would cost a page fault for
 * every 4 KiB. Small blocks are the allocator's business. Running out of memory ends the process.
 */
#ifndef BACKENDS_C_SPARE_H
#define BACKENDS_C_SPARE_H

#include <stddef.h>
#include <stdint.h>

enum { SPARE_BLOCKS = 4, SPARE_SMALLEST = 16 << 10, SPARE_LARGEST = 1 << 20 };

struct spare {
    uint8_t *blocks[SPARE_BLOCKS];
    size_t sizes[SPARE_BLOCKS];
    size_t count;
};

/* A block of at least needed bytes; *size tells how many. s may be NULL. */
uint8_t *spare_take(struct spare *s, size_t needed, size_t *size);
/* Gives a block back: it is kept, or freed. s and block may be NULL. */
void spare_give(struct spare *s, uint8_t *block, size_t size);
void spare_fini(struct spare *s);

#endif
