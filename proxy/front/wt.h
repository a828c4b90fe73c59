/*
 * wt - WebTransport sessions and their streams: the top of the front.
 *
 * Above it nobody speaks QUIC or HTTP. It hides drafts, capsules, error-code mapping, buffering
 * of what comes early, and the order in which browsers need a close to arrive.
 *
 * Upcalls may come from inside callbacks of libraries: in all of them one may call any function of
 * this header, for nothing here writes packets or frees before the turn ends. Codes are the
 * application's own 32-bit codes, mapped (draft-ietf-webtrans-http3, section 4.4).
 *
 * Lifetimes. A session is valid from requested() until its closed() has returned. A stream is valid
 * from wt_stream_open() or stream_opened() until the holder calls wt_stream_release(), or its
 * session's closed() has returned; release it once nothing is to be done with it any more, also
 * when QUIC has long finished with it. (So bytes that the next hop has not taken yet, and the slot
 * that the client may use again, are given back to the client only when they are really free.)
 */
#ifndef FRONT_WT_H
#define FRONT_WT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/env.h"
#include "base/fault.h"
#include "base/header.h"

struct wt_host;
struct wt_session;
struct wt_stream;
struct endpoint;
struct tls_context;

#define WT_REASON_MAX 1024 /* bytes of a close reason, section 5 of the draft */

struct wt_config {
    struct tls_context *tls;
    bool is_server;
    uint64_t connection_window; /* QUIC flow control granted to the client, bytes */
    uint64_t stream_window;
    uint64_t connection_memory; /* bytes held and promised for one connection; 0: no limit */
    uint64_t max_streams_bidi;  /* streams a client may have open at once */
    uint64_t max_streams_uni;
    size_t stream_send_limit; /* bytes one stream may hold for the client: hard */
    size_t datagram_queue;    /* datagrams waiting for the client, per session */
    uint64_t datagram_ttl_ns; /* which then are dropped; 0 is never */
    /* Sessions that a connection may carry at a time, where the client has flow control for
     * sessions; else it is one. With 1 there is no such flow control. */
    size_t connection_sessions;
    size_t early_streams;    /* streams kept per connection before their session is known */
    size_t max_header_bytes; /* of a request; beyond it 431 */
    uint64_t idle_timeout_ns;
    uint64_t keep_alive_ns;
    uint64_t handshake_timeout_ns;
    uint64_t settings_timeout_ns; /* how long CONNECT waits for the client's SETTINGS */
    uint64_t close_timeout_ns;    /* how long a close waits for the peer's answer */
};

/* A request for a session. Everything is valid during requested() only. */
struct wt_request {
    const char *scheme; /* "https" */
    const char *authority;
    const char *path;             /* with the query, as received; any bytes but NUL */
    const char *protocol;         /* the :protocol token: "webtransport" or "webtransport-h3" */
    const struct header *headers; /* as received and in that order, without pseudo-headers */
    size_t header_count;
    uint64_t session_id; /* QUIC id of the CONNECT stream */
    /* What the client's SETTINGS speak: "draft02", "draft07", "draft14", "draft15". Never freed. */
    const char *draft;
    struct sockaddr_storage local, remote;
    uint16_t tls_version, cipher_suite;
};

/* An application's error code, or none (the peer's code was not an application code). */
struct wt_code {
    bool known;
    uint32_t value;
};

enum wt_by {
    WT_BY_CLIENT,  /* the peer: close capsule, FIN, reset, CONNECTION_CLOSE */
    WT_BY_LOCAL,   /* wt_close, wt_abort, wt_refuse, wt_host_close_all */
    WT_BY_NETWORK, /* idle timeout, loss */
    WT_BY_FAULT,   /* the peer broke a rule; see fault */
};

/* In a word: "client", "proxy" or "network". */
const char *wt_by_name(enum wt_by by);

struct wt_end {
    enum wt_by by;
    bool clean;          /* close capsule or FIN from the peer, answered or answering */
    struct wt_code code; /* own code back after wt_close */
    const char *reason;  /* UTF-8, reason_len bytes, not terminated */
    size_t reason_len;
    enum fault fault;
};

struct wt_ops {
    /* Server: answer now or later with wt_accept or wt_refuse. Set the session's user here. */
    void (*requested)(void *host_user, struct wt_session *s, const struct wt_request *r);
    /* Client: the answer to wt_connect; on anything but 2xx closed() follows. */
    void (*responded)(void *user, unsigned status, const struct header *headers, size_t count);
    /* The peer opened a stream. Set its user here. Never before wt_accept. */
    void (*stream_opened)(void *user, struct wt_stream *st, bool unidirectional);
    /* Bytes in order, valid only now; with fin the receiving half has ended. Say wt_stream_consumed
     * when the next hop has taken them. */
    void (*stream_received)(void *stream_user, const uint8_t *data, size_t len, bool fin);
    /* The peer's sending side gave up: the receiving half has ended. */
    void (*stream_reset)(void *stream_user, struct wt_code code);
    /* The peer wants no more: the sending half has ended, reset with the same code. */
    void (*stream_stopped)(void *stream_user, struct wt_code code);
    /* len payload bytes (headers of ours not counted) were acknowledged; all: everything, the end
     * included. */
    void (*stream_acked)(void *stream_user, size_t len, bool all);
    /* The client raised its limit: wt_stream_open may succeed again. */
    void (*streams_available)(void *user, bool unidirectional);
    void (*datagram_received)(void *user, const uint8_t *data, size_t len);
    void (*datagram_max_changed)(void *user, size_t max);
    /* The peer asks to finish (WT_DRAIN_SESSION or GOAWAY). */
    void (*draining)(void *user);
    /* The session is over: the last upcall for it and all its streams, exactly once, also after
     * wt_refuse. After wt_close or wt_abort it is the only one still to come. end is valid only
     * now. */
    void (*closed)(void *user, const struct wt_end *end);
};

