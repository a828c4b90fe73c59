/*
 * relay - joins a WebTransport session to a link to an application.
 *
 * The only module (with bridge, later) that knows both towers. It speaks protocol/: scope, events,
 * commands, ids, credit and the rules of what may follow what; see protocol/README.md.
 */
#ifndef RELAY_H
#define RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "base/forwarded.h"
#include "base/header.h"
#include "gate.h"
#include "route.h"

struct relay;
struct upstream;
struct wt_ops;
struct wt_host;

/* What is done to headers on their way: the names in strip are left out, then add is added. */
struct relay_headers {
    const char *const *strip;
    size_t strip_count;
    const struct header *add;
    size_t add_count;
};

/* What decides at which address of its upstream a session is, if the policy is POOL_HASH. */
enum relay_key {
    RELAY_KEY_CLIENT, /* the client's IP address; also for requests without what is asked below */
    RELAY_KEY_PATH,   /* without the query */
    RELAY_KEY_HEADER,
    RELAY_KEY_COOKIE,
};

/* What a session gets by the route that it takes. */
struct relay_route {
    const char *name;
    struct route route; /* what it fits */
    size_t upstream;    /* which one of the relay's */
    enum relay_key key;
    const char *key_name; /* of the header or cookie */
    const char *root_path;
    size_t max_sessions;             /* of this worker; one more gets 503. 0: no limit of its own */
    struct gate_rules rules;         /* who may come */
    struct forwarded_rule forwarded; /* what the application hears of proxies in front */
    struct relay_headers to_app, to_client;
    /* Bytes an application may send ahead: the largest; it begins with less. */
    size_t stream_window;
    size_t session_window;      /* on all streams of a session together */
    uint64_t session_memory;    /* bytes held and promised for one session; 0: no limit */
    size_t max_pending_streams; /* streams opened by the application beyond the client's limit */
    size_t max_frame;
    uint64_t accept_timeout_ns;
    uint64_t linger_timeout_ns;
    uint64_t stall_timeout_ns;
    uint32_t lost_code; /* close code when the application is lost or broke the protocol */
};

struct relay_config {
    /* The first that fits is taken. Not copied: they stay in place. */
    const struct relay_route *routes;
    size_t route_count;
    size_t datagram_queue;    /* datagrams waiting for one application */
    uint64_t datagram_ttl_ns; /* which then are dropped; 0 is never */
    size_t max_sessions;      /* of this worker; one more gets 503 */
};

/* The frames of a session that only asks whether an application accepts one: a scope, and a
 * disconnect after the answer. */
struct relay_probe {
    uint8_t hello[1024], farewell[256];
    size_t hello_len, farewell_len;
};

void relay_probe_init(struct relay_probe *p);
bool relay_probe_is_accepted(const uint8_t *frame, size_t len);

/* One per worker. Sessions come in through relay_wt_ops with the relay as host_user. upstreams, and
 * what config points to, stay in place while relay_uses them. */
struct relay *relay_new(struct env *env, struct upstream *const *upstreams,
                        const struct relay_config *config);
/* For the sessions that come in from now on; those that are there keep what they have. */
void relay_configure(struct relay *r, struct upstream *const *upstreams,
                     const struct relay_config *config);
/* Whether sessions have them, or will. */
bool relay_uses(const struct relay *r, struct upstream *const *upstreams);
const struct wt_ops *relay_wt_ops(void);
/* Takes no more sessions, and asks those there are to finish: the client with WT_DRAIN_SESSION, the
 * application with webtransport.drain, reason "shutdown". Not all at once, for they will come again
 * somewhere else, all of them: each at some moment of the first quarter of time_ns, sooner if they
 * are few. After time_ns it is the caller's to say relay_close_all. */
void relay_drain(struct relay *r, uint64_t time_ns);
/* Ends every session: client and application are told. */
void relay_close_all(struct relay *r);
/* Applications that are still to read what is left have a moment, not their linger_timeout. */
void relay_hurry(struct relay *r);
size_t relay_count(const struct relay *r);
/* No session may be alive. */
void relay_free(struct relay *r);

#endif
