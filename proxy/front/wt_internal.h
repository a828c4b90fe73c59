/*
 * wt_internal - what the files of wt share. Nobody else includes it.
 *
 *     wt.c          the host, connections, and what arrives before its session
 *     wt_session.c  a session's life: request, accept, capsules, close, abort
 *     wt_stream.c   a session's streams
 *     wt_flow.c     a session's flow control
 */
#ifndef FRONT_WT_INTERNAL_H
#define FRONT_WT_INTERNAL_H

#include <sys/queue.h>

#include "base/dgramq.h"
#include "base/recvq.h"
#include "base/timers.h"
#include "base/turn.h"
#include "base/varint.h"
#include "base/window.h"
#include "front/capsule.h"
#include "front/h3.h"
#include "front/wt.h"

#define WT_REMEMBERED 16 /* sessions of a connection that ended a short while ago */

LIST_HEAD(wt_session_list, wt_session);
TAILQ_HEAD(wt_stream_list, wt_stream);
TAILQ_HEAD(wt_conn_list, wt_conn);

struct wt_host {
    struct env *env;
    struct wt_config config;
    const struct wt_ops *ops;
    void *user;
    struct h3_host *h3_host;
    struct wt_conn_list conns;
    bool draining;
};

/* A session that a client wants and cannot ask for yet: the connection is being made. */
struct wt_wish {
    char *authority, *path;
    struct header *headers; /* one allocation with their bytes */
    size_t count;
};

struct wt_conn {
    struct wt_host *host;
    struct wt_config config; /* the host's when this began */
    struct h3 *h3;
    TAILQ_ENTRY(wt_conn) entry;
    struct turn_grave grave;
    struct wt_session_list sessions;
    size_t flows;          /* of the sessions, those with flow control of their own */
    size_t flows_provided; /* so many sessions' streams are granted */
    uint64_t spare_window; /* granted and paid for, of sessions that have ended */

    struct wt_stream_list early; /* streams whose session is not known yet */
    size_t early_count;
    struct dgramq early_datagrams; /* each begins with its session id, 8 bytes of ours */
    struct timer early_timer;

    uint64_t ended[WT_REMEMBERED]; /* ids of sessions that ended; id + 1, so that 0 is none */
    size_t ended_next;
    struct timer linger_timer; /* without a session: the connection is closed when it fires */
};

enum wt_state {
    WT_CONNECTING, /* client: asked, or waiting to ask */
    WT_REQUESTED,  /* server: the application has not answered */
    WT_OPEN,
    WT_CLOSING, /* our close is out; the peer has not answered */
    WT_ENDED,
    WT_STATES
};

/* See wt_flow.c; [unidirectional] */
struct wt_flow {
    bool is_on;
    struct window window;
    /* What the peer has sent and opened, what of it is done with, and the limits it was told. */
    uint64_t received, consumed, max_data;
    uint64_t opened[2], slots_free[2], max_streams[2];
    /* The peer's limits, and what we have opened (what was sent, the lane counts). */
    uint64_t peer_max_data;
    uint64_t peer_max_streams[2], own_opened[2];
    /* The limits at which we said that we are blocked; + 1, so that 0 is none. */
    uint64_t said_data_blocked, said_streams_blocked[2];
    bool is_behind; /* a limit is to be told when the peer takes more on the CONNECT stream */
    bool lifted[3]; /* Safari: data, streams of both kinds */
};

enum wt_flow_result { WT_FLOW_FINE, WT_FLOW_VIOLATED, WT_FLOW_MALFORMED };

#define WT_FLOW_FIRST_WINDOW (128 * 1024)

struct wt_session {
    struct wt_conn *conn;
    struct h3_request *request; /* NULL once QUIC has finished with it */
    struct h3_lane *lane;
    struct wt_flow flow;
    bool is_told;       /* its holder knows of it */
    bool wants_draft02; /* the client waits to hear that we speak draft 02 */
    uint64_t id;
    const struct wt_ops *ops; /* the host's, unless its holder has its own */
    void *user;
    LIST_ENTRY(wt_session) entry;
    struct turn_grave grave;
    enum wt_state state;
    struct wt_wish *wish;

    struct wt_stream_list streams;
    struct dgramq early_datagrams; /* came before the accept */
    bool early_drain;              /* so did a request to finish */
    struct turn_flush deliver;     /* hands up what was kept, once accepted */
    bool delivering;               /* what was kept has not been handed up yet */

