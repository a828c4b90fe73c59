/*
 * conn_internal - what the files of conn share among themselves; nobody else includes it.
 *
 *      conn.c          the life of a connection: made, fed, timed
 *      conn_accept.c   the first packet of a client: a connection, a Retry, or a refusal
 *      conn_end.c      its end: why, what is said, what is logged
 *      conn_stream.c   its streams and what ngtcp2 tells about them
 *      conn_write.c    its flush: pulls pieces, fills packets, hands over batches
 *      conn_frames.c   finds STOP_SENDING frames, which ngtcp2 before 1.24 does not tell
 *      conn_closing.c  what is left of it after its end, until late packets have died out
 */
#ifndef FRONT_CONN_INTERNAL_H
#define FRONT_CONN_INTERNAL_H

#include <sys/queue.h>

#include <ngtcp2/ngtcp2.h>

#include "base/siphash.h"
#include "base/budget.h"
#include "base/timers.h"
#include "base/turn.h"
#include "base/window.h"
#include "front/conn.h"
#include "front/endpoint.h"
#include "front/tls.h"

/* Peers choose stream ids; wherever a table is used, hash_key must be in scope. */
#define HASH_FUNCTION(key, len, value) ((value) = (unsigned)siphash(hash_key, key, len))
#define uthash_fatal(msg)              abort()
#include <uthash.h>

#define TLS_NO_APPLICATION_PROTOCOL 120 /* an alert, RFC 7301 section 3.2 */

#define CONN_TEXT_MAX    256   /* of a close, ours or the peer's, kept for the log */
#define CONN_BATCH_MAX   65000 /* bytes in one hand-over: GSO's limit less headers */
#define CONN_GSO_MAX     64    /* payloads in one hand-over */
#define CONN_ORPHAN_COST 1024  /* bytes; see close_orphan in conn_stream.c */
#define CONN_SLOT_LEN    1500  /* at least the largest payload that ngtcp2 is told to send */

/* How a connection goes, once it does. */
enum conn_ending {
    CONN_ALIVE,
    CONN_ENDS_TOLD,   /* with CONNECTION_CLOSE; then the closing period */
    CONN_ENDS_DRAINS, /* the peer closed; then the draining period */
    CONN_ENDS_SILENT, /* timed out, or never was one: nothing is sent */
};

/* What a connection costs besides its window: ngtcp2 33 kB, nghttp3 19 kB, TLS during the handshake
 * 19 kB, the rest ours. */
#define CONN_COST (96 * 1024)

struct conn_stream {
    UT_hash_handle hh;
    int64_t id;
    void *user;
    uint64_t written; /* bytes put into packets */
    uint64_t acked;
    bool fin_written, fin_acked;
    size_t untold; /* of acked, not told upward yet */
    bool fin_untold;
    struct window window; /* what the peer may send */
    /* Of what the peer sends, in bytes from the beginning: given back by the next hop, granted so
     * far, and as far as the next hop has asked for it (see conn_stream_allow). */
    uint64_t received, consumed, granted, allowed;
    bool blocked;        /* answered CONN_BLOCKED, no stream_unblocked yet */
    bool stopped;        /* STOP_SENDING was told upward */
    bool is_unread;      /* STOP_SENDING was sent: ngtcp2 tells of no bytes any more */
    uint64_t final_size; /* of what the peer sends, or CONN_SIZE_UNKNOWN */
};

/* Something in the packet that is being read, to be told when ngtcp2 has read all of it. */
struct conn_note {
    int64_t stream_id;
    uint64_t code;
    bool is_reset; /* RESET_STREAM; otherwise STOP_SENDING */
};

struct conn {
    struct conn_hub *hub;
    struct conn_config config; /* the hub's when this began */
    LIST_ENTRY(conn) entry;
    ngtcp2_conn *quic;
    struct tls_session *tls; /* NULL once a server has no more use for it */
    uint16_t tls_version, cipher_suite;
    struct endpoint_peer peer;
    struct budget memory;
    struct client *client; /* as which it is counted, once its address is proven; or NULL */
    uint8_t listener;      /* by which it came in, of a server's */
    struct window window;  /* what the peer may send, on all streams together */
    uint64_t unconsumed;   /* has arrived, but the next hop has not taken it yet */
    uint64_t parked;       /* of that: beyond what the next hop has asked for */
    uint64_t ahead;        /* granted to the peer beyond what the next hop has asked for */
    struct timer timer;
    uint64_t held_until_ns; /* see conn_hold */
    struct turn_flush flush;
    struct turn_grave grave;
    void *user;
    bool has_user;    /* upcalls may be made: a client's always, a server's once accepted */
    bool established; /* told upward */
    bool is_secured;  /* the handshake is complete */
    bool is_dead;     /* closed was told; waits for the end of the turn */
    bool is_reset;    /* a stateless reset came in */
    bool is_unprobed; /* the path may be narrower than ngtcp2 thinks: see follow in conn.c */
    struct conn_stream *streams;
    struct conn_stream *recent;                 /* of them, looked up last; or NULL */
    struct conn_stream *acked;                  /* of them, with something untold; or NULL */
    size_t orphans, slots_withheld, slots_lost; /* see close_orphan in conn_stream.c */
    size_t unread;                              /* streams that are */
    uint64_t final_size;                        /* see conn_final_size */
    size_t datagram_max;
    /* the end */
    enum conn_ending ending;
    enum fault fault;
    ngtcp2_ccerr close; /* what CONNECTION_CLOSE says; its reason is text */
    char text[CONN_TEXT_MAX];
};

