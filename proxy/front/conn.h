/*
 * conn - one QUIC connection: ngtcp2, its TLS session, its path and its timer.
 *
 * Knows streams by number only and gives every byte on as it comes. What to send it asks from above
 * (pull): at the end of each turn in which the connection was touched, conn_flush asks ops->pull
 * again and again for the next piece until there is none, or congestion or pacing says stop.
 *
 * Upcalls come from inside callbacks of ngtcp2 or from conn_flush. In all of them one may call any
 * function of this header: those that would write packets only record and touch. The user
 * pointer of a stream is whatever conn_stream_set_user gave, NULL before.
 *
 * Server and client share this file: conn_hub holds the connections of one endpoint, accepts new
 * ones as a server, and conn_connect opens one as a client.
 *
 * RFC 9000, 9001, 9002, 9221 (datagrams).
 */
#ifndef FRONT_CONN_H
#define FRONT_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/env.h"
#include "base/fault.h"
#include "base/hostport.h"

struct conn;
struct conn_hub;
struct budget;
struct endpoint;
struct tls_context;

/* Copied by conn_hub_new, and again by each connection when it begins. */
struct conn_config {
    struct tls_context *tls; /* credentials (server) or trust (client); outlives the hub */
    bool is_server;
    /* Windows of flow control that the peer begins with. */
    uint64_t max_data;        /* initial_max_data, bytes */
    uint64_t max_stream_data; /* initial_max_stream_data_*, all three kinds, bytes */
    /* Windows that these may grow to while the peer uses them up fast; smaller means never. */
    uint64_t max_data_limit, max_stream_data_limit;
    uint64_t
        memory_limit; /* bytes that one connection may hold and promise; 0 is no limit of its own */
    uint64_t max_streams_bidi; /* concurrent streams the peer may have open */
    uint64_t max_streams_uni;
    uint64_t max_datagram_frame_size; /* transport parameter; 0 turns datagrams off */
    uint64_t idle_timeout_ns;         /* max_idle_timeout; 0 is none */
    uint64_t keep_alive_ns; /* PING after this much silence; 0 is never. See conn_keep_alive */
    uint64_t handshake_timeout_ns;
};

/* How a connection ended. The text is valid during the upcall only. */
struct conn_end {
    enum fault
        fault;    /* FAULT_NONE: an orderly end, by us or by the peer with H3_NO_ERROR/NO_ERROR */
    bool by_peer; /* a CONNECTION_CLOSE came in */
    bool application; /* code is an application code (HTTP/3), not one of QUIC */
    uint64_t code;
    const char *text; /* what the peer or TLS said, "" if nothing */
};

#define CONN_SIZE_UNKNOWN UINT64_MAX

/* What to send next. Either a datagram or a piece of a stream. */
struct conn_piece {
    bool datagram;
    int64_t stream_id;
    struct iovec slices[16]; /* for a datagram: slices[0] is all of it */
    size_t count;
    bool fin;
    void *tag; /* the puller's own; handed back */
};

/* What became of a pulled piece. */
enum conn_taken {
    CONN_TAKEN,   /* len bytes are in a packet (for a stream maybe fewer than offered; for a
                   * datagram, all); with fin offered and len = all, the fin too */
    CONN_BLOCKED, /* the stream's flow control has no room: ask again after stream_unblocked */
    CONN_GONE,    /* the stream is closed, reset or unknown, or the datagram does not fit this
                   * path: do not offer it again */
    CONN_LATER,   /* no room in this turn: nothing is taken, not even a fin; offer it again */
};

struct conn_ops {
    /* Server: a client's first packet made a connection. Returns the user of its later upcalls. */
    void *(*accepted)(void *hub_user, struct conn *c);
    /* 1-RTT keys are there and streams may be opened (server: as early as 0.5-RTT). Returns a fault
     * to end it. */
    enum fault (*established)(void *user);
    /* The peer opened a stream. Comes before its first stream_received. */
    void (*stream_opened)(void *user, int64_t stream_id);
    /* Bytes in order, each once; valid only now. len may be 0 with fin. They count against the
     * peer's flow control until conn_stream_consumed. Returns a fault to end the connection. */
    enum fault (*stream_received)(void *user, int64_t stream_id, void *stream_user,
                                  const uint8_t *data, size_t len, bool fin);
    /* The oldest len unacknowledged bytes have been acknowledged, and with fin the stream's end. */
    void (*stream_acked)(void *user, int64_t stream_id, void *stream_user, size_t len, bool fin);
    /* RESET_STREAM came in: nothing more will be received. */
    void (*stream_reset)(void *user, int64_t stream_id, void *stream_user, uint64_t code);
    /* STOP_SENDING came in: our side has been reset with this code already. */
    void (*stream_stopped)(void *user, int64_t stream_id, void *stream_user, uint64_t code);
    /* A stream that was answered CONN_BLOCKED has room. */
    void (*stream_unblocked)(void *user, int64_t stream_id, void *stream_user);
    /* QUIC has finished with the stream in both directions; the last upcall for it. All that was
     * sent and not reset has been acknowledged. The stream's slot and bytes received but not
     * consumed are not given back to the peer by this: see conn_stream_consumed and
     * conn_stream_slot_free. */
    void (*stream_closed)(void *user, int64_t stream_id, void *stream_user);
    /* The peer raised its limit on streams of ours. */
    void (*streams_available)(void *user, bool unidirectional);
    void (*datagram_received)(void *user, const uint8_t *data, size_t len);
    /* conn_datagram_max() has changed. */
    void (*datagram_max_changed)(void *user, size_t max);
    /* Fills in what to send next. Returns false for nothing. */
    bool (*pull)(void *user, struct conn_piece *piece);
    /* Answers each successful pull, before the next. */
    void (*pulled)(void *user, const struct conn_piece *piece, enum conn_taken taken, size_t len);
    /* It is over; the last upcall, exactly once for each conn. No stream_closed come for the
     * streams still open. The conn is freed at the end of the turn. */
    void (*closed)(void *user, const struct conn_end *end);
};