    struct capsule_reader capsules;
    bool aborted;
    bool drained;      /* WT_DRAIN_SESSION is sent */
    uint32_t own_code; /* of wt_close */
    char own_reason[WT_REASON_MAX];
    size_t own_reason_len;
    struct timer close_timer;
};

struct wt_stream {
    struct h3_stream *h3;
    struct wt_conn *conn;
    struct wt_session *session; /* NULL while early */
    uint64_t session_id;
    void *user;
    TAILQ_ENTRY(wt_stream) entry;
    struct turn_grave grave;
    bool unidirectional;

    bool gone; /* released; in its grave */
    bool held; /* not handed up yet: what comes in is kept here */
    struct recvq kept;
    bool kept_fin, kept_reset, kept_stop;
    uint64_t kept_reset_code, kept_stop_code;
};

/* wt.c */
void wt_conn_forget_session(struct wt_session *s);
bool wt_conn_has_ended(const struct wt_conn *c, uint64_t id);

/* wt_session.c */
extern const struct h3_ops wt_h3_ops; /* in wt.c */
struct wt_session *wt_session_new(struct wt_conn *c, enum wt_state state);
struct wt_session *wt_session_find(const struct wt_conn *c, uint64_t id);
void wt_session_requested(struct wt_conn *c, struct h3_request *r, const struct h3_head *head);
void wt_session_responded(struct wt_session *s, const struct h3_head *head);
void wt_session_ask(struct wt_session *s); /* client: the SETTINGS are in */
/* The peer asks to finish. */
void wt_session_draining(struct wt_session *s);
void wt_session_body(struct wt_session *s, const uint8_t *data, size_t len);
void wt_session_body_ended(struct wt_session *s);
void wt_session_request_failed(struct wt_session *s, uint64_t code);
void wt_session_request_closed(struct wt_session *s);
void wt_session_datagram(struct wt_session *s, const uint8_t *data, size_t len);
/* Ends it, whatever its state: the connection is gone. */
void wt_session_lost(struct wt_session *s, const struct conn_end *end);
void wt_wish_free(struct wt_wish *w);

/* The peer broke a limit of the session's flow control. */
void wt_session_violated(struct wt_session *s);

/* wt_flow.c */
/* What every session begins with, as SETTINGS announce it. */
struct h3_limits wt_flow_first(const struct wt_config *config);
/* How many sessions the connection may carry at a time. */
size_t wt_flow_sessions(const struct wt_conn *c);
/* The SETTINGS are in. False if there is no memory for the session's window. */
bool wt_flow_begin(struct wt_session *s);
void wt_flow_end(struct wt_session *s);
/* All sessions have ended. */
void wt_flow_fini(struct wt_conn *c);
/* The peer's doings; false if it may not. */
bool wt_flow_received(struct wt_session *s, uint64_t len);
bool wt_flow_opened(struct wt_session *s, bool unidirectional);
void wt_flow_consumed(struct wt_session *s, uint64_t len);
void wt_flow_slot_free(struct wt_session *s, bool unidirectional);
/* Tells the peer what it could not be told before the session was open. */
void wt_flow_replenish(struct wt_session *s);
/* The peer has taken something on the CONNECT stream. */
void wt_flow_acked(struct wt_session *s);
/* Our own. */
bool wt_flow_may_open(struct wt_session *s, bool unidirectional);
void wt_flow_own_opened(struct wt_session *s, bool unidirectional);
void wt_flow_starved(struct wt_session *s);
enum wt_flow_result wt_flow_capsule(struct wt_session *s, const struct capsule *c);

/* wt_stream.c */
void wt_stream_arrived(struct wt_conn *c, struct h3_stream *h3, uint64_t session_id,
                       bool unidirectional);
/* Gives the connection's early streams of this session to it. */
void wt_stream_adopt(struct wt_session *s);
/* Hands a held stream up. */
void wt_stream_deliver(struct wt_stream *st);
/* Resets and stops it, with a code of the wire, and lets go of it. */
void wt_stream_kill(struct wt_stream *st, uint64_t wire_code);
void wt_stream_free(struct wt_stream *st);
void wt_stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin);
void wt_stream_peer_reset(void *stream_user, uint64_t code);
void wt_stream_peer_stopped(void *stream_user, uint64_t code);
void wt_stream_was_acked(void *stream_user, size_t len, bool all);

#endif
