/*
 * plan - from the configuration to what each worker is made of.
 *
 * Numbers that all workers together have are shared out here.
 */
#ifndef PLAN_H
#define PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "bridge.h"
#include "listening.h"
#include "relay.h"
#include "worker.h"

struct tls_context;

/* What workers have of a configured backend: which of their backends. */
struct plan_upstreams {
    size_t streams, datagrams; /* BRIDGE_NONE: none */
};

struct plan {
    struct worker_settings settings;  /* for every worker */
    struct plan_upstreams *upstreams; /* one for each configured backend */
    struct worker_backend *backends;
    struct admission_route *routes; /* one for each way of a configured route */
    /* Likewise: */
    struct relay_route *relays;   /* if it leads to an application */
    struct bridge_route *bridges; /* if it leads to a bridge */
    char **paths;                 /* of targets; else NULL */
};

/* What the machine has to say about it. */
struct plan_ground {
    unsigned workers;
    size_t max_sessions, max_connections, max_sockets; /* of one worker */
    const struct listening_map *listeners;
};

/* probe outlives all workers, plan and config stay in place as long as a worker has the settings.
 */
void plan_init(struct plan *p, const struct config *config, const struct plan_ground *ground,
               const struct relay_probe *probe, struct tls_context *tls);
/* What stays as long as a worker is there, but for its addresses, index and endpoint. memory is of
 * all workers together. */
void plan_worker(const struct plan *p, const struct config *config, unsigned workers,
                 uint64_t memory, struct worker_config *to);
/* False if workers cannot take it: one sentence in error. */
bool plan_check(const struct plan *p, char *error, size_t error_size);
void plan_fini(struct plan *p);

#endif
