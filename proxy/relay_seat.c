/*
 * A session's seat at an application: asked for when the session begins, and again when an address
 * fails it before the application has answered. Calls upstream.
 */
#include <stdio.h>
#include <string.h>

#include "base/report.h"
#include "relay_internal.h"

static void granted(void *user)
{
    struct session *s = user;
    s->link = seat_connect(&s->seat, &session_link_ops, s, &s->memory);
}

static void denied(void *user, enum fault fault, const char *text)
{
    struct session *s = user;
    if (text)
        session_explain(s, text);
    session_fail(s, fault, fault == FAULT_BACKEND_FULL ? 503 : 502);
}

void session_refuse_for_now(struct session *s)
{
    static const char name[] = "retry-after"; /* RFC 9110, section 10.2.3 */
    char seconds[16];
    int len = snprintf(seconds, sizeof seconds, "%u", upstream_retry_after_s(session_upstream(s)));
    const struct header retry = {(const uint8_t *)name, sizeof name - 1, (const uint8_t *)seconds,
                                 (size_t)len};
    wt_refuse(s->wt, s->status, &retry, 1, NULL, 0);
}

static const struct seat_ops ops_of_seat = {granted, denied};

struct upstream *session_upstream(const struct session *s)
{
    return s->visit.upstreams[s->route->upstream];
}

void session_take_seat(struct session *s, const struct wt_request *r)
{
    const struct admission_route *route = s->visit.route;
    uint64_t key = affinity_key(&route->affinity, &s->visit.address, r);
    seat_ask(&s->seat, session_upstream(s), key, &ops_of_seat, s);
}

bool session_change_seat(struct session *s, const struct link_end *end)
{
    char address[SEAT_ADDRESS_SIZE];
    snprintf(address, sizeof address, "%s", seat_address(&s->seat));
    if (!seat_failed(&s->seat, end->fault))
        return false;
    session_explain(s, end->text);
    REPORT(s->relay->env, WARN, "backend.failed", end->fault, log_text("session", s->visit.id),
           log_text("address", address), log_text("detail", end->text));
    if (s->state == SESSION_ASKED)
        session_move(s, SESSION_CONNECTING);
    s->error_count = 0; /* it was the other's */
    s->error_fatal = false;
    s->up_limit = UINT64_MAX;
    rules_init(&s->rules, s->offer.items, s->offer.count);
    return true;
}
