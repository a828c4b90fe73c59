/*
 * endpoint - the table of connection ids, and the answers that need no connection.
 *
 * Owns one entry per connection id; each is in the hash table and in its peer's list. Peers choose
 * ids, so the hash is keyed. Calls peers, the listener and ops->transmit.
 */
#include "front/endpoint.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include "base/hostport.h"
#include "base/report.h"
#include "base/siphash.h"
#include "base/stats.h"
#include "base/timers.h"
#include "front/tls.h"

#define uthash_fatal(msg) abort()
#include <uthash.h>

#define PREFIX_LEN       4 /* the bytes of an id that all workers share */
#define PREFIX_OF_SERVER 3 /* those that all runs share */
#define CID_LEN_MAX      NGTCP2_MAX_CIDLEN
#define RESETS_PER_S     100 /* a flood of stray packets earns no flood of answers */
#define RESET_LEN_MAX    42  /* enough to look like any short packet */
#define RESET_LEN_MIN    21  /* RFC 9000, section 10.3: 5 + 16 */
#define INITIAL_LEN_MIN  1200
#define LONG_HEADER      0x80
#define VERSION_RESERVED 0x1a2a3a4a /* RFC 9000, section 15: exercises version negotiation */

static const uint32_t versions[] = {NGTCP2_PROTO_VER_V2, NGTCP2_PROTO_VER_V1};
enum { VERSIONS = sizeof(versions) / sizeof(versions[0]) };

struct endpoint_cid {
    UT_hash_handle hh;
    struct endpoint_peer *peer;
    struct endpoint_cid *next; /* of the same peer */
    uint8_t len;
    bool is_token; /* a stateless reset token, which ends packets instead of beginning them */
    uint8_t bytes[CID_LEN_MAX];
};

struct endpoint {
    struct env *env;
    struct endpoint_config config;
    const struct endpoint_ops *ops;
    void *user;
    uint8_t prefix[PREFIX_LEN];
    struct endpoint_cid *cids, *tokens; /* tables */
    struct endpoint_cid *recent;        /* of cids, looked up last; or NULL */
    void (*accept)(void *user, const struct packet *p, bool is_ours);
    void *accept_user;
    uint64_t resets_since_ns;
    unsigned resets;
};

void endpoint_cid_prefix(const struct endpoint_config *config, uint8_t prefix[4])
{
    prefix[0] = ENDPOINT_CID_LEN - 1;
    prefix[1] = (uint8_t)(config->server_id >> 8);
    prefix[2] = (uint8_t)config->server_id;
    prefix[3] = config->generation;
}

struct endpoint *endpoint_new(struct env *env, const struct endpoint_config *config,
                              const struct endpoint_ops *ops, void *user)
{
    assert(config->workers >= 1 && config->workers <= ENDPOINT_MAX_WORKERS);
    assert(config->worker < config->workers);
    struct endpoint *e = calloc(1, sizeof(*e));
    if (!e)
        abort();
    e->env = env;
    e->config = *config;
    e->ops = ops;
    e->user = user;
    endpoint_cid_prefix(config, e->prefix);
    return e;
}

void endpoint_free(struct endpoint *e)
{
    if (!e)
        return;
    assert(!e->cids && !e->tokens);
    free(e);
}

void endpoint_listen(struct endpoint *e,
                     void (*accept)(void *user, const struct packet *p, bool is_ours), void *user)
{
    e->accept = accept;
    e->accept_user = user;
}

/* uthash keeps 32 bits of a hash; ids are chosen by strangers, hence the secret key. */
static unsigned hash_cid(const struct endpoint *e, const uint8_t *cid, size_t len)
{
    return (unsigned)siphash(e->env->hash_key, cid, len);
}

static struct endpoint_cid *find(const struct endpoint *e, const struct endpoint_cid *table,
                                 const uint8_t *cid, size_t len)
{
    struct endpoint_cid *entry;
    if (len == 0 || len > CID_LEN_MAX)
        return NULL;
    HASH_FIND_BYHASHVALUE(hh, table, cid, len, hash_cid(e, cid, len), entry);
    return entry;
}

