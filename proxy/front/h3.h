/*
 * h3 - HTTP/3 on one QUIC connection, as far as WebTransport needs it.
 *
 * How WebTransport reaches the wire hides here: SETTINGS, extended CONNECT, the headers that tell a
 * WebTransport stream from one of HTTP/3, the prefix of a datagram. Requests go through nghttp3;
 * WebTransport streams pass it by. Requests that do not ask for a session are answered here
 * (404, 501) and never seen above.
 *
 * Everything runs inside callbacks of conn; nothing writes packets. A request or stream handed
 * up is valid until its closed upcall (request) or until h3_stream_release (stream).
 *
 * RFC 9114, RFC 9220 (extended CONNECT), RFC 9297 (datagrams), draft-ietf-webtrans-http3-02 to -15.
 */
#ifndef FRONT_H3_H
#define FRONT_H3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/env.h"
#include "base/fault.h"
#include "base/header.h"
#include "front/conn.h"

/* RFC 9114, section 8.1, and RFC 9297, section 5.2 */
#define H3_DATAGRAM_ERROR         0x33
#define H3_NO_ERROR               0x100
#define H3_GENERAL_PROTOCOL_ERROR 0x101
#define H3_INTERNAL_ERROR         0x102
#define H3_STREAM_CREATION_ERROR  0x103
#define H3_FRAME_UNEXPECTED       0x105
#define H3_FRAME_ERROR            0x106
#define H3_EXCESSIVE_LOAD         0x107
#define H3_ID_ERROR               0x108
#define H3_SETTINGS_ERROR         0x109
#define H3_MISSING_SETTINGS       0x10a
#define H3_REQUEST_REJECTED       0x10b
#define H3_REQUEST_CANCELLED      0x10c
#define H3_MESSAGE_ERROR          0x10e
#define H3_CONNECT_ERROR          0x10f
/* draft-ietf-webtrans-http3, section 9.5 */
#define WT_BUFFERED_STREAM_REJECTED 0x3994bd84
#define WT_SESSION_GONE             0x170d7b68
#define WT_FLOW_CONTROL_ERROR       0x045d4487

struct h3_host;
struct h3;
struct h3_request;
struct h3_stream;
struct h3_lane;
struct endpoint;

/* Limits of one session (section 5.5 of the draft). */
struct h3_limits {
    uint64_t data;
    uint64_t streams[2]; /* [unidirectional] */
};

struct h3_config {
    struct conn_config conn;
    uint64_t max_streams_bidi;    /* that the peer may ever have open at once */
    size_t max_header_bytes;      /* of one request; beyond it 431 */
    size_t stream_send_limit;     /* bytes one WebTransport stream may hold */
    size_t datagram_queue;        /* datagrams waiting, per request */
    uint64_t datagram_ttl_ns;     /* which then are dropped; 0 is never */
    uint64_t settings_timeout_ns; /* how long a request for a session waits for the SETTINGS */
    /* What a session's flow control begins with; with 0 bytes there is none. */
    struct h3_limits session;
};

/* A request for a session (server) or an answer to one (client). Valid during the upcall only. */
struct h3_head {
    const char *scheme, *authority, *path, *protocol; /* "" where absent */
    unsigned status;                                  /* client */
    const struct header *headers;                     /* without pseudo-headers, in order */
    size_t header_count;
};

