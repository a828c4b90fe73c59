/*
 * turn - what is to be done once when the present callback has ended.
 *
 * All that one pass of the loop causes is a turn. Callbacks of libraries only record and touch;
 * at the end of the turn each touched thing is flushed once (applications' links first, because a
 * flush there may credit a client, then QUIC connections), again and again until nothing is
 * touched, and then what has been buried is freed. So whoever runs inside a callback may bury the
 * object that is calling it: its memory stays valid until the turn ends.
 *
 * The caller owns every struct; each is part of the object that it flushes or frees.
 */
#ifndef BASE_TURN_H
#define BASE_TURN_H

#include <stdbool.h>
#include <sys/queue.h>

enum turn_phase { TURN_BACK, TURN_FRONT, TURN_PHASES };

struct turn_flush {
    void (*flush)(void *owner);
    void *owner;
    enum turn_phase phase;
    bool touched;
    TAILQ_ENTRY(turn_flush) entry;
};

struct turn_grave {
    void (*free)(void *owner);
    void *owner;
    STAILQ_ENTRY(turn_grave) entry;
};

struct turn {
    TAILQ_HEAD(, turn_flush) touched[TURN_PHASES];
    STAILQ_HEAD(, turn_grave) graves;
};

void turn_init(struct turn *t);

void turn_flush_init(struct turn_flush *f, enum turn_phase phase, void (*flush)(void *owner),
                     void *owner);
/* Asks for one flush at the end of the turn; asking twice is asking once. */
void turn_touch(struct turn *t, struct turn_flush *f);
/* Takes the wish back; for objects that are about to be buried. */
void turn_untouch(struct turn *t, struct turn_flush *f);
/* Frees owner at the end of the turn. Once only. */
void turn_bury(struct turn *t, struct turn_grave *g, void (*free)(void *owner), void *owner);

/* Flushes and frees. Called by whoever drives the loop, never from inside a callback of a library.
 */
void turn_end(struct turn *t);

#endif
