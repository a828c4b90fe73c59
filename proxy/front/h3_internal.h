/*
 * h3_internal - what the files of h3 share. Nobody else includes it.
 *
 *     h3.c          the connection, its control stream, and the sorting of incoming streams
 *     h3_control.c  the peer's control stream
 *     h3_frames.c   looks for frames that nghttp3 would let pass
 *     h3_message.c  the header fields of one message
 *     h3_request.c  requests: nghttp3's callbacks, the CONNECT stream's body, HTTP datagrams
 *     h3_stream.c   WebTransport streams
 *     h3_lane.c     whose turn it is to send
 *     h3_send.c     what goes out next
 */
#ifndef FRONT_H3_INTERNAL_H
#define FRONT_H3_INTERNAL_H

#include <nghttp3/nghttp3.h>
#include <sys/queue.h>

#include "base/dgramq.h"
#include "base/heap.h"
#include "base/recvq.h"
#include "base/sendq.h"
#include "base/timers.h"
#include "base/turn.h"
#include "base/varint.h"
#include "front/h3.h"
#include "front/h3_settings.h"

#define WT_STREAM_TYPE_UNI  0x54
#define WT_STREAM_TYPE_BIDI 0x41

#define H3_FRAME_GOAWAY 0x07
#define H3_GOAWAY_SIZE  10

TAILQ_HEAD(h3_stream_list, h3_stream);
TAILQ_HEAD(h3_request_list, h3_request);
TAILQ_HEAD(h3_lane_list, h3_lane);

struct h3_host {
    struct env *env;
    struct h3_config config;
    const struct h3_ops *ops;
    void *user;
    struct conn_hub *hub;
    uint8_t datagram[65536 + 8]; /* where a session id and a payload are put together */
};

/* Where in its frames the peer's control stream is. */
struct h3_frames {
    uint8_t kept[2 * VARINT_SIZE_MAX]; /* type and length, or a number, while they are not whole */
    size_t kept_len;
    uint64_t type, left; /* left: of the payload */
};

/* Where in its frames a request stream is. */
struct h3_walk {
    uint8_t head[2 * VARINT_SIZE_MAX]; /* type and length while they are not whole */
    uint8_t head_len;
    uint64_t left; /* of the payload */
};

struct h3 {
    struct h3_host *host;
    struct conn *conn;
    void *user;
    nghttp3_conn *http;
    struct turn_grave grave;
    bool dead; /* conn has reported its end: it must not be called any more */

    int64_t control_id; /* our control stream; -1 before it is open */
    uint8_t control[H3_SETTINGS_STREAM_MAX + H3_GOAWAY_SIZE];
    size_t control_len, control_sent;
    bool control_blocked;
    bool goaway_wanted, goaway_written;

    struct h3_settings_reader settings_reader;
    struct h3_frames frames;     /* of the peer's control stream */
    struct h3_settings settings; /* the peer's */
    struct h3_settings_own own;
    struct h3_limits session; /* the host's when this began */
    bool settings_in, has_goaway;
    uint64_t goaway_id; /* the peer's last one */
    bool spoke_draft15; /* a request carried the token webtransport-h3 */
    struct timer settings_timer;
    size_t header_bytes; /* of all unfinished messages together */

    struct h3_stream_list streams;    /* all there are */
    size_t unpaid;                    /* of them, those that there was no memory for */
    struct h3_lane_list lanes;        /* those with something to send */
    uint64_t turn;                    /* counts up: among equals the one that waited longest */
    struct h3_request_list requests;  /* all there are */
    struct h3_request_list datagrams; /* those with datagrams to send */
};

#define H3_LANE_UNLIMITED UINT64_MAX

struct h3_lane {
    struct h3 *h3;
    void *user; /* NULL once released */
    TAILQ_ENTRY(h3_lane) in_lanes;
    struct turn_grave grave;
    size_t streams;
    struct heap ordered;           /* streams with something to send and a send order */
    struct h3_stream_list ready;   /* those without; they share what the others leave */
    struct h3_stream_list starved; /* those that wait for credit */
    size_t run;                    /* bytes sent since its turn has come */
    uint64_t credit;               /* payload that it may send, or UNLIMITED */
};