void endpoint_peer_init(struct endpoint_peer *peer,
                        void (*received)(void *owner, const struct packet *p), void *owner)
{
    peer->received = received;
    peer->owner = owner;
    peer->cids = NULL;
}

/* Packets of one connection come in rows. */
static struct endpoint_cid *find_again(struct endpoint *e, const uint8_t *cid, size_t len)
{
    if (!e->recent || e->recent->len != len || memcmp(e->recent->bytes, cid, len) != 0)
        e->recent = find(e, e->cids, cid, len);
    return e->recent;
}

static bool map(struct endpoint *e, struct endpoint_cid **table, struct endpoint_peer *peer,
                const uint8_t *bytes, size_t len)
{
    assert(len >= 1 && len <= CID_LEN_MAX);
    struct endpoint_cid *entry = find(e, *table, bytes, len);
    if (entry)
        return entry->peer == peer;
    entry = calloc(1, sizeof(*entry));
    if (!entry)
        abort();
    memcpy(entry->bytes, bytes, len);
    entry->len = (uint8_t)len;
    entry->is_token = table == &e->tokens;
    entry->peer = peer;
    entry->next = peer->cids;
    peer->cids = entry;
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, *table, entry->bytes, entry->len, hash_cid(e, bytes, len),
                                entry);
    return true;
}

bool endpoint_map(struct endpoint *e, struct endpoint_peer *peer, const uint8_t *cid, size_t len)
{
    return map(e, &e->cids, peer, cid, len);
}

void endpoint_map_token(struct endpoint *e, struct endpoint_peer *peer,
                        const uint8_t token[ENDPOINT_RESET_TOKEN_LEN])
{
    map(e, &e->tokens, peer, token, ENDPOINT_RESET_TOKEN_LEN);
}

void endpoint_choose_cid(const struct endpoint *e, uint8_t cid[ENDPOINT_CID_LEN])
{
    memcpy(cid, e->prefix, PREFIX_LEN);
    cid[ENDPOINT_CID_WORKER] = e->config.worker;
    do
        tls_random(cid + ENDPOINT_CID_WORKER + 1, ENDPOINT_CID_LEN - ENDPOINT_CID_WORKER - 1);
    while (find(e, e->cids, cid, ENDPOINT_CID_LEN));
}

void endpoint_make_cid(struct endpoint *e, struct endpoint_peer *peer,
                       uint8_t cid[ENDPOINT_CID_LEN])
{
    endpoint_choose_cid(e, cid);
    endpoint_map(e, peer, cid, ENDPOINT_CID_LEN);
}

static void drop_entry(struct endpoint *e, struct endpoint_cid **at)
{
    struct endpoint_cid *entry = *at;
    *at = entry->next;
    if (e->recent == entry)
        e->recent = NULL;
    if (entry->is_token)
        HASH_DEL(e->tokens, entry);
    else
        HASH_DEL(e->cids, entry);
    free(entry);
}

static void unmap(struct endpoint *e, struct endpoint_peer *peer, bool is_token,
                  const uint8_t *bytes, size_t len)
{
    for (struct endpoint_cid **at = &peer->cids; *at; at = &(*at)->next)
        if ((*at)->is_token == is_token && (*at)->len == len &&
            memcmp((*at)->bytes, bytes, len) == 0) {
            drop_entry(e, at);
            return;
        }
}

void endpoint_unmap(struct endpoint *e, struct endpoint_peer *peer, const uint8_t *cid, size_t len)
{
    unmap(e, peer, false, cid, len);
}

void endpoint_unmap_token(struct endpoint *e, struct endpoint_peer *peer,
                          const uint8_t token[ENDPOINT_RESET_TOKEN_LEN])
{
    unmap(e, peer, true, token, ENDPOINT_RESET_TOKEN_LEN);
}

