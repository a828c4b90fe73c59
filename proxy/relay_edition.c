/*
 * Configurations: the present one, and those before it that sessions still have. Owns the editions,
 * and the counts of sessions by route, which go on under a route of the same name. Calls gate.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "relay_internal.h"

/* A route that is still there by its name counts those who are inside already. */
static struct presence *find_presence(const struct edition *before, const char *name)
{
    for (size_t i = 0; before && i < before->config.route_count; i++)
        if (strcmp(before->config.routes[i].name, name) == 0)
            return before->inside[i];
    return NULL;
}

static struct edition *edition_new(struct upstream *const *upstreams,
                                   const struct relay_config *config, const struct edition *before)
{
    struct edition *e = calloc(1, sizeof *e);
    assert(e);
    e->upstreams = upstreams;
    e->config = *config;
    e->inside = calloc(config->route_count, sizeof *e->inside);
    assert(e->inside);
    for (size_t i = 0; i < config->route_count; i++) {
        struct presence *p = find_presence(before, config->routes[i].name);
        if (!p)
            p = calloc(1, sizeof *p);
        assert(p);
        p->editions++;
        e->inside[i] = p;
    }
    return e;
}

void edition_free(struct edition *e)
{
    assert(e->sessions == 0);
    LIST_REMOVE(e, entry);
    for (size_t i = 0; i < e->config.route_count; i++)
        if (--e->inside[i]->editions == 0)
            free(e->inside[i]);
    free(e->inside);
    free(e);
}

void edition_settle(struct relay *r, struct edition *e)
{
    if (e && e != r->present && e->sessions == 0)
        edition_free(e);
}

void edition_begin(struct relay *r, struct upstream *const *upstreams,
                   const struct relay_config *config)
{
    struct edition *before = r->present;
    r->present = edition_new(upstreams, config, before);
    LIST_INSERT_HEAD(&r->editions, r->present, entry);
    edition_settle(r, before);
}

struct presence *edition_presence(const struct edition *e, const struct relay_route *route)
{
    return e->inside[route - e->config.routes];
}

void relay_configure(struct relay *r, struct upstream *const *upstreams,
                     const struct relay_config *config)
{
    edition_begin(r, upstreams, config);
    gate_set_max(&r->gate, config->max_sessions);
}

bool relay_uses(const struct relay *r, struct upstream *const *upstreams)
{
    const struct edition *e;
    LIST_FOREACH (e, &r->editions, entry)
        if (e->upstreams == upstreams)
            return true;
    return false;
}
