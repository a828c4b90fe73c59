/*
 * spare.c - large blocks that wait for their next use, of sizes that are powers of two. Owns those.
 * Calls nobody.
 */
#include "spare.h"

#include <stdlib.h>

static void put(struct spare *s, size_t i, uint8_t *block, size_t size)
{
    s->blocks[i] = block;
    s->sizes[i] = size;
}

static uint8_t *take(struct spare *s, size_t i, size_t *size)
{
    uint8_t *block = s->blocks[i];
    *size = s->sizes[i];
    s->count--;
    put(s, i, s->blocks[s->count], s->sizes[s->count]);
    return block;
}

uint8_t *spare_take(struct spare *s, size_t needed, size_t *size)
{
    for (size_t i = 0; s && needed > SPARE_SMALLEST && i < s->count; i++)
        if (s->sizes[i] >= needed)
            return take(s, i, size);
    *size = needed;
    if (needed > SPARE_SMALLEST)
        for (*size = SPARE_SMALLEST; *size < needed;)
            *size *= 2;
    uint8_t *block = malloc(*size);
    if (!block)
        abort();
    return block;
}

/* The one that is missed the least. */
static size_t smallest(const struct spare *s)
{
    size_t found = 0;
    for (size_t i = 1; i < s->count; i++)
        if (s->sizes[i] < s->sizes[found])
            found = i;
    return found;
}

void spare_give(struct spare *s, uint8_t *block, size_t size)
{
    if (!block || !s || size <= SPARE_SMALLEST || size > SPARE_LARGEST) {
        free(block);
        return;
    }
    if (s->count < SPARE_BLOCKS) {
        put(s, s->count++, block, size);
        return;
    }
    size_t i = smallest(s);
    if (s->sizes[i] >= size) {
        free(block);
        return;
    }
    free(s->blocks[i]);
    put(s, i, block, size);
}

void spare_fini(struct spare *s)
{
    while (s->count > 0)
        free(s->blocks[--s->count]);
}
