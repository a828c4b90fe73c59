/*
 * bridge_internal - sessions and streams of a bridge, as its files share them.
 *
 * bridge.c           a session's life
 * bridge_stream.c    a stream and its connection
 * bridge_datagram.c  a session's datagrams and their socket
 */
#ifndef BRIDGE_INTERNAL_H
#define BRIDGE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "back/dgram.h"
#include "back/pipe.h"
#include "back/upstream.h"
#include "base/budget.h"
#include "base/dgramq.h"
#include "base/env.h"
#include "base/recvq.h"
#include "base/stats.h"
#include "base/timers.h"
#include "base/turn.h"
#include "base/window.h"
#include "bridge.h"
#include "front/wt.h"

#define BRIDGE_READ_SIZE (256 * 1024)

/* What a service may send ahead at first. */
#define BRIDGE_FIRST_SESSION_WINDOW (256 * 1024)
#define BRIDGE_FIRST_STREAM_WINDOW  (64 * 1024)
/* What a client may send ahead of a service that is not known to read, without regard to its other
 * streams; and when it is known: the kernel alone takes less. */
#define BRIDGE_TRUST (64 * 1024)
#define BRIDGE_PROOF (1024 * 1024)
/* More than QUIC can count. */
#define BRIDGE_NO_LIMIT (UINT64_C(1) << 62)
/* What it may send ahead on each stream, also if the session's window is used up. */
#define BRIDGE_STREAM_LEAST (4 * 1024)
/* What they cost besides windows. */
#define BRIDGE_SESSION_COST (4 * 1024)
#define BRIDGE_STREAM_COST  (2 * 1024 + BRIDGE_STREAM_LEAST)
#define BRIDGE_TLS_COST     (40 * 1024) /* in addition: what GnuTLS has, and a record */

struct bridge {
    struct env *env;
    LIST_HEAD(, bridge_session) sessions;
    size_t count;
    size_t connections, max_connections; /* sockets that services are, or will be, asked for */
    bool in_a_hurry;
    uint8_t read_buffer[BRIDGE_READ_SIZE]; /* used within one reading only */
};

/* Bytes that services sent: those that the client has not acknowledged are held. */
struct bridge_account {
    uint64_t held;
    struct window window;
};

struct bridge_session {
    struct bridge *bridge;
    struct visit visit;
    const struct bridge_route *route;
    LIST_ENTRY(bridge_session) entry;
    struct wt_session *wt; /* NULL when the client is gone */
    bool wt_closing;       /* only wt's closed() is still to come */
    struct visit_end end;  /* by is NULL while nobody has ended it */
    size_t connections;    /* of the bridge's */
    struct budget memory;
    struct bridge_account account;
    LIST_HEAD(, bridge_stream) streams;
    struct timer drain_due, linger;

    uint64_t key; /* for POOL_HASH */
    /* For the PROXY protocol. */
    struct sockaddr_storage server;
    char *authority; /* NULL: not told */
    uint64_t connections_made;

    /* Datagrams. */
    struct seat seat;
    struct dgram *dgram;    /* NULL while there is none */
    struct dgramq outgoing; /* wait for an address */
    struct timer idle;
    uint64_t active_ns; /* when one last went either way */
    bool heard;         /* something has come from this address */

    bool buried;
    struct turn_grave grave;
};

enum bridge_stream_state {
    BRIDGE_SEEKING,   /* an address is sought, or the connection is being made */
    BRIDGE_OPEN,      /* bytes go both ways */
    BRIDGE_FINISHING, /* only pipe's finished() is still to come */
    BRIDGE_OVER,      /* there is no connection any more */
};

/* The half from the service to the client. */
enum bridge_down {
    BRIDGE_DOWN_OPEN,
    BRIDGE_DOWN_ENDED, /* the end is told; the client has not acknowledged all */
    BRIDGE_DOWN_OVER,  /* acknowledged, reset or stopped, or never there */
};

struct bridge_stream {
    struct bridge_session *session;
    LIST_ENTRY(bridge_stream) entry;
    struct wt_stream *wt; /* NULL when the client's side is over */
    struct seat seat;
    struct pipe *pipe; /* NULL while there is none */
    int error;         /* errno of the address that failed last */
    enum bridge_stream_state state;

    /* The half from the client to the service. */
    struct recvq queue;  /* what the socket has not taken */
    bool client_ended;   /* FIN or reset has come */
    bool client_stopped; /* we want no more of it */
    bool up_over;        /* nothing more goes to the service */
    uint64_t taken;      /* bytes, by its socket */
    bool is_trusted;     /* the client's window is not limited by that */

    enum bridge_down down;
    bool service_ended; /* its end has been read */
    struct bridge_account account;
    bool is_full; /* was not read for want of room */

    struct turn_flush flush;
    struct turn_grave grave;
};

/* --- bridge.c --- */

/* Lets it go if nothing is left of it. */
void bridge_session_settle(struct bridge_session *s);
/* Writes the header of the PROXY protocol for one more connection; 0: there is none. */
size_t bridge_session_preface(struct bridge_session *s, uint8_t *to, size_t room);

/* Counts one more socket. False: there are enough, or so few are left that who holds many leaves
 * them to others: a session never has more than are left. */
bool bridge_session_take_socket(struct bridge_session *s);
void bridge_session_give_socket(struct bridge_session *s);

/* --- bridge_stream.c --- */

void bridge_stream_opened(void *user, struct wt_stream *wt, bool unidirectional);
void bridge_stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin);
void bridge_stream_reset(void *stream_user, struct wt_code code);
void bridge_stream_stopped(void *stream_user, struct wt_code code);
void bridge_stream_acked(void *stream_user, size_t len, bool all);
/* The session is over: what the client ended in time still goes to the service, the rest is reset.
 */
void bridge_stream_forget_wt(struct bridge_stream *st);
/* No time is left for it. */
void bridge_stream_abandon(struct bridge_stream *st);

/* --- bridge_datagram.c --- */

void bridge_datagrams_init(struct bridge_session *s);
void bridge_datagram_received(void *user, const uint8_t *data, size_t len);
/* Closes the socket, if there is one. */
void bridge_datagrams_fini(struct bridge_session *s);

#endif
