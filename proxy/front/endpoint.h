/*
 * endpoint - which connection a UDP payload belongs to.
 *
 * Holds the table of connection ids of one worker, and makes the ids. Answers by itself what needs
 * no connection: unknown versions (version negotiation) and packets of connections that nobody
 * remembers (stateless reset, rate-limited). Knows connections only as peers, and the network only
 * as a function to transmit.
 *
 * A connection id of ours, 16 bytes:
 *
 *      0        1   2       3            4        5 ... 15
 *      length   server id   generation   worker   random
 *
 * The first byte is as QUIC-LB has it (configuration 0, length in the low five bits), so that a
 * balancer can route by the server id. The generation tells a later run of the program from this
 * one; the first four bytes are the same for all workers of one run. Fixed for all time.
 *
 * RFC 9000, sections 5.1, 6, 10.3; RFC 9369 (version 2).
 */
#ifndef FRONT_ENDPOINT_H
#define FRONT_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "front/intake.h"
#include "front/packet.h"

#define ENDPOINT_CID_LEN         16
#define ENDPOINT_CID_WORKER      4 /* offset of the worker */
#define ENDPOINT_RESET_KEY_LEN   32
#define ENDPOINT_RESET_TOKEN_LEN 16
#define ENDPOINT_TOKEN_KEY_LEN   32
#define ENDPOINT_MAX_WORKERS     256

struct endpoint;
struct endpoint_cid;

struct endpoint_config {
    uint16_t server_id;
    uint8_t generation;
    uint8_t worker;
    unsigned workers; /* 1 to ENDPOINT_MAX_WORKERS */
    /* The same for all workers of a server. */
    uint8_t
        reset_key[ENDPOINT_RESET_KEY_LEN]; /* and, to end what an earlier run began, of all runs */
    uint8_t
        token_key[ENDPOINT_TOKEN_KEY_LEN]; /* seals the tokens by which clients prove addresses */
    struct intake_limits intake;
};

/* Given by whoever carries the packets. */
struct endpoint_ops {
    void (*transmit)(void *user, const struct packet *p);
    /* A single payload whose connection belongs to another worker. May be NULL: dropped. */
    void (*misdirected)(void *user, unsigned worker, const struct packet *p);
};

/* A connection, seen from here. Part of it; in place until endpoint_forget. */
struct endpoint_peer {
    void (*received)(void *owner, const struct packet *p); /* one payload */
    void *owner;
    struct endpoint_cid *cids; /* for endpoint.c only */
};

/* The first four bytes of every id of this run. */
void endpoint_cid_prefix(const struct endpoint_config *config, uint8_t prefix[4]);

/* config is copied. ops and env outlive it. */
struct endpoint *endpoint_new(struct env *env, const struct endpoint_config *config,
                              const struct endpoint_ops *ops, void *user);
/* No peer may be known any more. */
void endpoint_free(struct endpoint *e);

/* A server listens: accept is given each long-header packet of a version of ours that belongs to
 * nobody. is_ours tells that it names an id that this worker made: late, or the answer to a Retry.
 * At most one listener; NULL ends it. */
void endpoint_listen(struct endpoint *e,
                     void (*accept)(void *user, const struct packet *p, bool is_ours), void *user);

/* A packet came in, of one or more segments. */
void endpoint_receive(struct endpoint *e, const struct packet *p);
/* Sends, and counts. */
void endpoint_transmit(struct endpoint *e, const struct packet *p);

void endpoint_peer_init(struct endpoint_peer *peer,
                        void (*received)(void *owner, const struct packet *p), void *owner);
/* A fresh id of ours that belongs to nobody. */
void endpoint_choose_cid(const struct endpoint *e, uint8_t cid[ENDPOINT_CID_LEN]);
/* Makes a fresh id of ours and gives its packets to peer. */
void endpoint_make_cid(struct endpoint *e, struct endpoint_peer *peer,
                       uint8_t cid[ENDPOINT_CID_LEN]);
/* Gives packets with this id, which somebody else chose, to peer. Returns false if another peer
 * has it. len is at most 20. */
bool endpoint_map(struct endpoint *e, struct endpoint_peer *peer, const uint8_t *cid, size_t len);
void endpoint_unmap(struct endpoint *e, struct endpoint_peer *peer, const uint8_t *cid, size_t len);
/* A token of the peer's: a packet that ends with it takes back the connection. */
void endpoint_map_token(struct endpoint *e, struct endpoint_peer *peer,
                        const uint8_t token[ENDPOINT_RESET_TOKEN_LEN]);
void endpoint_unmap_token(struct endpoint *e, struct endpoint_peer *peer,
                          const uint8_t token[ENDPOINT_RESET_TOKEN_LEN]);
/* Gives all ids of from to to, which has none. */
void endpoint_hand_over(struct endpoint_peer *from, struct endpoint_peer *to);
/* Unmaps all ids and tokens of peer. */
void endpoint_forget(struct endpoint *e, struct endpoint_peer *peer);

/* The token that takes back a connection id of ours, RFC 9000 section 10.3.2. */
void endpoint_reset_token(const struct endpoint *e, const uint8_t *cid, size_t len,
                          uint8_t token[ENDPOINT_RESET_TOKEN_LEN]);

/* For the connections that begin from now on. */
void endpoint_set_intake(struct endpoint *e, const struct intake_limits *limits);
const struct endpoint_config *endpoint_settings(const struct endpoint *e);

/* The versions of QUIC that we speak, the best first. */
const uint32_t *endpoint_versions(size_t *count);

/* The version of ngtcp2 at run time. */
const char *endpoint_library(void);

#endif