enum h3_stream_kind {
    H3_STREAM_NEW,     /* the peer's; its header is not whole yet */
    H3_STREAM_CONTROL, /* the peer's control stream */
    H3_STREAM_HTTP,    /* nghttp3's */
    H3_STREAM_WT,
};

struct h3_stream {
    struct h3 *h3;
    int64_t id;
    void *user;
    enum h3_stream_kind kind;
    struct h3_lane *lane; /* NULL while its session is not known */
    TAILQ_ENTRY(h3_stream) in_all, in_ready;
    struct heap_node in_ordered;
    bool is_ready, is_starved;
    size_t run; /* bytes sent since its turn has come */
    bool has_order;
    uint64_t order; /* smaller is sent first */
    struct turn_grave grave;

    bool local, unidirectional;
    bool is_paid;  /* its cost is reserved */
    bool closed;   /* QUIC has finished with it */
    bool released; /* its holder has finished with it */
    bool receive_over, send_over;

    uint8_t prefix[16]; /* the header, while it is not whole */
    size_t prefix_len;
    struct h3_walk walk; /* HTTP: through its frames */
    bool stopped_early;  /* STOP_SENDING came before the header was whole */
    uint64_t early_stop_code;
    uint64_t received;   /* payload, with what was lost before a reset */
    uint64_t uncredited; /* payload received and not consumed */

    struct sendq out; /* our header and payload */
    size_t kept;      /* bytes of it that were left when it was cut: the connection pays for them */
    size_t header_len;
    bool fin_wanted, fin_sent;
    /* These wait for the header's acknowledgement. */
    bool reset_wanted, stop_wanted;
    uint64_t reset_code, stop_code;
    struct timer header_timer;
};

struct h3_body {
    STAILQ_ENTRY(h3_body) entry;
    size_t len;
    uint8_t data[];
};

struct h3_field {
    size_t name, name_len, value, value_len; /* offsets into the arena */
};

enum h3_pseudo { H3_METHOD, H3_SCHEME, H3_AUTHORITY, H3_PATH, H3_PROTOCOL, H3_STATUS, H3_PSEUDOS };

struct h3_message {
    char *arena;
    size_t arena_len, arena_cap;
    size_t counted; /* as RFC 9114, section 4.2.2, counts */
    struct h3_field *fields;
    size_t field_count, field_cap;
    struct h3_field pseudo[H3_PSEUDOS];
    bool too_large; /* the rest is not kept */
    bool is_head;   /* the method is HEAD; outlives the fields */
};

struct h3_request {
    struct h3 *h3;
    int64_t id;
    void *user;
    TAILQ_ENTRY(h3_request) in_all, in_datagrams;
    bool has_datagrams;
    struct turn_grave grave;

    struct h3_message message; /* being received, or held */

    bool is_session; /* an extended CONNECT that was handed up, or (client) our own */
    bool held;       /* waiting for the peer's SETTINGS */
    struct recvq held_body;
    bool ended, failed;

    STAILQ_HEAD(, h3_body) body; /* unsent or unacknowledged */
    struct h3_body *unsent;      /* the first one that nghttp3 has not taken */
    size_t acked;                /* of the first body's bytes */
    bool end_wanted, reset;
    bool sealed; /* no more body may come */

    /* nghttp3 (1.8) forgets an end that it has offered alone, and that was not taken yet, when an
     * acknowledgement for the stream comes in between. So that is held back meanwhile. */
    bool lone_end_offered;
    size_t acks_held;

    struct dgramq out; /* datagrams for the peer */
};

/* h3.c */
void h3_touch(struct h3 *h);
enum fault h3_http_fault(struct h3 *h, int error);

enum fault h3_read_http(struct h3_stream *s, const uint8_t *data, size_t len, bool fin);

