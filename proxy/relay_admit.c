/*
 * Which route a request takes, and whether it may. Calls route, gate and wt.
 */
#include "base/clients.h"
#include "relay_internal.h"

void session_refuse(struct relay *r, struct wt_session *wt, const struct wt_request *request,
                    const struct relay_route *route, enum fault fault)
{
    unsigned status = gate_status(fault);
    session_tell_refused(r, request, route, status, fault);
    wt_session_set_user(wt, NULL);
    wt_refuse(wt, status, NULL, 0, NULL, 0);
}

/* The first route that fits. */
static enum fault find_route(const struct relay *r, const struct wt_request *request,
                             const struct relay_route **route)
{
    enum fault fault = FAULT_HOST;
    struct route_target target;
    route_target_init(&target, request->authority, request->path);
    const struct relay_config *config = &r->present->config;
    for (size_t i = 0; i < config->route_count && !*route; i++) {
        const struct relay_route *candidate = &config->routes[i];
        if (!route_fits_host(&candidate->route, &target))
            continue;
        fault = FAULT_NO_ROUTE;
        if (route_fits_path(&candidate->route, &target))
            *route = candidate;
    }
    route_target_fini(&target);
    return *route ? FAULT_NONE : fault;
}

enum fault session_admit(struct relay *r, const struct wt_request *request,
                         const struct relay_route **route, struct client **client)
{
    enum fault fault = find_route(r, request, route);
    if (fault != FAULT_NONE)
        return fault;
    size_t most = (*route)->max_sessions;
    fault = gate_check(&(*route)->rules, request->headers, request->header_count);
    if (fault == FAULT_NONE && most && edition_presence(r->present, *route)->sessions >= most)
        fault = FAULT_TOO_MANY_SESSIONS;
    if (fault == FAULT_NONE && r->env->clients)
        *client = clients_enter(r->env->clients, (const struct sockaddr *)&request->remote,
                                CLIENTS_SESSION, &fault);
    if (fault == FAULT_NONE)
        fault = gate_admit(&r->gate);
    if (fault != FAULT_NONE)
        session_leave(r, client);
    return fault;
}

void session_leave(struct relay *r, struct client **client)
{
    if (*client)
        clients_leave(r->env->clients, *client, CLIENTS_SESSION);
    *client = NULL;
}
