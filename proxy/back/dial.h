/*
 * dial - an application's address, and the attempt to reach it.
 *
 * The full backlog of a Unix socket is tried again and again within the timeout. Names are not
 * looked up here: see resolve.h.
 */
#ifndef BACK_DIAL_H
#define BACK_DIAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/env.h"
#include "base/fault.h"
#include "base/timers.h"

struct sock;

/* Where to. */
struct dial_target {
    char *address; /* as given: "unix:PATH", "tcp:HOST:PORT", "udp:HOST:PORT" */
    int type;      /* SOCK_STREAM, or SOCK_DGRAM of udp: */
    char *host;    /* NULL for a Unix socket */
    char *port;
    struct sockaddr_storage socket_address;
    socklen_t len; /* 0: host is a name, which must be resolved first */
};

/* Returns false if address cannot be understood; *error then says why (static text). */
bool dial_target_init(struct dial_target *t, const char *address, const char **error);
void dial_target_fini(struct dial_target *t);

/* What it means that no socket could be had or connected. BACKEND_FULL: it is our own system that
 * has no descriptor or memory left, which says nothing of the address. */
enum fault dial_fault(int error);

struct dial_ops {
    /* sock is connected and belongs to the holder now. */
    void (*connected)(void *user, struct sock *sock);
    /* error is an errno or 0; text is valid until the dial is begun again or its memory goes. */
    void (*failed)(void *user, enum fault fault, int error, const char *text);
};

struct dial {
    struct env *env;
    const struct dial_target *target;
    const struct dial_ops *ops;
    void *user;
    struct sock *sock;
    struct timer deadline;
    struct timer retry;
    uint64_t back_off_ns;
    char text[256];
};

/* Ends with one of ops, perhaps before this returns. target, which is no name and not udp:,
 * outlives the dial. */
void dial_begin(struct dial *d, struct env *env, uv_loop_t *loop, const struct dial_target *target,
                uint64_t timeout_ns, const struct dial_ops *ops, void *user);
/* No upcall comes any more. Does nothing if it has ended. */
void dial_cancel(struct dial *d);
/* The same; the other end of a connection that was made meanwhile gets a reset, not an end. */
void dial_reset(struct dial *d);

#endif
