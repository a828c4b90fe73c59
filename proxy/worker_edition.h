/*
 * worker_edition - the applications that a worker knows: those of its present settings, and those
 * of earlier ones that sessions still have.
 *
 * An application of which nothing is configured otherwise stays the same upstream, with what it
 * knows of its addresses and who waits for them.
 */
#ifndef WORKER_EDITION_H
#define WORKER_EDITION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>
#include <uv.h>

#include "back/upstream.h"
#include "base/env.h"
#include "reception.h"
#include "worker.h"

struct worker_edition;
struct worker_backend_use;

struct worker_editions {
    struct env *env;
    uv_loop_t *loop;
    struct worker_edition *present;
    bool has_old; /* editions or upstreams that wait for their last session */
    LIST_HEAD(, worker_edition) all;
    LIST_HEAD(, worker_backend_use) backends;
};

void worker_editions_init(struct worker_editions *e, struct env *env, uv_loop_t *loop);
/* Makes settings the present ones; they stay in place until they are released. False if an address
 * cannot be understood: nothing has changed, and one sentence is in error. */
bool worker_editions_begin(struct worker_editions *e, const struct worker_settings *settings,
                           char *error, size_t error_size);
const struct worker_settings *worker_editions_settings(const struct worker_editions *e);
/* Of the present settings, one for each backend. In place as long as reception uses them. */
struct upstream *const *worker_editions_upstreams(const struct worker_editions *e);
/* Frees what is not present and what no session has any more; tells which settings that were. */
void worker_editions_settle(struct worker_editions *e, const struct reception *r,
                            void (*released)(void *user, const struct worker_settings *settings),
                            void *user);
void worker_editions_count(const struct worker_editions *e, struct tally *to);
/* No address is tried, no name looked up any more. */
void worker_editions_stop(struct worker_editions *e);
/* No link may be alive. */
void worker_editions_fini(struct worker_editions *e);

#endif
