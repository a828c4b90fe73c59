/*
 * A bridge's sessions: accepted at once, ended by the client or with everything else. Owns struct
 * bridge_session. Calls wt; the other bridge files do the work in between.
 *
 * A session is freed when the client's side is over and its last stream has gone, which may be a
 * little later: what the client ended before it closed is still delivered.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "back/proxy_protocol.h"
#include "base/report.h"
#include "bridge_internal.h"

/* For the last bytes to a service when everything ends. */
#define HURRIED_TIME (100 * NS_PER_MS)

static struct timers *timers_of(const struct bridge_session *s)
{
    return s->bridge->env->timers;
}

/* --- the end --- */

static void free_session(void *owner)
{
    struct bridge_session *s = owner;
    free(s->authority);
    free(s);
}

void bridge_session_settle(struct bridge_session *s)
{
    struct bridge *b = s->bridge;
    if (s->wt || !LIST_EMPTY(&s->streams) || s->buried)
        return;
    s->buried = true;
    timer_stop(timers_of(s), &s->drain_due);
    timer_stop(timers_of(s), &s->linger);
    window_fini(&s->account.window);
    budget_release(&s->memory, BRIDGE_SESSION_COST);
    budget_fini(&s->memory);
    LIST_REMOVE(s, entry);
    b->count--;
    visit_end(&s->visit);
    turn_bury(b->env->turn, &s->grave, free_session, s);
}

static void forget_client(struct bridge_session *s)
{
    struct bridge_stream *st, *next;
    bridge_datagrams_fini(s);
    for (st = LIST_FIRST(&s->streams); st; st = next) {
        next = LIST_NEXT(st, entry);
        bridge_stream_forget_wt(st);
    }
}

static void abandon(void *owner)
{
    struct bridge_session *s = owner;
    struct bridge_stream *st, *next;
    for (st = LIST_FIRST(&s->streams); st; st = next) {
        next = LIST_NEXT(st, entry);
        bridge_stream_abandon(st);
    }
}

static void wt_closed(void *user, const struct wt_end *end)
{
    struct bridge_session *s = user;
    uint64_t time = s->bridge->in_a_hurry ? HURRIED_TIME : s->route->linger_timeout_ns;
    struct visit_end told = {.accepted = true,
                             .by = wt_by_name(end->by),
                             .has_code = end->code.known,
                             .code = end->code.value,
                             .reason = end->reason,
                             .reason_len = end->reason_len,
                             .clean = end->clean,
                             .fault = s->wt_closing ? FAULT_SHUTDOWN : end->fault};
    s->wt = NULL;
    visit_linger(&s->visit);
    visit_tell_end(&s->visit, &told);
    timer_stop(timers_of(s), &s->drain_due);
    timer_set(timers_of(s), &s->linger, timers_now(timers_of(s)) + time);
    if (!s->wt_closing)
        forget_client(s);
    bridge_session_settle(s);
}

/* --- what is due --- */

static void drain_due(void *owner)
{
    struct bridge_session *s = owner;
    if (s->wt && !s->wt_closing)
        wt_drain(s->wt);
}

void bridge_drain(struct bridge *b, uint64_t spread_ns)
{
    struct env *env = b->env;
    struct bridge_session *s;
    LIST_FOREACH (s, &b->sessions, entry)
        timer_set(env->timers, &s->drain_due,
                  timers_now(env->timers) + random_below(&env->random, spread_ns + 1));
}

void bridge_close_all(struct bridge *b)
{
    static const char reason[] = "the server is shutting down";
    struct bridge_session *s;
    LIST_FOREACH (s, &b->sessions, entry) {
        if (!s->wt || s->wt_closing)
            continue;
        s->wt_closing = true;
        report_count(b->env, FAULT_SHUTDOWN);
        wt_close(s->wt, 0, reason, sizeof reason - 1);
        forget_client(s);
    }
}

void bridge_hurry(struct bridge *b)
{
    struct bridge_session *s;
    b->in_a_hurry = true;
    LIST_FOREACH (s, &b->sessions, entry)
        if (!s->wt)
            timer_set(b->env->timers, &s->linger, timers_now(b->env->timers) + HURRIED_TIME);
}

/* --- the beginning --- */

/* A service has nothing to open streams with, need not know how large a datagram may be, and cannot
 * be asked to finish. */
static void wt_streams_available(void *user, bool unidirectional)
{
    (void)user;
    (void)unidirectional;
}

static void wt_datagram_max_changed(void *user, size_t max)
{
    (void)user;
    (void)max;
}

static void wt_draining(void *user)
{
    (void)user;
}

