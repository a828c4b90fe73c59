/*
 * upstream_internal - an upstream and its members, as its files share them.
 *
 * upstream.c        its life; names become members
 * upstream_seat.c   who gets a seat, and what is learnt from how it went
 * upstream_probe.c  members are tried without a client
 */
#ifndef BACK_UPSTREAM_INTERNAL_H
#define BACK_UPSTREAM_INTERNAL_H

#include "back/dial.h"
#include "back/resolve.h"
#include "back/upstream.h"
#include "base/budget.h"
#include "base/turn.h"

struct upstream_source;

/* One address that sessions can be given to. */
struct upstream_member {
    struct upstream *upstream;
    struct upstream_source *source;
    LIST_ENTRY(upstream_member) entry;
    uint32_t id;
    struct dial_target target;
    struct pool_member place; /* in the pool unless it is retired */
    struct health health;
    bool retired; /* its name does not have it any more; goes when its last session has gone */
    bool seen;    /* in the answer that is looked at */
    bool buried;
    uint64_t given, answered, refused, lost, outages;

    struct timer probe_due, probe_limit;
    struct link *probe; /* NULL while it is not being tried */
    bool probe_told;    /* how it went is known */
    struct budget probe_memory;
    struct turn_grave grave;
};

/* One address of the configuration. */
struct upstream_source {
    struct upstream *upstream;
    struct resolve *resolve; /* NULL: it is one member and stays it */
    char *host;              /* the name that is resolved; else NULL */
    bool answered;           /* it is known whether the name has addresses */
    char why_not[384];       /* with the name, which has 253 characters at most */
};

struct upstream {
    struct env *env;
    struct upstream_config config;
    char *name;
    struct link_shared shared;
    struct pipe_shared pipes;
    struct dgram_shared dgrams;
    struct upstream_source *sources;
    size_t source_count;
    LIST_HEAD(, upstream_member) members; /* the retired ones, too */
    uint32_t next_id;
    struct pool pool;
    TAILQ_HEAD(seat_list, seat) asking; /* answered at the end of the turn */
    struct seat_list waiting;           /* for room or names */
    size_t waiting_count, seats;
    struct turn_flush flush;
    bool stopped;
};

/* --- upstream.c --- */

/* Lets a retired one go if nothing holds it any more. */
void member_settle(struct upstream_member *m);

/* --- upstream_seat.c --- */

/* Answers those who ask, and those who wait and can be seated now. */
void seats_flush(void *upstream);
/* What they learnt of a member; each tells it once, and sees to the next probe. */
void member_worked(struct upstream_member *m);
void member_unreachable(struct upstream_member *m, enum fault fault);
void member_failed(struct upstream_member *m, enum fault fault);

/* --- upstream_probe.c --- */

void probe_init(struct upstream_member *m);
/* Sets when it is to be tried next, if it is. */
void probe_schedule(struct upstream_member *m);
/* No more. The link, if there is one, closes with the turn. */
void probe_stop(struct upstream_member *m);
void probe_fini(struct upstream_member *m);

#endif
