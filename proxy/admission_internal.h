/*
 * admission_internal - what the files of admission share.
 *
 * admission.c       editions, and coming and going
 * admission_tell.c  what the log says
 */
#ifndef ADMISSION_INTERNAL_H
#define ADMISSION_INTERNAL_H

#include <sys/queue.h>

#include "admission.h"

/* Sessions on a route, whatever the configuration by which they came in. */
struct presence {
    size_t routes; /* of all editions, that count here */
    size_t sessions;
    struct rate rate; /* of new ones */
};

/* One configuration. It is there until another one is in use and its last visit has ended. */
struct admission_edition {
    LIST_ENTRY(admission_edition) entry;
    struct upstream *const *upstreams;
    struct admission_config config;
    struct presence **inside; /* by route */
    size_t visits;
};

struct admission {
    struct env *env;
    struct admission_edition *present; /* of the visits to come */
    LIST_HEAD(, admission_edition) editions;
    struct gate gate;
};

#endif
