/*
 * A session's seat at an application: asked for when the session begins, and again when an address
 * fails it before the application has answered. Calls upstream.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/report.h"
#include "relay_internal.h"

/* --- what the choice of an address may depend on --- */

/* Behind a proxy that is trusted it is the one that the proxy names. */
static uint64_t client_key(const struct relay_route *route, const struct wt_request *r)
{
    struct sockaddr_storage client = r->remote;
    forwarded_find(&route->forwarded, r->headers, r->header_count, &client);
    if (client.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&client;
        return pool_hash(&in6->sin6_addr, sizeof in6->sin6_addr);
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)&client;
    return pool_hash(&in->sin_addr, sizeof in->sin_addr);
}

static bool is_named(const struct header *h, const char *name)
{
    return h->name_len == strlen(name) &&
           strncasecmp((const char *)h->name, name, h->name_len) == 0;
}

/* The value of the first cookie with this name in a list of them (RFC 6265, section 4.2.1). */
static bool find_cookie(const uint8_t *list, size_t len, const char *name, uint64_t *key)
{
    size_t name_len = strlen(name);
    for (size_t at = 0; at < len;) {
        const uint8_t *end = memchr(list + at, ';', len - at);
        size_t next = end ? (size_t)(end - list) : len;
        while (at < next && list[at] == ' ')
            at++;
        if (next - at > name_len && memcmp(list + at, name, name_len) == 0 &&
            list[at + name_len] == '=') {
            at += name_len + 1;
            *key = pool_hash(list + at, next - at);
            return true;
        }
        at = next + 1;
    }
    return false;
}

static uint64_t header_key(const struct relay_route *route, const struct wt_request *r)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (is_named(&r->headers[i], route->key_name))
            return pool_hash(r->headers[i].value, r->headers[i].value_len);
    return client_key(route, r);
}

static uint64_t cookie_key(const struct relay_route *route, const struct wt_request *r)
{
    uint64_t key;
    for (size_t i = 0; i < r->header_count; i++) {
        const struct header *h = &r->headers[i];
        if (is_named(h, "cookie") && find_cookie(h->value, h->value_len, route->key_name, &key))
            return key;
    }
    return client_key(route, r);
}

uint64_t session_key(const struct relay_route *route, const struct wt_request *r)
{
    switch (route->key) {
    case RELAY_KEY_PATH:
        return pool_hash(r->path, strcspn(r->path, "?"));
    case RELAY_KEY_HEADER:
        return header_key(route, r);
    case RELAY_KEY_COOKIE:
        return cookie_key(route, r);
    default:
        return client_key(route, r);
    }
}

/* --- the seat --- */

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
    return s->edition->upstreams[s->route->upstream];
}

void session_take_seat(struct session *s, const struct wt_request *r)
{
    seat_ask(&s->seat, session_upstream(s), session_key(s->route, r), &ops_of_seat, s);
}

bool session_change_seat(struct session *s, const struct link_end *end)
{
    char address[SEAT_ADDRESS_SIZE];
    snprintf(address, sizeof address, "%s", seat_address(&s->seat));
    if (!seat_failed(&s->seat, end->fault))
        return false;
    session_explain(s, end->text);
    REPORT(s->relay->env, WARN, "backend.failed", end->fault, log_text("session", s->id),
           log_text("address", address), log_text("detail", end->text));
    if (s->state == SESSION_ASKED)
        session_move(s, SESSION_CONNECTING);
    s->error_count = 0; /* it was the other's */
    s->error_fatal = false;
    s->up_limit = UINT64_MAX;
    rules_init(&s->rules, s->offer.items, s->offer.count);
    return true;
}