/* h3_frames.c */
/* False if one of the frames is WT_STREAM, which only a stream as a whole can be. */
bool h3_frames_legal(struct h3_walk *w, const uint8_t *data, size_t len);

/* h3_control.c */
enum fault h3_read_control(struct h3_stream *s, const uint8_t *data, size_t len, bool fin);

/* h3_message.c */
void h3_message_add(struct h3 *h, struct h3_message *m, int32_t token, nghttp3_vec name,
                    nghttp3_vec value);
void h3_message_forget(struct h3 *h, struct h3_message *m);
/* "" where absent. Valid until the message is added to or forgotten. */
const char *h3_message_pseudo(const struct h3_message *m, enum h3_pseudo p);
/* All but the pseudo-headers; what they point to is the message's. To be freed. */
struct header *h3_message_headers(const struct h3_message *m);

/* h3_request.c */
extern const nghttp3_callbacks h3_request_callbacks;
void h3_request_free(struct h3_request *r);
void h3_request_finish(struct h3_request *r); /* its QUIC stream has closed */
void h3_request_fail(struct h3_request *r, uint64_t code);
struct h3_request *h3_request_find(struct h3 *h, int64_t id);
/* The SETTINGS are in: hands the held requests up. */
void h3_request_unhold(struct h3 *h);
/* Lends the datagram that is to go next. False if there is none. */
bool h3_datagram_next(struct h3 *h, struct h3_request **of, const uint8_t **data, size_t *len);
void h3_datagram_sent(struct h3_request *r);
/* Tells nghttp3 that len bytes of one of its streams have been acknowledged. */
void h3_request_acked(struct h3 *h, int64_t id, size_t len);
/* nghttp3's end of a stream, offered without bytes, waits; or waits no longer. */
void h3_request_lone_end(struct h3 *h, int64_t id, bool waits);

/* h3_stream.c */
struct h3_stream *h3_stream_new(struct h3 *h, int64_t id, bool local);
void h3_stream_free(struct h3_stream *s);
void h3_stream_become_wt(struct h3_stream *s);
/* Bytes or FIN of the peer's. */
void h3_stream_take(struct h3_stream *s, const uint8_t *data, size_t len, bool fin);
void h3_stream_acked(struct h3_stream *s, size_t len, bool fin);
void h3_stream_peer_reset(struct h3_stream *s, uint64_t code);
void h3_stream_peer_stopped(struct h3_stream *s, uint64_t code);
void h3_stream_finish(struct h3_stream *s); /* QUIC has closed it */
/* The peer has sent so many bytes in all, header and all; CONN_SIZE_UNKNOWN if nobody knows. */
void h3_stream_measure(struct h3_stream *s, uint64_t final_size);
/* Bytes that may be offered to QUIC now, and whether the end may come with them. */
size_t h3_stream_offer(const struct h3_stream *s, struct iovec *slices, size_t count, bool *fin);
void h3_stream_sent(struct h3_stream *s, size_t len, bool fin);

/* It has payload to send, and only its lane's credit is missing. */
bool h3_stream_wants_credit(const struct h3_stream *s);

/* h3_lane.c */
void h3_lane_enter(struct h3_lane *l, struct h3_stream *s);
void h3_lane_leave(struct h3_stream *s);
/* If it has something to send that may go out, its turn will come. */
void h3_lane_put(struct h3_stream *s);
void h3_lane_take(struct h3_stream *s);
/* The one whose turn it is, or NULL. */
struct h3_stream *h3_lane_first(const struct h3 *h);
/* Payload that the stream's lane may send now. */
size_t h3_lane_room(const struct h3_stream *s);
void h3_lane_spend(struct h3_stream *s, size_t len);
/* So much of it, header and all, is in a packet: the next turn may be another one's. */
void h3_lane_sent(struct h3_stream *s, size_t len);

/* h3_send.c */
bool h3_pull(void *user, struct conn_piece *piece);
void h3_pulled(void *user, const struct conn_piece *piece, enum conn_taken taken, size_t len);

#endif
