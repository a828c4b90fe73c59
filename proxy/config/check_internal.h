/*
 * What the files of check share: what a bridge and a route to one of several backends have to hold
 * to. Each returns false after a complaint.
 */
#ifndef CONFIG_CHECK_INTERNAL_H
#define CONFIG_CHECK_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "config/draft.h"

/* --- check.c --- */

/* Where a backend's value was said: there, or for all backends. */
const void *check_said_of_backend(const struct draft *d, const struct config_backend *b,
                                  const void *field);
/* Looks up the backend called name; field is where that stands. */
bool check_find_backend(struct draft *d, const struct config_route *route, const void *field,
                        const char *name, size_t *index);
/* No key was said that an element of this place has no use for. */
bool check_serves(struct draft *d, enum key_place place, const void *element);

/* --- check_bridge.c --- */

bool check_bridge(struct draft *d, struct config_backend *b);
bool check_proxy_protocol(struct draft *d, const struct config_route *route);

/* --- check_targets.c --- */

/* Whether path and targets belong together. Looks up the backends, and makes a name for the route
 * if it has none. */
bool check_targets(struct draft *d, struct config_route *route);

#endif
