/*
 * raw - a client that puts any bytes on the streams of a QUIC connection to a pair's server.
 *
 * For what no well-behaved client does: streams that end inside their header, HTTP/3 spelled by
 * hand. Streams are remembered for the life of the raw.
 */
#ifndef TESTS_MEM_RAW_H
#define TESTS_MEM_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "front/conn.h"
#include "mem/pair.h"

#define RAW_STREAM_MAX  16384 /* bytes, each way */
#define RAW_STREAMS_MAX 4096

struct raw_stream {
    struct raw *raw;
    int64_t id;
    uint8_t *out;
    size_t out_len, sent;
    bool fin, fin_sent;
    uint8_t *in;
    size_t in_len;
    bool withholds;  /* gives no credit for what comes in */
    size_t withheld; /* bytes */
    bool in_fin, is_reset, is_stopped, is_closed;
    uint64_t reset_code, stop_code;
    int mark; /* the test's own */
};

struct raw {
    struct world *world;
    struct pair *pair; /* of raw_new */
    struct world_host *host;
    struct conn_hub *hub;
    struct conn *conn;
    bool established, closed;
    uint64_t close_code;
    size_t slots_bidi, slots_uni; /* how often the limit on streams grew */
    struct raw_stream *streams[RAW_STREAMS_MAX];
    size_t count;
    struct raw_stream *control, *encoder;
};

/* Connects; the handshake is done when this returns. */
struct raw *raw_new(struct pair *p);
/* The same with so much credit for what the server sends on a stream. */
struct raw *raw_new_narrow(struct pair *p, uint64_t stream_window);
/* Begins to connect to any server. */
struct raw *raw_begin(struct world *w, struct world_host *server);
/* Closes the connection if it is open. Before pair_free. */
void raw_free(struct raw *r);
/* The same for one that has closed. */
void raw_bury(struct raw *r);
/* Runs for a while, so that all packets on their way arrive and are answered. */
void raw_settle(struct raw *r);

/* NULL if the server's limit is reached. */
struct raw_stream *raw_open(struct raw *r, bool unidirectional);
/* hex is "41 00 ..."; goes out at the next settle. */
void raw_write(struct raw_stream *st, const char *hex);
void raw_write_bytes(struct raw_stream *st, const void *data, size_t len);
void raw_end(struct raw_stream *st);
void raw_reset(struct raw_stream *st, uint64_t code);
void raw_stop(struct raw_stream *st, uint64_t code);
/* Gives the credit that was withheld, and withholds no more. */
void raw_relent(struct raw_stream *st);

/* Control stream with the SETTINGS of a WebTransport client, QPACK encoder and decoder. False if
 * the connection is about to end. */
bool raw_hello(struct raw *r);
/* The HEADERS frame of an extended CONNECT; returns its length. */
size_t raw_connect_frame(uint8_t *to, size_t size);
/* Asks for a session and waits for the answer. */
struct raw_stream *raw_session(struct raw *r);

#endif