LIST_HEAD(conn_list, conn);
LIST_HEAD(conn_closing_list, conn_closing);

#define CONN_REFUSED_REMEMBERED 16

struct conn_hub {
    struct env *env;
    struct endpoint *endpoint;
    struct conn_config config;
    const struct conn_ops *ops;
    void *user;
    bool is_stopped;
    struct conn_list conns;
    size_t count;
    struct intake intake; /* of a server: what of them came in by which listener */
    /* Hashes of what the clients that were refused last had called us. */
    uint64_t refused[CONN_REFUSED_REMEMBERED];
    size_t refused_next;
    struct conn_closing_list closing;
    size_t closing_of[INTAKE_LISTENERS];
    /* of the packet being read; grows with need */
    struct conn_note *notes;
    size_t note_count, note_room;
    /* the batch being filled by a flush */
    uint8_t out[CONN_BATCH_MAX + CONN_SLOT_LEN];
};

/* conn_accept.c */
/* The client's address is proven, and it has one more connection. FAULT_NONE, or why it may not. */
enum fault conn_count_in(struct conn *c);
void conn_count_out(struct conn *c);

/* conn_end.c */
/* Begins the end, if it has not begun: what is left happens in the flush. liberr is an error of
 * ngtcp2's. */
void conn_end_by_error(struct conn *c, int liberr);
void conn_end_by_upcall(struct conn *c, enum fault fault);
/* Tells what a function of ngtcp2 wants back from a callback: 0, or failure if it is ending. */
int conn_callback_result(const struct conn *c);
void conn_end_by_alert(struct conn *c, uint8_t alert);
/* Once the end has begun, at the end of the turn: says it, tells it, frees it. */
void conn_finish(struct conn *c);
/* "192.0.2.1:4433" or "[2001:db8::1]:4433" */

/* conn.c */
/* NULL if there is no memory left for one. */
struct conn *conn_new(struct conn_hub *hub);
void conn_fill_callbacks(ngtcp2_callbacks *callbacks, bool is_server);
void conn_fill_params(ngtcp2_transport_params *params, const struct conn_config *config);
void conn_fill_settings(ngtcp2_settings *settings, const struct conn_hub *hub);
struct ngtcp2_conn *conn_tls_asks(void *conn);
/* With quic and tls made: it is one of the hub's from now on. */
void conn_adopt(struct conn *c);
/* One that could not be made. */
void conn_discard(struct conn *c);
/* Frees it; nobody knows it any more. */
void conn_dispose(struct conn *c);
void conn_packet_received(void *owner, const struct packet *p);
/* The largest UDP payload that may be written now. */
size_t conn_payload_max(const struct conn *c);
void conn_path_to_packet(const struct conn *c, const ngtcp2_path *path, struct packet *p);

/* conn_accept.c */
/* The endpoint's listener. */
void conn_accept(void *hub, const struct packet *p, bool is_ours);
/* Gives a client whose handshake is complete a token that proves its address next time. */
void conn_submit_token(struct conn *c);

/* conn_stream.c */
void conn_stream_callbacks(ngtcp2_callbacks *callbacks);
void conn_note(struct conn_hub *hub, int64_t stream_id, uint64_t code, bool is_reset);
struct conn_stream *conn_stream_find(struct conn *c, int64_t stream_id);
/* Upcalls that had to wait until ngtcp2 had read the whole packet. */
void conn_streams_after_read(struct conn *c);
void conn_streams_free(struct conn *c);

/* conn_frames.c */
/* Looks into everything that c decrypts from now on; NULL ends it. */
void conn_frames_watch(struct conn *c);
int conn_frames_decrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                        const ngtcp2_crypto_aead_ctx *aead_ctx, const uint8_t *ciphertext,
                        size_t ciphertext_len, const uint8_t *nonce, size_t nonce_len,
                        const uint8_t *aad, size_t aad_len);

/* conn_write.c */
/* The turn's flush of a living connection: writes what there is, sets the timer. */
void conn_write(struct conn *c);

/* conn_closing.c */
/* Takes over the connection ids of c and answers its late packets with these bytes (none if len is
 * 0) for the given time. */
void conn_closing_new(struct conn *c, const uint8_t *packet, size_t len,
                      const struct packet_address *local, const struct packet_address *remote,
                      uint64_t period_ns);
void conn_closing_free_all(struct conn_hub *hub);

#endif
