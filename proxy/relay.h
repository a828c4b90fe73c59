/*
 * relay - joins a WebTransport session to a link to an application.
 *
 * With bridge the only module that knows both towers. It speaks protocol/: scope, events,
 * commands, ids, credit and the rules of what may follow what; see protocol/README.md.
 */
#ifndef RELAY_H
#define RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admission.h"
#include "base/env.h"
#include "base/header.h"

struct relay;
struct wt_request;
struct wt_session;

/* What is done to headers on their way: the names in strip are left out, then add is added. */
struct relay_headers {
    const char *const *strip;
    size_t strip_count;
    const struct header *add;
    size_t add_count;
};

/* What a session of an application gets by the route that it takes, besides what admission.h has.
 */
struct relay_route {
    size_t upstream; /* which one of the edition's */
    const char *root_path;
    struct relay_headers to_app, to_client;
    /* Bytes an application may send ahead: the largest; it begins with less. */
    size_t stream_window;
    size_t session_window;      /* on all streams of a session together */
    uint64_t session_memory;    /* bytes held and promised for one session; 0: no limit */
    size_t max_pending_streams; /* streams opened by the application beyond the client's limit */
    size_t max_frame;
    size_t datagram_queue;    /* datagrams waiting for one application */
    uint64_t datagram_ttl_ns; /* which then are dropped; 0 is never */
    uint64_t accept_timeout_ns;
    uint64_t linger_timeout_ns;
    uint64_t stall_timeout_ns;
    uint32_t lost_code; /* close code when the application is lost or broke the protocol */
};

/* The frames of a session that only asks whether an application accepts one: a scope, and a
 * disconnect after the answer. */
struct relay_probe {
    uint8_t hello[1024], farewell[256];
    size_t hello_len, farewell_len;
};

void relay_probe_init(struct relay_probe *p);
bool relay_probe_is_accepted(const uint8_t *frame, size_t len);

/* One per worker. */
struct relay *relay_new(struct env *env);
/* Takes a session that was admitted: visit is moved into it. Anything but FAULT_NONE: it cannot be
 * taken, and stays the caller's. */
enum fault relay_take(struct relay *r, struct wt_session *wt, const struct wt_request *request,
                      const struct visit *visit);
/* Asks those there are to finish: the client with WT_DRAIN_SESSION, the application with
 * webtransport.drain, reason "shutdown". Each at some moment of spread_ns; after time_ns it is the
 * caller's to say relay_close_all. */
void relay_drain(struct relay *r, uint64_t time_ns, uint64_t spread_ns);
/* Ends every session: client and application are told. */
void relay_close_all(struct relay *r);
/* Applications that are still to read what is left have a moment, not their linger_timeout. */
void relay_hurry(struct relay *r);
size_t relay_count(const struct relay *r);
/* No session may be alive. */
void relay_free(struct relay *r);

#endif
