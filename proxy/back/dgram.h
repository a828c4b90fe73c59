/*
 * dgram - one connected UDP socket to a service.
 *
 * What is given to send in a turn goes out at its end at the latest, datagrams of one size with one
 * call, which the kernel or the network card takes apart (UDP_SEGMENT; a service that wakes up for
 * each of them would cost most of the time). What the socket does not take then is dropped. All
 * sockets of one upstream share the buffers.
 *
 * A dgram is valid until dgram_close; no upcall comes after it, and it may be called from within
 * one.
 */
#ifndef BACK_DGRAM_H
#define BACK_DGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/env.h"
#include "base/timers.h"

struct dgram;
struct dial_target;

#define DGRAM_MAX   65536 /* bytes of one; UDP has none that are larger */
#define DGRAM_BATCH 8     /* are read with one system call */

/* After so many readings in a row that were less apart than this, one waits for so long. */
#define DGRAM_SOON    4
#define DGRAM_REST_NS (50 * NS_PER_US)

/* Those that are given to one socket in a row: all of one size, but the last may be smaller. */
struct dgram_stage {
    struct dgram *owner; /* NULL: none */
    size_t size, len;
    unsigned count;
    uint8_t *bytes; /* DGRAM_MAX */
};

/* What all dgrams of one upstream share. Filled in by upstream.c. */
struct dgram_shared {
    struct env *env;
    uv_loop_t *loop;
    uint8_t *read_buffer; /* of DGRAM_BATCH times DGRAM_MAX; used within one reading only */
    struct dgram_stage stage;
    size_t dgrams; /* that are alive */
};

struct dgram_ops {
    /* One of the service's, valid only now; len may be 0. */
    void (*received)(void *user, const uint8_t *data, size_t len);
    /* The network says why one that was sent did not arrive: ECONNREFUSED when nobody listens. It
     * goes on all the same. */
    void (*failed)(void *user, int error);
};

/* NULL if the system refuses; *error is then an errno. */
struct dgram *dgram_open(struct dgram_shared *shared, const struct dial_target *target,
                         const struct dgram_ops *ops, void *user, int *error);
/* Copies it. What cannot be sent, for the socket is full or it is too large, counts as dropped. */
void dgram_send(struct dgram *d, const void *data, size_t len);
/* What was given to it before is sent. */
void dgram_close(struct dgram *d);

#endif
