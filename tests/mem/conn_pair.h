/*
 * conn_pair - a server and a client with one connection between them, for tests of conn.
 *
 * Each side records every upcall and checks the promises of conn.h that always hold; the bytes of
 * each stream follow a pattern, which the receiver compares. Include cmocka before this.
 */
#ifndef TESTS_MEM_CONN_PAIR_H
#define TESTS_MEM_CONN_PAIR_H

#include "base/stats.h"
#include "base/timers.h"
#include "front/conn.h"
#include "support/world.h"

#define STREAMS_MAX    4096
#define PATTERN(id, i) ((uint8_t)(37 * (id) + 11 * (i) + ((i) >> 8)))

/* One side of a stream, as the test sees it. */
struct flow {
    struct peer *peer;
    int64_t id;
    bool exists, is_closed;
    /* out */
    uint64_t total, sent, acked;                             /* bytes of PATTERN to send */
    bool sends, stays_open, fin_sent, fin_acked, is_blocked; /* stays_open: without fin */
    uint8_t *bytes;                                          /* total of them */
    /* in */
    uint64_t received, unconsumed;
    bool fin_received, is_reset, is_stopped;
    uint64_t reset_code, stop_code;
};

/* One end of the one connection of most tests. */
struct peer {
    struct world *w;
    struct world_host *host;
    struct conn_hub *hub;
    struct conn *conn;
    bool established, closed, keep_credit;
    enum fault answer; /* what established returns */
    struct conn_end end;
    char end_text[128];
    struct flow *flows; /* STREAMS_MAX, ring by stream number */
    size_t rotor, slice_max;
    unsigned opened, finished, avail;
    /* datagrams */
    const uint8_t *dgram;
    size_t dgram_len, dgrams_to_send, dgrams_sent, dgrams_gone, dgrams_received, dgram_max;
    size_t dgram_last_len;
};

struct pair {
    struct world *w;
    struct peer server, client;
    bool (*done)(struct pair *);
};

extern const struct conn_config pair_config;

/* A world with a client about to connect. */
void pair_begin(struct pair *pair, uint64_t seed, const struct conn_config *server,
                const struct conn_config *client);
/* The same, with the handshake done. */
void pair_setup(struct pair *pair, uint64_t seed);
/* Closes what is open; asserts that nothing is left. */
void pair_free(struct pair *pair);
bool pair_run_until(struct pair *pair, bool (*done)(struct pair *), uint64_t limit_ns);
bool pair_established(struct pair *pair);
bool pair_closed(struct pair *pair);

struct flow *flow_of(struct peer *p, int64_t id);
/* NULL: the peer's limit is reached. */
struct flow *flow_open(struct peer *p, bool unidirectional);
/* total bytes of the pattern, then fin. */
void flow_send(struct flow *f, uint64_t total);
/* Gives back what keep_credit has kept. */
void flow_consume(struct flow *f);

#endif
