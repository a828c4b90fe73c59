/*
 * Requests on their way to relay or bridge. Owns admission and both. Calls wt to refuse.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/timers.h"
#include "bridge.h"
#include "front/wt.h"
#include "reception_internal.h"
#include "relay.h"

/* Between two sessions that are asked to finish: about what one costs when it comes again, a
 * handshake and a request. */
#define DRAIN_PACE (2 * NS_PER_MS)

static void refuse(struct reception *r, struct wt_session *wt, const struct wt_request *request,
                   const struct admission_route *route, enum fault fault)
{
    unsigned status = gate_status(fault);
    admission_tell_refused(r->admission, request, route, status, fault);
    wt_refuse(wt, status, NULL, 0, NULL, 0);
}

static void requested(void *host_user, struct wt_session *wt, const struct wt_request *request)
{
    struct reception *r = host_user;
    struct visit visit;
    enum fault fault = admission_enter(r->admission, request, &visit);
    const struct admission_route *route = visit.route;
    if (fault == FAULT_NONE) {
        fault = route->bridge ? bridge_take(r->bridge, wt, request, &visit)
                              : relay_take(r->relay, wt, request, &visit);
        if (fault != FAULT_NONE)
            visit_end(&visit);
    }
    if (fault != FAULT_NONE)
        refuse(r, wt, request, route, fault);
}

/* Of those that were refused here. */
static void closed(void *user, const struct wt_end *end)
{
    (void)user;
    (void)end;
}

static const struct wt_ops ops = {.requested = requested, .closed = closed};

const struct wt_ops *reception_wt_ops(void)
{
    return &ops;
}

struct reception *reception_new(struct env *env, struct upstream *const *upstreams,
                                const struct admission_config *config)
{
    struct reception *r = calloc(1, sizeof *r);
    assert(r);
    r->admission = admission_new(env, upstreams, config);
    r->relay = relay_new(env);
    r->bridge = bridge_new(env, config->max_sockets);
    return r;
}

void reception_configure(struct reception *r, struct upstream *const *upstreams,
                         const struct admission_config *config)
{
    admission_configure(r->admission, upstreams, config);
    bridge_set_max_connections(r->bridge, config->max_sockets);
}

bool reception_uses(const struct reception *r, struct upstream *const *upstreams)
{
    return admission_uses(r->admission, upstreams);
}

void reception_drain(struct reception *r, uint64_t time_ns)
{
    uint64_t spread = reception_count(r) * DRAIN_PACE;
    if (spread > time_ns / 4)
        spread = time_ns / 4;
    admission_drain(r->admission);
    relay_drain(r->relay, time_ns, spread);
    bridge_drain(r->bridge, spread);
}

void reception_close_all(struct reception *r)
{
    admission_drain(r->admission);
    relay_close_all(r->relay);
    bridge_close_all(r->bridge);
}

void reception_hurry(struct reception *r)
{
    relay_hurry(r->relay);
    bridge_hurry(r->bridge);
}

size_t reception_count(const struct reception *r)
{
    return relay_count(r->relay) + bridge_count(r->bridge);
}

void reception_free(struct reception *r)
{
    relay_free(r->relay);
    bridge_free(r->bridge);
    admission_free(r->admission);
    free(r);
}
