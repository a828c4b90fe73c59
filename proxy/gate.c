/*
 * Origins that are allowed, the limit of sessions, and the door that shuts when the proxy
 * drains. Pure. Calls base/origin.
 */
#include "gate.h"

#include <assert.h>
#include <string.h>

#include "base/origin.h"

static bool is_origin_allowed(const struct gate_rules *rules, const struct header *origin)
{
    for (size_t i = 0; i < rules->origin_count; i++)
        if (origin_matches(rules->origins[i], (const char *)origin->value, origin->value_len))
            return true;
    return rules->origin_count == 0;
}

/* RFC 6454, section 7.3: there is one Origin at most. With two, each must be allowed. */
enum fault gate_check(const struct gate_rules *rules, const struct header *headers, size_t count)
{
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        if (!header_is(&headers[i], "origin"))
            continue;
        found = true;
        if (!is_origin_allowed(rules, &headers[i]))
            return FAULT_ORIGIN;
    }
    return rules->require_origin && !found ? FAULT_NO_ORIGIN : FAULT_NONE;
}

unsigned gate_status(enum fault fault)
{
    switch (fault) {
    case FAULT_HOST:
        return 421; /* RFC 9110, section 15.5.20 */
    case FAULT_NO_ROUTE:
        return 404;
    case FAULT_ORIGIN:
    case FAULT_NO_ORIGIN:
        return 403;
    case FAULT_CLIENT_SESSIONS:
    case FAULT_CLIENT_SESSION_RATE:
        return 429; /* RFC 6585, section 4 */
    default:
        return 503;
    }
}

void gate_init(struct gate *g, size_t max)
{
    *g = (struct gate){.max = max};
}

void gate_set_max(struct gate *g, size_t max)
{
    g->max = max;
}

enum fault gate_admit(struct gate *g)
{
    if (g->draining)
        return FAULT_DRAINING;
    if (g->inside >= g->max || g->inside + g->lingering >= 2 * g->max)
        return FAULT_TOO_MANY_SESSIONS;
    g->inside++;
    return FAULT_NONE;
}

void gate_linger(struct gate *g)
{
    assert(g->inside > 0);
    g->inside--;
    g->lingering++;
}

void gate_leave(struct gate *g)
{
    assert(g->lingering > 0);
    g->lingering--;
}

void gate_drain(struct gate *g)
{
    g->draining = true;
}
