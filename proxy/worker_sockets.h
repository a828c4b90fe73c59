/*
 * worker_sockets - the UDP sockets of one worker: which it has, and by which one a packet leaves.
 */
#ifndef WORKER_SOCKETS_H
#define WORKER_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/env.h"
#include "front/packet.h"
#include "front/udp.h"
#include "worker.h"

struct worker_sockets {
    struct env *env;
    uv_loop_t *loop;
    void (*received)(void *user, const struct packet *p);
    void *user;
    bool no_offload, is_reading;
    struct {
        unsigned id;
        struct udp *udp;
    } at[WORKER_MAX_ADDRESSES];
    size_t count, closing;
};

void worker_sockets_init(struct worker_sockets *s, struct env *env, uv_loop_t *loop,
                         bool no_offload, void (*received)(void *user, const struct packet *p),
                         void *user);
/* Takes over those that it has not, and closes those that are not wanted. False if the loop does
 * not take one: the others are there, and one sentence is in error. */
bool worker_sockets_change(struct worker_sockets *s, const struct worker_sockets_wanted *wanted,
                           char *error, size_t error_size);
/* Closes those that would have been taken over. */
void worker_sockets_refuse(const struct worker_sockets_wanted *wanted);
/* Begins to read, also of those that come later. */
void worker_sockets_read(struct worker_sockets *s);
void worker_sockets_send(const struct worker_sockets *s, const struct packet *p);
void worker_sockets_close(struct worker_sockets *s);
/* Whether all that were to be closed are closed. */
bool worker_sockets_are_settled(const struct worker_sockets *s);

#endif