struct h3_ops {
    /* Server: returns the user of this connection's upcalls. */
    void *(*accepted)(void *host_user, struct h3 *h);
    /* The peer's SETTINGS are in: sessions can be asked for. */
    void (*ready)(void *user);
    /* Server: a well-formed extended CONNECT for WebTransport. Never before ready. */
    void (*session_requested)(void *user, struct h3_request *r, const struct h3_head *head);
    /* Client: the final answer. */
    void (*responded)(void *request_user, const struct h3_head *head);
    /* Payload of DATA frames on a session's request. It is credited when this returns. */
    void (*body_received)(void *request_user, const uint8_t *data, size_t len);
    /* The peer's FIN on a session's request. */
    void (*body_ended)(void *request_user);
    /* The peer has acknowledged something on a session's request: h3_request_unacked may be less.
     */
    void (*body_acked)(void *request_user);
    /* RESET_STREAM, or STOP_SENDING, or a malformed message: the request has failed. May come
     * twice. */
    void (*request_failed)(void *request_user, uint64_t code);
    /* QUIC has finished with the request; the last upcall for it. */
    void (*request_closed)(void *request_user);
    /* The peer opened a WebTransport stream; its header is in. session_id is that of a
     * client-opened bidirectional stream, known or not. Set the stream's user here. */
    void (*stream_opened)(void *user, struct h3_stream *s, uint64_t session_id,
                          bool unidirectional);
    /* A stream of the peer's ended before its header was in: nobody knows whose it was. */
    void (*stream_lost)(void *user, bool unidirectional);
    /* As in conn.h, for WebTransport streams. Payload only: our own stream headers are not counted.
     */
    void (*stream_received)(void *stream_user, const uint8_t *data, size_t len, bool fin);
    void (*stream_reset)(void *stream_user, uint64_t code);
    void (*stream_stopped)(void *stream_user, uint64_t code);
    void (*stream_acked)(void *stream_user, size_t len, bool all);
    void (*streams_available)(void *user, bool unidirectional);
    /* A stream of the lane has payload, and the lane no credit. May come again and again. */
    void (*lane_starved)(void *lane_user);
    /* The peer has sent len bytes of payload on the lane's streams, whatever becomes of them... */
    void (*lane_received)(void *lane_user, uint64_t len);
    /* ...and the next hop has taken them, or nobody will. */
    void (*lane_consumed)(void *lane_user, uint64_t len);
    /* A stream of the peer's is no more. */
    void (*lane_slot_free)(void *lane_user, bool unidirectional);
    void (*datagram_received)(void *user, uint64_t session_id, const uint8_t *data, size_t len);
    void (*datagram_max_changed)(void *user);
    /* GOAWAY came in. */
    void (*goaway_received)(void *user);
    /* The connection is over; the last upcall of all. Requests and streams get no closed of their
     * own and are gone when this returns. */
    void (*closed)(void *user, const struct conn_end *end);
};

struct h3_host *h3_host_new(struct env *env, struct endpoint *endpoint,
                            const struct h3_config *config, const struct h3_ops *ops,
                            void *host_user);
void h3_host_stop(struct h3_host *host);
/* See conn_hub_configure; what is not conn's holds for the requests and streams that begin from now
 * on. */
void h3_host_configure(struct h3_host *host, const struct h3_config *config);
void h3_host_close_all(struct h3_host *host);
size_t h3_host_count(const struct h3_host *host);
/* Those that came in by a listener of this number (udp.h), and those of them whose end may have to
 * be told again. */
size_t h3_host_count_of(const struct h3_host *host, unsigned listener);
void h3_host_free(struct h3_host *host);

/* Client: begins a connection; ready follows, or closed. NULL if the local system refuses. */
struct h3 *h3_connect(struct h3_host *host, const struct sockaddr *remote, socklen_t remote_len,
                      const char *server_name, void *user);

struct conn *h3_conn(const struct h3 *h);
/* What the peer's SETTINGS speak: "draft02", "draft07", "draft14", "draft15". After ready. */
const char *h3_draft(const struct h3 *h);
/* The peer's SETTINGS are in. */
bool h3_is_ready(const struct h3 *h);
/* Both sides have announced limits for sessions: these are the peer's. After ready. */
bool h3_has_session_limits(const struct h3 *h, struct h3_limits *peer);
/* As Safari does, the peer speaks draft 14 and not 15. After ready. */
bool h3_is_safari(const struct h3 *h);
/* Why the peer cannot have sessions: it takes no datagrams. FAULT_NONE if it can. After ready. */
enum fault h3_judge(const struct h3 *h);
/* Ends the connection because of a fault, with an HTTP/3 code. */
void h3_fail(struct h3 *h, enum fault fault, uint64_t code, const char *text);
/* Announces the end, with an id that takes no request back: the peer is to ask for nothing new. */
void h3_goaway(struct h3 *h);
/* Orderly end: H3_NO_ERROR. */
void h3_close(struct h3 *h);