void endpoint_forget(struct endpoint *e, struct endpoint_peer *peer)
{
    while (peer->cids)
        drop_entry(e, &peer->cids);
}

void endpoint_hand_over(struct endpoint_peer *from, struct endpoint_peer *to)
{
    assert(!to->cids);
    for (struct endpoint_cid *entry = from->cids; entry; entry = entry->next)
        entry->peer = to;
    to->cids = from->cids;
    from->cids = NULL;
}

void endpoint_reset_token(const struct endpoint *e, const uint8_t *cid, size_t len,
                          uint8_t token[ENDPOINT_RESET_TOKEN_LEN])
{
    ngtcp2_cid id;
    ngtcp2_cid_init(&id, cid, len);
    if (ngtcp2_crypto_generate_stateless_reset_token(token, e->config.reset_key,
                                                     ENDPOINT_RESET_KEY_LEN, &id) != 0)
        abort();
}

void endpoint_transmit(struct endpoint *e, const struct packet *p)
{
    e->env->stats->packets_sent += packet_count(p);
    e->ops->transmit(e->user, p);
}

/* An answer to p, on the same path back. */
static void answer(struct endpoint *e, const struct packet *p, const uint8_t *data, size_t len)
{
    struct packet out = {.data = data, .len = len, .local = p->local, .remote = p->remote};
    endpoint_transmit(e, &out);
}

static bool is_spoken(uint32_t version)
{
    for (size_t i = 0; i < VERSIONS; i++)
        if (version == versions[i])
            return true;
    return false;
}

static void tell_version(struct endpoint *e, const struct packet *p, uint32_t version)
{
    char address[HOSTPORT_TEXT_SIZE], number[16];

    hostport_print(address, &p->remote.sa.any);
    snprintf(number, sizeof(number), "0x%08x", version);
    REPORT(e->env, INFO, "conn.refused", FAULT_QUIC_VERSION, log_text("remote", address),
           log_text("version", number));
}

/* RFC 9000, section 6.1. */
static void negotiate_version(struct endpoint *e, const struct packet *p,
                              const ngtcp2_version_cid *vc)
{
    uint32_t offered[1 + VERSIONS] = {VERSION_RESERVED};
    uint8_t out[1 + 4 + 2 * 256 + sizeof(offered)], random;

    if (!e->accept || p->len < INITIAL_LEN_MIN) {
        e->env->stats->packets_dropped++;
        return;
    }
    memcpy(offered + 1, versions, sizeof(versions));
    tls_random(&random, 1);
    ngtcp2_ssize n =
        ngtcp2_pkt_write_version_negotiation(out, sizeof(out), random, vc->scid, vc->scidlen,
                                             vc->dcid, vc->dcidlen, offered, 1 + VERSIONS);
    if (n <= 0)
        return;
    tell_version(e, p, vc->version);
    answer(e, p, out, (size_t)n);
}

static bool may_reset(struct endpoint *e)
{
    uint64_t now = timers_now(e->env->timers);
    if (now - e->resets_since_ns >= NS_PER_S) {
        e->resets_since_ns = now;
        e->resets = 0;
    }
    return e->resets++ < RESETS_PER_S;
}

/* RFC 9000, section 10.3: tells a peer whose connection nobody remembers that it is gone. Always
 * shorter than the packet that asks for it, so that two endpoints cannot keep each other busy. */
static void reset_stateless(struct endpoint *e, const struct packet *p,
                            const ngtcp2_version_cid *vc)
{
    uint8_t token[ENDPOINT_RESET_TOKEN_LEN], random[RESET_LEN_MAX], out[RESET_LEN_MAX];

    /* An id of another server's is its business: whoever shares our key must not be made to end
     * each other's connections (RFC 9000, section 21.11). */
    if (p->len <= RESET_LEN_MIN || memcmp(vc->dcid, e->prefix, PREFIX_OF_SERVER) != 0 ||
        !may_reset(e))
        return;
    size_t len = p->len - 1 < RESET_LEN_MAX ? p->len - 1 : RESET_LEN_MAX;
    endpoint_reset_token(e, vc->dcid, vc->dcidlen, token);
    tls_random(random, len - sizeof(token));
    ngtcp2_ssize n = ngtcp2_pkt_write_stateless_reset(out, len, token, random, len - sizeof(token));
    if (n <= 0)
        return;
    e->env->stats->resets_sent++;
    answer(e, p, out, (size_t)n);
}

