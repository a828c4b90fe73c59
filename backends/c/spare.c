/*
 * spare.c - large blocks that wait for their next use. Owns those. Calls nobody.
 */
#include "spare.h"

#include <stdlib.h>

uint8_t *spare_take(struct spare *s, size_t needed, size_t *size)
{
    for (size_t i = 0; s && needed > SPARE_SMALLEST && i < s->count; i++) {
        if (s->sizes[i] < needed)
            continue;
        uint8_t *block = s->blocks[i];
        *size = s->sizes[i];
        s->count--;
        s->blocks[i] = s->blocks[s->count];
        s->sizes[i] = s->sizes[s->count];
        return block;
    }
    uint8_t *block = malloc(needed);
    if (!block)
        abort();
    *size = needed;
    return block;
}

void spare_give(struct spare *s, uint8_t *block, size_t size)
{
    if (!block || !s || s->count == SPARE_BLOCKS || size <= SPARE_SMALLEST ||
        size > SPARE_LARGEST) {
        free(block);
        return;
    }
    s->blocks[s->count] = block;
    s->sizes[s->count++] = size;
}

void spare_fini(struct spare *s)
{
    while (s->count > 0)
        free(s->blocks[--s->count]);
}
