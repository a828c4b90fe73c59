/*
 * resolve - the addresses that a name has, looked up again and again.
 *
 * Asks in libuv's thread pool, at once and then every interval; after a failure sooner. A failure
 * changes nothing: the addresses found last remain until there are others.
 */
#ifndef BACK_RESOLVE_H
#define BACK_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/env.h"

#define RESOLVE_MAX 64 /* addresses of one name; the rest is not used */

struct resolve;

struct resolve_address {
    struct sockaddr_storage at;
    socklen_t len;
};

struct resolve_ops {
    /* All that it has now, IPv4 and IPv6, each once; at least one. Valid only now. Also when
     * nothing has changed. */
    void (*resolved)(void *user, const struct resolve_address *found, size_t count);
    /* text is valid only now. */
    void (*failed)(void *user, const char *text);
};

/* Begins to ask; the ops come later. host and port are copied. */
struct resolve *resolve_new(struct env *env, uv_loop_t *loop, const char *host, const char *port,
                            uint64_t interval_ns, const struct resolve_ops *ops, void *user);
/* No upcall comes any more. The loop stays busy until a question that is under way is answered. */
void resolve_free(struct resolve *r);

#endif
