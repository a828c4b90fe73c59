/*
 * upstream - an application: its addresses, and the making of links to them in turn.
 */
#ifndef BACK_UPSTREAM_H
#define BACK_UPSTREAM_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "back/link.h"
#include "base/env.h"

struct upstream;

struct upstream_config {
    /* "unix:PATH" or "tcp:HOST:PORT"; IPv6 hosts in brackets. Copied. At least one. */
    const char *const *addresses;
    size_t address_count;
    uint64_t connect_timeout_ns; /* a full backlog (EAGAIN) is retried within it */
    uint64_t linger_timeout_ns;
    uint64_t frame_timeout_ns; /* to finish a large frame, where memory is short */
    size_t max_frame;          /* bytes; larger frames are refused */
    size_t stage_size;         /* bytes staged for one application socket */
    size_t read_budget;        /* bytes read from one application socket in one turn */
};

/* NULL if an address cannot be understood; *error then says why (static text). Names are resolved
 * at each connect, off the loop. */
struct upstream *upstream_new(struct env *env, uv_loop_t *loop,
                              const struct upstream_config *config, const char **error);
/* No link may be alive. */
void upstream_free(struct upstream *u);

/* Begins to connect to the address whose turn it is. Never fails at once: opened() or closed()
 * follows, not before this returns. memory pays for what the link keeps, until closed(). */
struct link *upstream_connect(struct upstream *u, const struct link_ops *ops, void *user,
                              struct budget *memory);
/* Bytes of the largest frame that fits into an empty stage. */
size_t upstream_largest(const struct upstream *u);

#endif
