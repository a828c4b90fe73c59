/*
 * conn_accept - the first packet of a client: a connection, a Retry, or a refusal.
 *
 * A forged address costs its sender nothing, and a handshake costs us memory. So while many
 * handshakes are unfinished, a client first has to prove that it is where it says, by a token that
 * it gets in a Retry packet and brings back (RFC 9000, section 8.1.2), or that it was given in an
 * earlier connection (section 8.1.3); for that we remember nothing. Beyond a second bound everybody
 * is refused (intake), and so is a client that has, or does, too much already (base/clients).
 */
#include <assert.h>
#include <stdlib.h>

#include <ngtcp2/ngtcp2_crypto.h>

#include "base/hostport.h"
#include "base/clients.h"
#include "base/report.h"
#include "base/siphash.h"
#include "base/stats.h"
#include "front/conn_internal.h"

#define RETRY_VALID_NS     (60 * NS_PER_S)        /* a crowd may wait for its turn */
#define TOKEN_VALID_NS     (24 * 3600 * NS_PER_S) /* addresses are given to others */
#define FIRST_DCID_LEN_MIN 8                      /* RFC 9000, section 7.2 */

/* What a client's first packet brings besides its address. */
struct proof {
    enum { PROOF_NONE, PROOF_RETRY, PROOF_EARLIER, PROOF_FALSE } kind;
    ngtcp2_cid odcid; /* what it called us before the Retry */
};

static struct conn *server_new(struct conn_hub *hub, const ngtcp2_pkt_hd *hd,
                               const struct proof *proof, const struct packet *p)
{
    struct conn *c = conn_new(hub);
    if (!c)
        return NULL;
    ngtcp2_callbacks callbacks;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_cid scid = {.datalen = ENDPOINT_CID_LEN};
    ngtcp2_path path = {
        .local = {.addr = (ngtcp2_sockaddr *)&p->local.sa.any, .addrlen = p->local.len},
        .remote = {.addr = (ngtcp2_sockaddr *)&p->remote.sa.any, .addrlen = p->remote.len},
    };

    conn_fill_callbacks(&callbacks, true);
    conn_fill_settings(&settings, hub);
    conn_fill_params(&params, &hub->config);
    endpoint_make_cid(hub->endpoint, &c->peer, scid.data);
    params.original_dcid = proof->kind == PROOF_RETRY ? proof->odcid : hd->dcid;
    params.original_dcid_present = 1;
    if (proof->kind == PROOF_RETRY) {
        params.retry_scid = hd->dcid;
        params.retry_scid_present = 1;
    }
    if (proof->kind != PROOF_NONE) {
        settings.token = hd->token;
        settings.tokenlen = hd->tokenlen;
        settings.token_type =
            proof->kind == PROOF_RETRY ? NGTCP2_TOKEN_TYPE_RETRY : NGTCP2_TOKEN_TYPE_NEW_TOKEN;
    }
    params.stateless_reset_token_present = 1;
    endpoint_reset_token(hub->endpoint, scid.data, scid.datalen, params.stateless_reset_token);
    c->listener = p->listener;
    /* A ClientHello may take several packets, all under the id that the client made up. */
    endpoint_map(hub->endpoint, &c->peer, hd->dcid.data, hd->dcid.datalen);
    c->tls = tls_session_new(hub->config.tls, conn_tls_asks, c, NULL);
    if (!c->tls || ngtcp2_conn_server_new(&c->quic, &hd->scid, &scid, &path, hd->version,
                                          &callbacks, &settings, &params, NULL, c) != 0) {
        conn_discard(c);
        return NULL;
    }
    conn_adopt(c);
    return c;
}

static void answer(struct conn_hub *hub, const struct packet *p, const uint8_t *data,
                   ngtcp2_ssize len)
{
    if (len <= 0)
        return;
    struct packet out = {.data = data, .len = (size_t)len, .local = p->local, .remote = p->remote};
    endpoint_transmit(hub->endpoint, &out);
}

