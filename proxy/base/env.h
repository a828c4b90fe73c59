/*
 * env - what all modules of one worker share.
 *
 * There is one env per worker (and one per pretend host in the in-memory tests). It is made by
 * worker.c, or by the test, before anything else and outlives everything that was given it.
 * Nothing in it is shared between workers but the log, which is safe to share.
 */
#ifndef BASE_ENV_H
#define BASE_ENV_H

#include <stdint.h>

#include "base/random.h"
#include "base/report.h"

struct budget;
struct clients;
struct timers;
struct turn;
struct stats;
struct log;

struct env {
    struct timers *timers; /* the clock, and what is due when */
    struct turn *turn;     /* what to flush and what to free when the present callback has ended */
    struct stats *stats;   /* counters and gauges of this worker */
    struct log *log;       /* where events are told */
    struct budget *memory; /* what this worker may hold and promise */
    struct clients *clients; /* what each client address may have; NULL: no limits */
    struct random random;    /* for choices, not for secrets */
    uint8_t hash_key[16];    /* random; for tables whose keys a peer chooses */
    struct report report;    /* how often faults were told in the log; see report.h */
};

#endif
