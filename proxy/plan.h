/*
 * plan - from the configuration to what each worker is made of.
 *
 * Numbers that all workers together have are shared out here.
 */
#ifndef PLAN_H
#define PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "worker.h"

struct tls_context;

/* What the machine gives, already divided by the number of workers. */
struct plan_share {
    unsigned workers;
    size_t max_sessions;
    uint64_t memory;
};

struct plan {
    struct relay_probe probe;
    struct upstream_config *upstreams;
    struct relay_route *routes;
    size_t route_count;
};

/* Fills in to but for its addresses, index and endpoint. plan and config stay in place as long as a
 * worker made from it. */
void plan_init(struct plan *p, const struct config *config, const struct plan_share *share,
               struct tls_context *tls, struct worker_config *to);
void plan_fini(struct plan *p);

#endif
