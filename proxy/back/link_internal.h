/*
 * link_internal - a link, as its files share it.
 *
 * link.c     its life, and frames out
 * link_in.c  frames in
 */
#ifndef BACK_LINK_INTERNAL_H
#define BACK_LINK_INTERNAL_H

#include <sys/queue.h>

#include "back/dial.h"
#include "back/link.h"
#include "back/sock.h"
#include "base/budget.h"
#include "base/timers.h"
#include "base/turn.h"

#define LENGTH_SIZE 4                /* of a frame's length */
#define STARVED_NS  (20 * NS_PER_MS) /* who was refused memory asks again */

enum link_state {
    LINK_NEW, /* the dial begins with the next flush */
    LINK_DIALING,
    LINK_OPEN,
    LINK_FINISHING, /* writes what is staged, then discards what comes */
    LINK_ENDED,     /* closed() comes with the next flush */
};

struct receipt {
    uint64_t position; /* of the stage, counted over the link's life */
    void *of;          /* NULL: forgotten */
    size_t bytes, count;
};

struct link {
    struct link_shared *shared;
    const struct dial_target *target;
    const struct link_ops *ops;
    void *user;
    enum link_state state;
    struct dial dial;
    struct sock *sock;
    bool paused, hung_up;
    bool eof_allowed, eof_seen;
    bool refused;    /* a frame's length was not legal */
    bool write_gone; /* a write failed: read what is left, then it is over */
    bool shut;

    uint8_t *stage; /* NULL while empty */
    size_t staged, sent;
    uint64_t written; /* bytes that the socket has taken, in all */
    uint64_t offered; /* bytes that it was asked to take: a receipt up to here waits no longer for
                         what follows */
    const void *open_key;
    size_t open_at; /* where the open frame begins in the stage */
    size_t open_head;

    struct receipt *receipts; /* a ring */
    size_t receipt_first, receipt_count, receipt_size;

    uint8_t *part; /* read and not handed up yet: part_begin to part_end */
    size_t part_begin, part_end, part_size;

    size_t frames; /* handed up in this turn */
    bool behind;   /* the rest is another turn's: more fires in that */
    struct timer more;

    struct budget *memory;
    struct timer starved; /* asks again for memory, for a stage or for a frame that comes in */
    bool starving;        /* for the latter; in shared->starving */
    TAILQ_ENTRY(link) starving_entry;
    struct timer unfinished; /* while exempt */
    struct turn_flush flush;
    struct turn_grave grave;
    struct timer linger;
    struct link_end end;
    char end_text[256];
};

/* --- link.c --- */

/* The connection is lost (error), or at its end (0). */
void link_lose(struct link *l, int error);
bool link_wants_read(const struct link *l);

/* --- link_in.c --- */

/* Reads, within the budget of a turn, and hands up. */
void link_read_in(struct link *l);
/* Hands up what was kept. Only an incomplete frame, or frames after a pause, stay. */
void link_deliver_part(struct link *l);
void link_drop_part(struct link *l);
/* It does not wait for memory for a frame, or not any more. */
void link_stop_starving(struct link *l);
void link_end_exemption(struct link *l);
/* While paused or waiting for memory: if nothing is left to be read, then nothing more will come.
 * Otherwise that is read first, when there is credit for it. */
void link_check_hang_up(struct link *l);

#endif
