/*
 * intake - how many connections and unfinished handshakes there are, in all and by each listener,
 * and whether there may be one more.
 *
 * A forged address costs its sender nothing. So clients that have not proven theirs may take at
 * most half of the room that is left, and half of a burst; the other half is for those who bring a
 * proof.
 *
 * Plain struct of one worker. Owns nothing. Calls base/rate.
 */
#ifndef FRONT_INTAKE_H
#define FRONT_INTAKE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/fault.h"
#include "base/rate.h"

#define INTAKE_LISTENERS 64 /* those that are being closed, too */

struct intake_limit {
    size_t connections;     /* those in a handshake, too; 0: no limit */
    size_t handshakes;      /* 0: no limit */
    struct rate_limit rate; /* of new connections */
    bool is_retired;        /* a listener's: no new ones at all */
};

struct intake_limits {
    size_t unproven; /* handshakes beyond which everybody has to prove an address */
    struct intake_limit all, listeners[INTAKE_LISTENERS];
};

struct intake_count {
    size_t connections, handshakes;
    struct rate rate;
};

struct intake {
    struct intake_count all, listeners[INTAKE_LISTENERS];
};

/* True if a client that comes to this listener has to prove its address first. */
bool intake_wants_proof(const struct intake *in, const struct intake_limits *limits,
                        unsigned listener, uint64_t now_ns);
/* FAULT_NONE, or why there may be no more connection. */
enum fault intake_check(const struct intake *in, const struct intake_limits *limits,
                        unsigned listener, uint64_t now_ns);
/* One connection more, with a handshake. */
void intake_begin(struct intake *in, const struct intake_limits *limits, unsigned listener,
                  uint64_t now_ns);
/* Its handshake is over; once for each, at its end at the latest. */
void intake_finish_handshake(struct intake *in, unsigned listener);
void intake_end(struct intake *in, unsigned listener);

#endif
