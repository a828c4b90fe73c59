/*
 * Coming and going, and the editions of routes. Owns the editions, the gate, and the counts of
 * sessions by route, which go on under a route of the same name. Calls gate, route and clients.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "admission_internal.h"
#include "base/clients.h"
#include "base/hostport.h"
#include "base/timers.h"
#include "front/wt.h"

#define PATH_IN_LOG 256

/* --- editions --- */

static bool begins_entry(const struct admission_config *config, size_t i)
{
    return i == 0 || config->routes[i].entry != config->routes[i - 1].entry;
}

static bool has_same_name(const struct admission_route *a, const struct admission_route *b)
{
    return strcmp(a->name, b->name) == 0;
}

/* Of the entries with route i's name it is which one, counted from 0. */
static size_t place_among_namesakes(const struct admission_config *config, size_t i)
{
    size_t place = 0;
    for (size_t j = 0; j < i; j++)
        place += begins_entry(config, j) && has_same_name(&config->routes[j], &config->routes[i]);
    return place;
}

/* A route that is still there by its name counts those who are inside already. */
static struct presence *find_presence(const struct admission_edition *e,
                                      const struct admission_route *route, size_t place)
{
    for (size_t i = 0; e && i < e->config.route_count; i++)
        if (begins_entry(&e->config, i) && has_same_name(&e->config.routes[i], route) &&
            place-- == 0)
            return e->inside[i];
    return NULL;
}

static struct presence *presence_for(const struct admission_edition *e, size_t i,
                                     const struct admission_edition *before)
{
    const struct admission_config *config = &e->config;
    if (!begins_entry(config, i))
        return e->inside[i - 1];
    struct presence *p =
        find_presence(before, &config->routes[i], place_among_namesakes(config, i));
    if (!p)
        p = calloc(1, sizeof *p);
    assert(p);
    return p;
}

static struct admission_edition *edition_new(struct upstream *const *upstreams,
                                             const struct admission_config *config,
                                             const struct admission_edition *before)
{
    struct admission_edition *e = calloc(1, sizeof *e);
    assert(e);
    e->upstreams = upstreams;
    e->config = *config;
    e->inside = calloc(config->route_count, sizeof *e->inside);
    assert(e->inside);
    for (size_t i = 0; i < config->route_count; i++) {
        e->inside[i] = presence_for(e, i, before);
        e->inside[i]->routes++;
    }
    return e;
}

static void edition_free(struct admission_edition *e)
{
    assert(e->visits == 0);
    LIST_REMOVE(e, entry);
    for (size_t i = 0; i < e->config.route_count; i++)
        if (--e->inside[i]->routes == 0)
            free(e->inside[i]);
    free(e->inside);
    free(e);
}

/* Lets it go if no visit has it and none will. */
static void edition_settle(struct admission *a, struct admission_edition *e)
{
    if (e && e != a->present && e->visits == 0)
        edition_free(e);
}

static void edition_begin(struct admission *a, struct upstream *const *upstreams,
                          const struct admission_config *config)
{
    struct admission_edition *before = a->present;
    a->present = edition_new(upstreams, config, before);
    LIST_INSERT_HEAD(&a->editions, a->present, entry);
    edition_settle(a, before);
}

static struct presence *presence_of(const struct admission_edition *e,
                                    const struct admission_route *route)
{
    return e->inside[route - e->config.routes];
}

struct admission *admission_new(struct env *env, struct upstream *const *upstreams,
                                const struct admission_config *config)
{
    struct admission *a = calloc(1, sizeof *a);
    assert(a);
    a->env = env;
    LIST_INIT(&a->editions);
    edition_begin(a, upstreams, config);
    gate_init(&a->gate, config->max_sessions);
    return a;
}

void admission_configure(struct admission *a, struct upstream *const *upstreams,
                         const struct admission_config *config)
{
    edition_begin(a, upstreams, config);
    gate_set_max(&a->gate, config->max_sessions);
}

bool admission_uses(const struct admission *a, struct upstream *const *upstreams)
{
    const struct admission_edition *e;
    LIST_FOREACH (e, &a->editions, entry)
        if (e->upstreams == upstreams)
            return true;
    return false;
}