/* endpoint, env and config->tls outlive the host; config is copied. */
struct wt_host *wt_host_new(struct env *env, struct endpoint *endpoint,
                            const struct wt_config *config, const struct wt_ops *ops,
                            void *host_user);
/* For the connections and sessions that begin from now on. tls and is_server stay what they are. */
void wt_host_configure(struct wt_host *h, const struct wt_config *config);
/* Refuses new connections and sessions. From now on wt_drain sends GOAWAY, too; connections without
 * a session get it at once. */
void wt_host_stop(struct wt_host *h);
/* The same, and drains all sessions there are. */
void wt_host_drain(struct wt_host *h);
/* Closes what is left, with CONNECTION_CLOSE H3_NO_ERROR. */
void wt_host_close_all(struct wt_host *h);
/* Connections alive; wt_host_free needs 0. */
size_t wt_host_connections(const struct wt_host *h);
/* Those that came in by a listener of this number (udp.h), and those of them whose end may have to
 * be told again. */
size_t wt_host_connections_of(const struct wt_host *h, unsigned listener);
void wt_host_free(struct wt_host *h);

/* Client: opens a connection and asks for a session. headers are added to the request. */
struct wt_session *wt_connect(struct wt_host *h, const struct sockaddr *remote,
                              socklen_t remote_len, const char *authority, const char *path,
                              const struct header *headers, size_t count, void *user);

/* Client: asks for one more session on the connection of another. */
struct wt_session *wt_connect_beside(struct wt_session *other, const char *authority,
                                     const char *path, void *user);

void wt_session_set_user(struct wt_session *s, void *user);
/* Who hears of this session and its streams from now on, if not whom the host tells. Best said in
 * requested(). */
void wt_session_set_ops(struct wt_session *s, const struct wt_ops *ops);
/* Accepts with a 2xx status; headers go out verbatim and in order. */
void wt_accept(struct wt_session *s, unsigned status, const struct header *headers, size_t count);
/* Refuses with 3xx to 5xx and a body (may be empty, at most 64 KiB). */
void wt_refuse(struct wt_session *s, unsigned status, const struct header *headers, size_t count,
               const void *body, size_t len);
/* Refuses without an answer: the request stream is reset. */
void wt_refuse_reset(struct wt_session *s);
/* Close capsule and FIN; the streams are cleaned up when the peer has answered, or after
 * close_timeout. reason is UTF-8, at most WT_REASON_MAX bytes. */
void wt_close(struct wt_session *s, uint32_t code, const char *reason, size_t reason_len);
/* At once and uncleanly: RESET_STREAM and STOP_SENDING on the CONNECT stream. */
void wt_abort(struct wt_session *s);
/* WT_DRAIN_SESSION: asks the peer to finish. Goes out once, however often it is asked for. */
void wt_drain(struct wt_session *s);

/* NULL while the client's limit on streams is reached (streams_available comes later). */
struct wt_stream *wt_stream_open(struct wt_session *s, bool unidirectional, void *stream_user);
void wt_stream_set_user(struct wt_stream *st, void *stream_user);
/* Copies in what fits under stream_send_limit; returns how much. 0 after the half has ended. */
size_t wt_stream_write(struct wt_stream *st, const void *data, size_t len);
/* Bytes that wt_stream_write would take now. */
size_t wt_stream_room(const struct wt_stream *st);
/* Ends the sending half after what was written. */
void wt_stream_end(struct wt_stream *st);
/* Gives up the sending half; unsent bytes are lost. Legal after wt_stream_end until all is
 * acknowledged. */
void wt_stream_reset(struct wt_stream *st, uint32_t code);
/* Wants no more of the receiving half: no more stream_received or stream_reset come. */
void wt_stream_stop(struct wt_stream *st, uint32_t code);
/* W3C sendOrder: streams that have one go first, the highest before all others; streams that never
 * got one share what is left. */
void wt_stream_set_order(struct wt_stream *st, int64_t send_order);
/* The next hop has taken len bytes received. */
void wt_stream_consumed(struct wt_stream *st, size_t len);
/* The next hop will not take more than offset bytes, counted from the stream's beginning, until a
 * later call says more (2^62: no limit any more): see conn_stream_allow. Without a call there is no
 * such limit. */
void wt_stream_allow(struct wt_stream *st, uint64_t offset);
/* The holder is done with the stream; it must have ended, or reset and stopped, both its halves. */
void wt_stream_release(struct wt_stream *st);

/* Smoothed round-trip time of the session's connection, in nanoseconds. */
uint64_t wt_session_rtt(const struct wt_session *s);
/* Copies it into the queue; the oldest is dropped when the queue is full. Returns false if it is
 * larger than wt_datagram_max(). */
bool wt_datagram_send(struct wt_session *s, const void *data, size_t len);
size_t wt_datagram_max(const struct wt_session *s);

#endif
