/*
 * affinity - what decides at which address of its backend a session is, if the policy is POOL_HASH:
 * a key made of something in its request.
 *
 * Pure. Calls base/forwarded and back/pool's hash.
 */
#ifndef AFFINITY_H
#define AFFINITY_H

#include <stdint.h>

#include "base/forwarded.h"

struct wt_request;

enum affinity_by {
    AFFINITY_CLIENT, /* the client's IP address; also for requests without what is asked below */
    AFFINITY_PATH,   /* without the query */
    AFFINITY_HEADER,
    AFFINITY_COOKIE,
};

struct affinity {
    enum affinity_by by;
    const char *name; /* of the header or cookie */
};

/* Behind a proxy that is trusted (rule) the client is the one that the proxy names. */
uint64_t affinity_key(const struct affinity *a, const struct forwarded_rule *rule,
                      const struct wt_request *r);

#endif