/* The first packet of a connection that is refused. A ClientHello may take several, and may be sent
 * again; each is answered, for an answer may be lost, but the connection is told and counted once.
 */
static bool is_refused_anew(struct conn_hub *hub, const ngtcp2_cid *dcid)
{
    uint64_t hash = siphash(hub->env->hash_key, dcid->data, dcid->datalen);
    for (size_t i = 0; i < CONN_REFUSED_REMEMBERED; i++)
        if (hub->refused[i] == hash)
            return false;
    hub->refused[hub->refused_next] = hash;
    hub->refused_next = (hub->refused_next + 1) % CONN_REFUSED_REMEMBERED;
    return true;
}

/* RFC 9000, section 5.2.2: at once, without a connection. */
static void refuse(struct conn_hub *hub, const ngtcp2_pkt_hd *hd, const struct packet *p,
                   uint64_t code, enum fault fault)
{
    uint8_t out[NGTCP2_MAX_UDP_PAYLOAD_SIZE];
    char address[HOSTPORT_TEXT_SIZE], local[HOSTPORT_TEXT_SIZE];

    hostport_print(address, &p->remote.sa.any);
    hostport_print(local, &p->local.sa.any);
    if (is_refused_anew(hub, &hd->dcid))
        REPORT(hub->env, INFO, "conn.refused", fault, log_text("remote", address),
               log_text("local", local), log_text("by", "us"), log_uint("code", code));
    answer(hub, p, out,
           ngtcp2_crypto_write_connection_close(out, sizeof(out), hd->version, &hd->scid, &hd->dcid,
                                                code, NULL, 0));
}

static void demand_proof(struct conn_hub *hub, const ngtcp2_pkt_hd *hd, const struct packet *p)
{
    const struct endpoint_config *settings = endpoint_settings(hub->endpoint);
    uint8_t out[NGTCP2_MAX_UDP_PAYLOAD_SIZE], token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2];
    ngtcp2_cid scid = {.datalen = ENDPOINT_CID_LEN};

    endpoint_choose_cid(hub->endpoint, scid.data);
    ngtcp2_ssize n = ngtcp2_crypto_generate_retry_token2(
        token, settings->token_key, sizeof(settings->token_key), hd->version, &p->remote.sa.any,
        p->remote.len, &scid, &hd->dcid, timers_now(hub->env->timers));
    if (n <= 0)
        return;
    hub->env->stats->retries_sent++;
    answer(hub, p, out,
           ngtcp2_crypto_write_retry(out, sizeof(out), hd->version, &hd->scid, &scid, &hd->dcid,
                                     token, (size_t)n));
}

void conn_submit_token(struct conn *c)
{
    const struct endpoint_config *settings = endpoint_settings(c->hub->endpoint);
    const ngtcp2_path *path = ngtcp2_conn_get_path(c->quic);
    uint8_t token[NGTCP2_CRYPTO_MAX_REGULAR_TOKENLEN];

    ngtcp2_ssize n = ngtcp2_crypto_generate_regular_token(
        token, settings->token_key, sizeof(settings->token_key), path->remote.addr,
        path->remote.addrlen, timers_now(c->hub->env->timers));
    if (n > 0)
        ngtcp2_conn_submit_new_token(c->quic, token, (size_t)n);
}

/* A token of a Retry must be right; one from an earlier connection, or of another server's, may be
 * stale and then is none (RFC 9000, section 8.1.3). */
