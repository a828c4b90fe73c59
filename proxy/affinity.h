/*
 * affinity - what decides at which address of its backend a session is, if the policy is POOL_HASH:
 * a key made of something in its request.
 *
 * Pure. Calls back/pool's hash.
 */
#ifndef AFFINITY_H
#define AFFINITY_H

#include <stdint.h>
#include <sys/socket.h>

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

/* client is its address. */
uint64_t affinity_key(const struct affinity *a, const struct sockaddr_storage *client,
                      const struct wt_request *r);

#endif
