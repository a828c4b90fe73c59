/*
 * admission - who may come in, by which route, and who is inside.
 *
 * Every session is a visit, whatever becomes of it: it takes the first route that fits, counts
 * there, with its client's address (base/clients) and at the gate, and the log tells of it in the
 * same words. A visit ends in two steps, for the client may be gone long before the last byte has
 * reached who was to have it:
 *
 *      admission_enter ──► visit_linger ──► visit_end
 *                          client gone      all gone
 *
 * Routes come in editions. A visit keeps what it came in by, also when another configuration is in
 * use; an edition goes with its last visit. A route that keeps its name goes on counting. Calls
 * gate, route and base/clients.
 */
#ifndef ADMISSION_H
#define ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "affinity.h"
#include "base/env.h"
#include "base/fault.h"
#include "base/forwarded.h"
#include "base/rate.h"
#include "gate.h"
#include "route.h"

struct admission;
struct admission_edition;
struct bridge_route;
struct client;
struct relay_route;
struct upstream;
struct wt_request;

/* What every session gets by the route that it takes, and where it leads. */
struct admission_route {
    const char *name;
    size_t entry;                    /* of the configuration; those of one entry count as one */
    struct route route;              /* what it fits */
    struct gate_rules rules;         /* who may come */
    size_t max_sessions;             /* of this worker; one more gets 503. 0: no limit of its own */
    struct rate_limit session_rate;  /* of this worker; one more gets 503, too */
    struct forwarded_rule forwarded; /* whom proxies in front may speak for */
    struct affinity affinity;
    /* One of them: an application, or services that know nothing of sessions. */
    const struct relay_route *relay;
    const struct bridge_route *bridge;
};

struct admission_config {
    /* The first that fits is taken; those of one entry stand together. Not copied: they stay in
     * place as long as admission_uses their upstreams. */
    const struct admission_route *routes;
    size_t route_count;
    size_t max_sessions; /* of this worker; one more gets 503 */
    size_t max_sockets;  /* to services, of all its bridges together: see bridge.h */
};

#define VISIT_ID_SIZE 17

/* A part of its holder. */
struct visit {
    struct admission *admission;
    struct admission_edition *edition;
    const struct admission_route *route; /* NULL if none fits */
    struct upstream *const *upstreams;   /* of the edition */
    struct client *client;               /* as which it is counted; or NULL */
    struct sockaddr_storage address;     /* the client's; if a trusted proxy names one, that */
    bool lingers;
    char id[VISIT_ID_SIZE]; /* for logs and the scope */
    /* For logs. */
    char from[64];
    char *path;
    const char *draft;
};

/* How a visit ended, for the log. */
struct visit_end {
    bool accepted;
    unsigned status; /* of a refusal; 0: none was sent */
    const char *by;
    bool has_code;
    uint64_t code;
    const char *reason;
    size_t reason_len;
    bool clean;
    const char *address; /* of the backend; "" or NULL: none */
    const char *detail;  /* what is known of the reason; or NULL */
    enum fault fault;
};

struct admission *admission_new(struct env *env, struct upstream *const *upstreams,
                                const struct admission_config *config);
/* For those who come from now on. */
void admission_configure(struct admission *a, struct upstream *const *upstreams,
                         const struct admission_config *config);
/* Whether visits have them, or will. */
bool admission_uses(const struct admission *a, struct upstream *const *upstreams);
/* Admits nobody from now on. */
void admission_drain(struct admission *a);
/* Nobody may be inside. */
void admission_free(struct admission *a);

/* FAULT_NONE: v is inside. Else why not, and v->route is the route that was found; there is nothing
 * to end then. */
enum fault admission_enter(struct admission *a, const struct wt_request *request, struct visit *v);
/* The client is gone: it is not counted any more. */
void visit_linger(struct visit *v);
/* Nothing of it is left; says visit_linger if that was not said. */
void visit_end(struct visit *v);

/* --- what the log says: admission_tell.c --- */

/* One line when a session has been accepted, one at its end. Of those that were accepted both lines
 * are always there; refusals may come as a flood, and of those that have the same reason not all
 * are told (base/report.h). */
void visit_tell_opened(const struct visit *v, const char *address, unsigned status);
void visit_tell_end(const struct visit *v, const struct visit_end *end);
/* Of a request that was not admitted. */
void admission_tell_refused(struct admission *a, const struct wt_request *request,
                            const struct admission_route *route, unsigned status, enum fault fault);

#endif
