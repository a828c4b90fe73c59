/*
 * tally - see tally.h. Owns its rows. Calls nobody.
 */
#include "base/tally.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tally_fini(struct tally *t)
{
    free(t->rows);
    *t = (struct tally){0};
}

struct tally_row *tally_row(struct tally *t, const char *backend, const char *address)
{
    for (size_t i = 0; i < t->count; i++)
        if (strncmp(t->rows[i].backend, backend, TALLY_NAME_SIZE - 1) == 0 &&
            strncmp(t->rows[i].address, address, TALLY_ADDRESS_SIZE - 1) == 0)
            return &t->rows[i];
    if (t->count == t->room) {
        t->room = 2 * t->room + 8;
        t->rows = realloc(t->rows, t->room * sizeof(*t->rows));
        assert(t->rows);
    }
    struct tally_row *row = &t->rows[t->count++];
    *row = (struct tally_row){0};
    snprintf(row->backend, sizeof(row->backend), "%s", backend);
    snprintf(row->address, sizeof(row->address), "%s", address);
    return row;
}

void tally_add(struct tally *sum, const struct tally *one)
{
    for (size_t i = 0; i < one->count; i++) {
        const struct tally_row *from = &one->rows[i];
        struct tally_row *to = tally_row(sum, from->backend, from->address);
#define X(name, sentence) to->name += from->name;
        TALLY_NUMBERS(X)
#undef X
    }
}
