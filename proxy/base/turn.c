/*
 * turn - lists of what is touched and of what is buried, worked off when the turn ends.
 *
 * Owns nothing: the entries are parts of the objects. Calls their owners' flush and free.
 */
#include "base/turn.h"

#include <assert.h>
#include <stddef.h>

void turn_init(struct turn *t)
{
    for (int phase = 0; phase < TURN_PHASES; phase++)
        TAILQ_INIT(&t->touched[phase]);
    STAILQ_INIT(&t->graves);
}

void turn_flush_init(struct turn_flush *f, enum turn_phase phase, void (*flush)(void *owner),
                     void *owner)
{
    *f = (struct turn_flush){.flush = flush, .owner = owner, .phase = phase};
}

void turn_touch(struct turn *t, struct turn_flush *f)
{
    if (f->touched)
        return;
    f->touched = true;
    TAILQ_INSERT_TAIL(&t->touched[f->phase], f, entry);
}

void turn_untouch(struct turn *t, struct turn_flush *f)
{
    if (!f->touched)
        return;
    f->touched = false;
    TAILQ_REMOVE(&t->touched[f->phase], f, entry);
}

void turn_bury(struct turn *t, struct turn_grave *g, void (*free)(void *owner), void *owner)
{
    *g = (struct turn_grave){.free = free, .owner = owner};
    STAILQ_INSERT_TAIL(&t->graves, g, entry);
}

static struct turn_flush *next_touched(struct turn *t)
{
    for (int phase = 0; phase < TURN_PHASES; phase++) {
        struct turn_flush *f = TAILQ_FIRST(&t->touched[phase]);
        if (f)
            return f;
    }
    return NULL;
}

static void flush_all(struct turn *t)
{
    struct turn_flush *f;

    while ((f = next_touched(t))) {
        turn_untouch(t, f);
        f->flush(f->owner);
    }
}

void turn_end(struct turn *t)
{
    struct turn_grave *g;

    flush_all(t);
    while ((g = STAILQ_FIRST(&t->graves))) {
        /* The grave is part of what is freed. */
        STAILQ_REMOVE_HEAD(&t->graves, entry);
        g->free(g->owner);
        flush_all(t);
    }
}