/* A stateless reset of the peer's: its connection id is random, only its last bytes tell (RFC 9000,
 * section 10.3.1). */
static bool take_reset(struct endpoint *e, const struct packet *p)
{
    if (p->len < RESET_LEN_MIN)
        return false;
    struct endpoint_cid *entry =
        find(e, e->tokens, p->data + p->len - ENDPOINT_RESET_TOKEN_LEN, ENDPOINT_RESET_TOKEN_LEN);
    if (!entry)
        return false;
    entry->peer->received(entry->peer->owner, p);
    return true;
}

/* True if one of us made this id: a worker of this run. */
static bool is_ours(const struct endpoint *e, const ngtcp2_version_cid *vc)
{
    return vc->dcidlen == ENDPOINT_CID_LEN && memcmp(vc->dcid, e->prefix, PREFIX_LEN) == 0 &&
           vc->dcid[ENDPOINT_CID_WORKER] < e->config.workers;
}

static void receive_stray(struct endpoint *e, const struct packet *p, const ngtcp2_version_cid *vc)
{
    bool ours = is_ours(e, vc);
    if (ours && vc->dcid[ENDPOINT_CID_WORKER] != e->config.worker && e->ops->misdirected) {
        e->env->stats->packets_forwarded++;
        e->ops->misdirected(e->user, vc->dcid[ENDPOINT_CID_WORKER], p);
        return;
    }
    if ((p->data[0] & LONG_HEADER) && e->accept) {
        e->accept(e->accept_user, p, ours);
        return;
    }
    if (!(p->data[0] & LONG_HEADER) && take_reset(e, p))
        return;
    e->env->stats->packets_dropped++;
    if (!(p->data[0] & LONG_HEADER))
        reset_stateless(e, p, vc);
}

static void receive_one(struct endpoint *e, const struct packet *p)
{
    ngtcp2_version_cid vc;

    e->env->stats->packets_received++;
    int rv = ngtcp2_pkt_decode_version_cid(&vc, p->data, p->len, ENDPOINT_CID_LEN);
    if (rv != 0 && rv != NGTCP2_ERR_VERSION_NEGOTIATION) {
        e->env->stats->packets_dropped++;
        return;
    }
    struct endpoint_cid *entry = find_again(e, vc.dcid, vc.dcidlen);
    if (entry) {
        entry->peer->received(entry->peer->owner, p);
        return;
    }
    if (p->data[0] & LONG_HEADER) {
        if (vc.version == 0) { /* somebody else's version negotiation; never answered */
            e->env->stats->packets_dropped++;
            return;
        }
        if (!is_spoken(vc.version)) {
            negotiate_version(e, p, &vc);
            return;
        }
    }
    receive_stray(e, p, &vc);
}

void endpoint_receive(struct endpoint *e, const struct packet *p)
{
    struct packet one = *p;
    size_t step = p->segment_size ? p->segment_size : p->len;

    one.segment_size = 0;
    for (size_t at = 0; at < p->len; at += step) {
        one.data = p->data + at;
        one.len = p->len - at < step ? p->len - at : step;
        receive_one(e, &one);
    }
}

void endpoint_set_intake(struct endpoint *e, const struct intake_limits *limits)
{
    e->config.intake = *limits;
}

const struct endpoint_config *endpoint_settings(const struct endpoint *e)
{
    return &e->config;
}

const uint32_t *endpoint_versions(size_t *count)
{
    *count = VERSIONS;
    return versions;
}

const char *endpoint_library(void)
{
    return ngtcp2_version(0)->version_str;
}
