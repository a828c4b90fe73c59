/*
 * route - which requests a route is for: by host and by path.
 *
 *     hosts         example.org, one name      *.example.org, one more label before it
 *     path          exactly this one
 *     path_prefix   /chat is for /chat and /chat/..., not for /chats
 *
 * Hosts are compared without their port and in any case of letters. A path is compared as the
 * application will understand it: without its query, with escapes decoded. One with segments "." or
 * ".." fits no route that asks for a path, for nobody could tell where it leads.
 *
 * Pure. Calls base/origin.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include <stdbool.h>
#include <stddef.h>

/* Texts outlive it. */
struct route {
    const char *const *hosts; /* any of them */
    size_t host_count;        /* 0: all hosts */
    const char *path;         /* NULL: all paths */
    const char *path_prefix;  /* NULL: all paths */
};

/* What a request asks for. */
struct route_target {
    const char *authority;
    char *path; /* decoded; may hold zero bytes */
    size_t path_len;
    bool is_crooked; /* the path has a segment that leads elsewhere */
};

/* authority outlives it. */
void route_target_init(struct route_target *t, const char *authority, const char *path);
void route_target_fini(struct route_target *t);

bool route_fits_host(const struct route *r, const struct route_target *t);
bool route_fits_path(const struct route *r, const struct route_target *t);

#endif