void admission_drain(struct admission *a)
{
    gate_drain(&a->gate);
}

void admission_free(struct admission *a)
{
    edition_free(a->present);
    assert(LIST_EMPTY(&a->editions));
    free(a);
}

/* --- coming --- */

/* The first route that fits. */
static enum fault find_route(const struct admission *a, const struct wt_request *request,
                             const struct admission_route **route)
{
    enum fault fault = FAULT_HOST;
    struct route_target target;
    route_target_init(&target, request->authority, request->path);
    const struct admission_config *config = &a->present->config;
    for (size_t i = 0; i < config->route_count && !*route; i++) {
        const struct admission_route *candidate = &config->routes[i];
        if (!route_fits_host(&candidate->route, &target))
            continue;
        fault = FAULT_NO_ROUTE;
        if (route_fits_path(&candidate->route, &target))
            *route = candidate;
    }
    route_target_fini(&target);
    return *route ? FAULT_NONE : fault;
}

static void leave_client(struct visit *v)
{
    if (v->client)
        clients_leave(v->admission->env->clients, v->client, CLIENTS_SESSION);
    v->client = NULL;
}

/* Whom a trusted proxy names, it counts for. */
static enum fault enter_client(struct visit *v, const struct wt_request *request)
{
    struct clients *clients = v->admission->env->clients;
    enum fault fault = FAULT_NONE;
    v->address = request->remote;
    forwarded_find(&v->route->forwarded, request->headers, request->header_count, &v->address);
    if (clients)
        v->client =
            clients_enter(clients, (const struct sockaddr *)&v->address, CLIENTS_SESSION, &fault);
    return fault;
}

static enum fault ask_route(const struct admission *a, const struct admission_route *route)
{
    const struct presence *p = presence_of(a->present, route);
    if (route->max_sessions && p->sessions >= route->max_sessions)
        return FAULT_TOO_MANY_SESSIONS;
    if (rate_is_over(&p->rate, &route->session_rate, timers_now(a->env->timers)))
        return FAULT_ROUTE_SESSION_RATE;
    return FAULT_NONE;
}

static enum fault ask_all(struct admission *a, const struct wt_request *request, struct visit *v)
{
    enum fault fault = find_route(a, request, &v->route);
    if (fault != FAULT_NONE)
        return fault;
    fault = gate_check(&v->route->rules, request->headers, request->header_count);
    if (fault == FAULT_NONE)
        fault = ask_route(a, v->route);
    if (fault == FAULT_NONE)
        fault = enter_client(v, request);
    if (fault == FAULT_NONE)
        fault = gate_admit(&a->gate);
    if (fault != FAULT_NONE)
        leave_client(v);
    return fault;
}

static void init_id(struct visit *v)
{
    uint64_t random;
    ssize_t n = getrandom(&random, sizeof random, 0);
    assert(n == sizeof random);
    (void)n;
    snprintf(v->id, sizeof v->id, "%016" PRIx64, random);
}

enum fault admission_enter(struct admission *a, const struct wt_request *request, struct visit *v)
{
    *v = (struct visit){.admission = a};
    enum fault fault = ask_all(a, request, v);
    if (fault != FAULT_NONE)
        return fault;
    v->edition = a->present;
    v->upstreams = v->edition->upstreams;
    v->edition->visits++;
    struct presence *inside = presence_of(v->edition, v->route);
    inside->sessions++;
    rate_pay(&inside->rate, &v->route->session_rate, timers_now(a->env->timers));
    init_id(v);
    hostport_print(v->from, (const struct sockaddr *)&request->remote);
    v->draft = request->draft;
    v->path = strndup(request->path, PATH_IN_LOG);
    assert(v->path);
    return FAULT_NONE;
}

/* --- going --- */

void visit_linger(struct visit *v)
{
    if (v->lingers)
        return;
    v->lingers = true;
    presence_of(v->edition, v->route)->sessions--;
    leave_client(v);
    gate_linger(&v->admission->gate);
}

void visit_end(struct visit *v)
{
    struct admission *a = v->admission;
    visit_linger(v);
    gate_leave(&a->gate);
    v->edition->visits--;
    edition_settle(a, v->edition);
    free(v->path);
    *v = (struct visit){.admission = NULL};
}