/* Client: asks for a session. NULL if the peer's limit of streams is reached. */
struct h3_request *h3_request_open(struct h3 *h, const char *authority, const char *path,
                                   const struct header *headers, size_t count, void *request_user);
void h3_request_set_user(struct h3_request *r, void *request_user);
uint64_t h3_request_id(const struct h3_request *r);
/* Answers it. With end the answer is whole; without, DATA may follow. */
void h3_request_respond(struct h3_request *r, unsigned status, const struct header *headers,
                        size_t count, bool end);
/* Queues data, to go out in one DATA frame of its own. Copies. */
void h3_request_send(struct h3_request *r, const void *data, size_t len);
/* Bytes that were queued and not acknowledged yet. */
size_t h3_request_unacked(const struct h3_request *r);
/* FIN after what was queued. */
void h3_request_end(struct h3_request *r);
/* RESET_STREAM and STOP_SENDING. */
void h3_request_reset(struct h3_request *r, uint64_t code);
/* No more body may come: what does resets the request with H3_MESSAGE_ERROR. more: some has come
 * already. */
void h3_request_seal(struct h3_request *r, bool more);
/* No answer came in time: STOP_SENDING, and RESET_STREAM if the peer has not taken what was queued,
 * which would wait for its credit for ever. */
void h3_request_give_up(struct h3_request *r, uint64_t code);
/* STOP_SENDING only. */
void h3_request_stop(struct h3_request *r, uint64_t code);

/* Queues an HTTP datagram of this request, dropping the oldest when full. False if it is larger
 * than h3_datagram_max. */
bool h3_datagram_send(struct h3_request *r, const void *data, size_t len);
size_t h3_datagram_max(const struct h3_request *r);

/* A session's share of what the connection sends: lanes take turns, whatever their streams' orders
 * are. Released once; its streams may then still have something to send. */
struct h3_lane *h3_lane_new(struct h3 *h, void *lane_user);
void h3_lane_release(struct h3_lane *l);
/* From now on the lane may send so many bytes of payload; before, there is no limit. */
void h3_lane_limit(struct h3_lane *l, uint64_t credit);
/* And so many more. */
void h3_lane_grant(struct h3_lane *l, uint64_t more);

/* Opens a WebTransport stream; its header goes out with the next flush. NULL if the peer's limit is
 * reached. */
struct h3_stream *h3_stream_open(struct h3_lane *l, uint64_t session_id, bool unidirectional,
                                 void *stream_user);
/* A stream of the peer's belongs to this lane. Nothing can be written on it before. */
void h3_stream_join(struct h3_stream *s, struct h3_lane *l);
/* False if there is no memory for a stream of the peer's: it should be refused. */
bool h3_stream_is_paid(const struct h3_stream *s);
void h3_stream_set_user(struct h3_stream *s, void *stream_user);
size_t h3_stream_write(struct h3_stream *s, const void *data, size_t len);
/* Bytes that h3_stream_write would take now. */
size_t h3_stream_room(const struct h3_stream *s);
void h3_stream_end(struct h3_stream *s);
/* If the header of a stream of ours is in a packet, the reset waits for its acknowledgement (or
 * three PTO), or the peer could not tell whose stream it was. Code as on the wire. */
void h3_stream_reset(struct h3_stream *s, uint64_t code);
void h3_stream_stop(struct h3_stream *s, uint64_t code);
void h3_stream_consumed(struct h3_stream *s, size_t len);
/* See conn_stream_allow; offset counts the bytes after the stream's header. */
void h3_stream_allow(struct h3_stream *s, uint64_t offset);
/* Streams with an order go before those without, the highest first (W3C WebTransport, sendOrder).
 */
void h3_stream_set_order(struct h3_stream *s, int64_t send_order);
/* The holder is done with it. */
void h3_stream_release(struct h3_stream *s);

/* The version of nghttp3 at run time. */
const char *h3_library(void);

#endif
