/*
 * bridge - joins each stream of a session to a connection of its own to a service that knows
 * nothing of WebTransport, over TCP or a Unix socket, and its datagrams to a UDP socket.
 *
 * With relay the only module that knows both towers. A session is accepted at once; each stream
 * then asks for an address (back/upstream.h), so balancing, health and limits are those of any
 * backend, with connections in the place of sessions.
 *
 *      client                 service
 *      FIN                ──► end of the stream (half-close)
 *      RESET_STREAM       ──► reset of the connection
 *      STOP_SENDING       ──► shutdown of our reading side; what still comes is thrown away
 *      FIN                ◄── end of the stream
 *      RESET_STREAM and   ◄── reset of the connection
 *      STOP_SENDING
 *
 * Nothing is kept but what credit allows: the service is read as far as the stream's window has
 * room, and the client is credited with what the service's socket has taken. docs/bridge.md is the
 * text for users.
 */
#ifndef BRIDGE_H
#define BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admission.h"
#include "base/env.h"
#include "base/header.h"

struct bridge;
struct wt_request;
struct wt_session;

#define BRIDGE_NONE SIZE_MAX

/* Application error codes of streams that Sluice itself ends. */
enum bridge_code {
    BRIDGE_REFUSED = 1,     /* nobody listens at the address */
    BRIDGE_UNREACHABLE = 2, /* no way to it, or its name has no address */
    BRIDGE_TIMED_OUT = 3,   /* no answer in time */
    BRIDGE_RESET = 4,       /* the connection was reset */
    BRIDGE_FULL = 5,        /* no address has room, or Sluice has no memory or descriptors */
    BRIDGE_TLS = 6,         /* the handshake failed, or the certificate is not to be trusted */
    BRIDGE_UNSUPPORTED = 7, /* there is no service for streams */
};

enum bridge_proxy_protocol { BRIDGE_PROXY_NONE, BRIDGE_PROXY_V1, BRIDGE_PROXY_V2 };

/* What a session of a bridge gets by the route that it takes, besides what admission.h has. */
struct bridge_route {
    size_t streams, datagrams; /* which of the edition's upstreams; BRIDGE_NONE: none */
    bool tls;                  /* to the service of streams, which costs memory */
    enum bridge_proxy_protocol proxy_protocol; /* with which each connection begins */
    const struct header *to_client;            /* with the answer */
    size_t to_client_count;
    /* Bytes read from services ahead of the client: the largest; it begins with less. */
    size_t stream_window;
    size_t session_window;   /* on all streams of a session together */
    uint64_t session_memory; /* bytes held and promised for one session; 0: no limit */
    size_t datagram_queue;   /* datagrams waiting for an address */
    uint64_t datagram_idle_ns;
    uint64_t linger_timeout_ns; /* to take what a client sent before it closed its session */
};

/* One per worker. */
struct bridge *bridge_new(struct env *env, size_t max_connections);
/* Sockets to services at once; one more stream gets BRIDGE_FULL. */
void bridge_set_max_connections(struct bridge *b, size_t max);
/* Takes a session that was admitted, and accepts it: visit is moved into it. Anything but
 * FAULT_NONE: it cannot be taken, and stays the caller's. */
enum fault bridge_take(struct bridge *b, struct wt_session *wt, const struct wt_request *request,
                       const struct visit *visit);
/* Asks clients to finish (WT_DRAIN_SESSION), each at some moment of spread_ns. */
void bridge_drain(struct bridge *b, uint64_t spread_ns);
void bridge_close_all(struct bridge *b);
/* Services that are still to take what is left have a moment. */
void bridge_hurry(struct bridge *b);
size_t bridge_count(const struct bridge *b);
/* No session may be alive. */
void bridge_free(struct bridge *b);

#endif