static struct proof examine(const struct conn_hub *hub, const ngtcp2_pkt_hd *hd,
                            const struct packet *p)
{
    const uint8_t *key = endpoint_settings(hub->endpoint)->token_key;
    struct proof proof = {.kind = PROOF_NONE};
    uint64_t now = timers_now(hub->env->timers);

    if (hd->tokenlen == 0)
        return proof;
    if (hd->token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2)
        proof.kind = ngtcp2_crypto_verify_retry_token2(&proof.odcid, hd->token, hd->tokenlen, key,
                                                       ENDPOINT_TOKEN_KEY_LEN, hd->version,
                                                       &p->remote.sa.any, p->remote.len, &hd->dcid,
                                                       RETRY_VALID_NS, now) == 0
                         ? PROOF_RETRY
                         : PROOF_FALSE;
    else if (hd->token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_REGULAR &&
             ngtcp2_crypto_verify_regular_token(hd->token, hd->tokenlen, key,
                                                ENDPOINT_TOKEN_KEY_LEN, &p->remote.sa.any,
                                                p->remote.len, TOKEN_VALID_NS, now) == 0)
        proof.kind = PROOF_EARLIER;
    return proof;
}

enum fault conn_count_in(struct conn *c)
{
    struct clients *clients = c->hub->env->clients;
    enum fault fault = FAULT_NONE;
    if (clients && !c->client)
        c->client = clients_enter(clients, ngtcp2_conn_get_path(c->quic)->remote.addr,
                                  CLIENTS_CONNECTION, &fault);
    return fault;
}

void conn_count_out(struct conn *c)
{
    if (c->client)
        clients_leave(c->hub->env->clients, c->client, CLIENTS_CONNECTION);
    c->client = NULL;
}

static void begin(struct conn_hub *hub, const ngtcp2_pkt_hd *hd, const struct proof *proof,
                  const struct packet *p)
{
    struct conn *c = server_new(hub, hd, proof, p);
    if (!c) {
        refuse(hub, hd, p, NGTCP2_CONNECTION_REFUSED, FAULT_MEMORY_CONNECTION);
        return;
    }
    hub->env->stats->connections_accepted++;
    if (proof->kind != PROOF_NONE)
        conn_count_in(c); /* it was asked before */
    conn_packet_received(c, p);
}

void conn_accept(void *user, const struct packet *p, bool is_ours)
{
    struct conn_hub *hub = user;
    const struct endpoint_config *settings = endpoint_settings(hub->endpoint);
    uint64_t now = timers_now(hub->env->timers);
    ngtcp2_pkt_hd hd;

    /* ngtcp2 looks at the length of the id only where there is no token. */
    if (ngtcp2_accept(&hd, p->data, p->len) != 0 || hd.dcid.datalen < FIRST_DCID_LEN_MIN) {
        hub->env->stats->packets_dropped++;
        return;
    }
    struct proof proof = examine(hub, &hd, p);
    bool is_proven = proof.kind == PROOF_RETRY || proof.kind == PROOF_EARLIER;
    enum fault too_much =
        hub->env->clients ? clients_check(hub->env->clients, &p->remote.sa.any, CLIENTS_CONNECTION)
                          : FAULT_NONE;
    enum fault too_many = intake_check(&hub->intake, &settings->intake, p->listener, now);
    if (proof.kind == PROOF_FALSE)
        refuse(hub, &hd, p, NGTCP2_INVALID_TOKEN, FAULT_FALSE_PROOF);
    else if (is_ours && proof.kind != PROOF_RETRY) /* late for a connection that has ended */
        hub->env->stats->packets_dropped++;
    else if (hub->is_stopped)
        refuse(hub, &hd, p, NGTCP2_CONNECTION_REFUSED, FAULT_DRAINING);
    else if (!is_proven && (too_much != FAULT_NONE ||
                            intake_wants_proof(&hub->intake, &settings->intake, p->listener, now)))
        demand_proof(hub, &hd, p); /* whoever forges an address uses up nobody's share */
    else if (too_much != FAULT_NONE)
        refuse(hub, &hd, p, NGTCP2_CONNECTION_REFUSED, too_much);
    else if (too_many != FAULT_NONE)
        refuse(hub, &hd, p, NGTCP2_CONNECTION_REFUSED, too_many);
    else
        begin(hub, &hd, &proof, p);
}