static const struct wt_ops ops_of_wt = {
    .stream_opened = bridge_stream_opened,
    .stream_received = bridge_stream_received,
    .stream_reset = bridge_stream_reset,
    .stream_stopped = bridge_stream_stopped,
    .stream_acked = bridge_stream_acked,
    .streams_available = wt_streams_available,
    .datagram_received = bridge_datagram_received,
    .datagram_max_changed = wt_datagram_max_changed,
    .draining = wt_draining,
    .closed = wt_closed,
};

/* The PROXY protocol tells the name that was asked for, without a port, as TLS does. */
static size_t host_len(const char *authority)
{
    const char *colon = strrchr(authority, ':');
    return colon && !strchr(colon, ']') ? (size_t)(colon - authority) : strlen(authority);
}

static void remember_for_preface(struct bridge_session *s, const struct wt_request *request)
{
    s->server = request->local;
    if (s->route->proxy_protocol != BRIDGE_PROXY_V2)
        return;
    s->authority = strndup(request->authority, host_len(request->authority));
    assert(s->authority);
}

bool bridge_session_take_socket(struct bridge_session *s)
{
    struct bridge *b = s->bridge;
    if (b->connections >= b->max_connections ||
        s->connections >= b->max_connections - b->connections)
        return false;
    b->connections++;
    s->connections++;
    return true;
}

void bridge_session_give_socket(struct bridge_session *s)
{
    s->bridge->connections--;
    s->connections--;
}

size_t bridge_session_preface(struct bridge_session *s, uint8_t *to, size_t room)
{
    char id[VISIT_ID_SIZE + 24];
    struct proxy_protocol p = {.client = s->visit.address,
                               .server = s->server,
                               .alpn = "h3",
                               .authority = s->authority,
                               .authority_len = s->authority ? strlen(s->authority) : 0,
                               .unique_id = id};
    snprintf(id, sizeof id, "%s-%" PRIu64, s->visit.id, s->connections_made++);
    switch (s->route->proxy_protocol) {
    case BRIDGE_PROXY_V1:
        return proxy_protocol_v1(to, room, &p);
    case BRIDGE_PROXY_V2:
        return proxy_protocol_v2(to, room, &p);
    default:
        return 0;
    }
}

/* What it costs, and the first window of its services. NULL if there is no memory left for it. */
static struct bridge_session *new_session(struct bridge *b, const struct visit *visit,
                                          struct wt_session *wt)
{
    const struct bridge_route *route = visit->route->bridge;
    struct bridge_session *s = calloc(1, sizeof *s);
    assert(s);
    size_t first = route->session_window < BRIDGE_FIRST_SESSION_WINDOW
                       ? route->session_window
                       : BRIDGE_FIRST_SESSION_WINDOW;
    budget_init(&s->memory, b->env->memory,
                route->session_memory ? route->session_memory : UINT64_MAX, NULL);
    if (!budget_reserve(&s->memory, BRIDGE_SESSION_COST + first, BUDGET_NEWCOMER)) {
        free(s);
        return NULL;
    }
    window_init(&s->account.window, first, route->session_window, &s->memory);
    s->bridge = b;
    s->visit = *visit;
    s->route = route;
    s->wt = wt;
    LIST_INIT(&s->streams);
    timer_init(&s->drain_due, drain_due, s);
    timer_init(&s->linger, abandon, s);
    bridge_datagrams_init(s);
    LIST_INSERT_HEAD(&b->sessions, s, entry);
    b->count++;
    return s;
}

enum fault bridge_take(struct bridge *b, struct wt_session *wt, const struct wt_request *request,
                       const struct visit *visit)
{
    const struct admission_route *route = visit->route;
    struct bridge_session *s = new_session(b, visit, wt);
    if (!s)
        return FAULT_MEMORY_SESSION;
    s->key = affinity_key(&route->affinity, &visit->address, request);
    remember_for_preface(s, request);
    wt_session_set_ops(wt, &ops_of_wt);
    wt_session_set_user(wt, s);
    visit_tell_opened(&s->visit, NULL, 200);
    wt_accept(wt, 200, s->route->to_client, s->route->to_client_count);
    return FAULT_NONE;
}

struct bridge *bridge_new(struct env *env, size_t max_connections)
{
    struct bridge *b = calloc(1, sizeof *b);
    assert(b);
    b->env = env;
    b->max_connections = max_connections;
    LIST_INIT(&b->sessions);
    return b;
}

void bridge_set_max_connections(struct bridge *b, size_t max)
{
    b->max_connections = max;
}

size_t bridge_count(const struct bridge *b)
{
    return b->count;
}

void bridge_free(struct bridge *b)
{
    assert(b->count == 0 && b->connections == 0);
    free(b);
}