/* Takes new connections from endpoint if config->is_server. endpoint outlives the hub. */
struct conn_hub *conn_hub_new(struct env *env, struct endpoint *endpoint,
                              const struct conn_config *config, const struct conn_ops *ops,
                              void *hub_user);
/* No connection may be alive: close them and wait for their closed. */
void conn_hub_free(struct conn_hub *hub);
/* Refuses new connections from now on. */
void conn_hub_stop(struct conn_hub *hub);
/* For the connections that begin from now on. tls and is_server stay what they are. */
void conn_hub_configure(struct conn_hub *hub, const struct conn_config *config);
/* Closes every connection with this HTTP/3 code. */
void conn_hub_close_all(struct conn_hub *hub, uint64_t code, const char *text);
size_t conn_hub_count(const struct conn_hub *hub);
/* Those that came in by a listener of this number (udp.h), and those of them whose end may have to
 * be told again. */
size_t conn_hub_count_of(const struct conn_hub *hub, unsigned listener);

/* Client: begins a handshake. server_name for SNI and verification. NULL if the local system
 * refuses. */
struct conn *conn_connect(struct conn_hub *hub, const struct sockaddr *remote, socklen_t remote_len,
                          const char *server_name, void *user);

/* Ends it with CONNECTION_CLOSE carrying an application code. closed() comes at the end of the
 * turn. */
void conn_close(struct conn *c, uint64_t code, const char *text);
/* Ends it because of a fault; the log line and counter are written here, once. code as in
 * conn_close. */
void conn_fail(struct conn *c, enum fault fault, uint64_t code, const char *text);
/* There may be something to pull. */
void conn_touch(struct conn *c);
/* PINGs after silence, while on (config.keep_alive_ns). */
void conn_keep_alive(struct conn *c, bool on);

/* Sends nothing for so long, unless the connection ends. */
void conn_hold(struct conn *c, uint64_t ns);

/* Opens a stream of ours. Returns false if the peer's limit is reached (streams_available comes
 * later). */
bool conn_stream_open(struct conn *c, bool unidirectional, int64_t *stream_id, void *stream_user);
void conn_stream_set_user(struct conn *c, int64_t stream_id, void *stream_user);
/* Sends RESET_STREAM; pieces of the stream are no longer pulled. Nothing happens if it is closed.
 */
void conn_stream_reset(struct conn *c, int64_t stream_id, uint64_t code);
/* Both sides know RESET_STREAM_AT (draft-ietf-quic-reliable-stream-reset). */
bool conn_has_reset_stream_at(const struct conn *c);
/* The same, but what is in packets already arrives before; it is asked for until acknowledged. */
void conn_stream_reset_at(struct conn *c, int64_t stream_id, uint64_t code);
/* Sends STOP_SENDING; what still comes in is dropped and credited by conn. */
void conn_stream_stop(struct conn *c, int64_t stream_id, uint64_t code);
/* The next hop has taken len bytes received: credits stream and connection. Works after the stream
 * has closed, too (connection credit only). */
void conn_stream_consumed(struct conn *c, int64_t stream_id, size_t len);
/* As long as it has not been asked for more, the next hop will take no more of what the peer sends
 * on this stream than offset bytes from its beginning. A window is granted beyond that, too, but
 * all streams together get no more than half of the connection's window so (and their first
 * windows): what is stuck on some streams does not hold up the others. Without a call there is no
 * such limit. */
void conn_stream_allow(struct conn *c, int64_t stream_id, uint64_t offset);
/* Grants the peer more than that, on all streams together; the caller pays for it. */
void conn_grant(struct conn *c, uint64_t bytes);
/* In stream_reset and stream_closed of a stream on which the peer sends: how many bytes it sent in
 * all, whether they arrived or not; CONN_SIZE_UNKNOWN if it has not said so. */
uint64_t conn_final_size(const struct conn *c);
/* The peer may open one more stream in place of this closed one. Call once per stream of the
 * peer's, after stream_closed. */
void conn_stream_slot_free(struct conn *c, int64_t stream_id);
/* The peer may have so many more open at once. */
void conn_more_streams(struct conn *c, bool unidirectional, uint64_t count);
/* True if the peer opened it. */
bool conn_stream_is_remote(const struct conn *c, int64_t stream_id);

/* Largest payload of a DATAGRAM frame that fits the path now; 0 if the peer takes none. */
size_t conn_datagram_max(const struct conn *c);
/* Probe timeout as ngtcp2 sees it, in nanoseconds. */
uint64_t conn_pto(const struct conn *c);

/* Smoothed round-trip time, in nanoseconds. */
uint64_t conn_rtt(const struct conn *c);
/* Pays for what is kept for this connection. Everything must be given back before closed() returns.
 */
struct budget *conn_memory(struct conn *c);

bool conn_is_server(const struct conn *c);
struct env *conn_env(const struct conn *c);
void conn_addresses(const struct conn *c, struct sockaddr_storage *local,
                    struct sockaddr_storage *remote);
/* A server's, from established() until the handshake is complete: whether the client may be Safari.
 */
bool conn_may_be_safari(const struct conn *c);
/* The peer's address now, for logs. */
void conn_remote_text(const struct conn *c, char to[HOSTPORT_TEXT_SIZE]);
/* TLS protocol version (0x0304) and cipher suite (IANA number). */
void conn_tls_info(const struct conn *c, uint16_t *version, uint16_t *cipher_suite);

#endif
