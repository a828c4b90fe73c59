/*
 * conn_accept - the first packet of a client: a connection, a Retry, or a refusal.
 *
 * A forged address costs its sender nothing, and a handshake costs us memory. So while many
 * handshakes are unfinished, a client first has to prove that it is where it says, by a token that
 * it gets in a Retry packet and brings back (RFC 9000, section 8.1.2); for that we remember
 * nothing. Beyond a second bound everybody is refused.
 */
#include <assert.h>
#include <stdlib.h>

#include <ngtcp2/ngtcp2_crypto.h>

#include "base/stats.h"
#include "front/conn_internal.h"

#define HANDSHAKES_UNPROVEN 128  /* this many may be under way without a proof of address */
#define HANDSHAKES_MAX      4096 /* and this many with it */
#define TOKEN_VALID_NS      (60 * NS_PER_S) /* a crowd may wait for its turn */
#define FIRST_DCID_LEN_MIN  8               /* RFC 9000, section 7.2 */

/* odcid: what the client called us first, if a Retry lies between then and now; NULL if not. */
static struct conn *server_new(struct conn_hub *hub, const ngtcp2_pkt_hd *hd,
                               const ngtcp2_cid *odcid, const struct packet *p)
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
    params.original_dcid = odcid ? *odcid : hd->dcid;
    params.original_dcid_present = 1;
    if (odcid) {
        params.retry_scid = hd->dcid;
        params.retry_scid_present = 1;
        settings.token = hd->token;
        settings.tokenlen = hd->tokenlen;
        settings.token_type = NGTCP2_TOKEN_TYPE_RETRY;
    }
    params.stateless_reset_token_present = 1;
    endpoint_reset_token(hub->endpoint, scid.data, scid.datalen, params.stateless_reset_token);
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

/* RFC 9000, section 5.2.2: at once, without a connection. */
static void refuse(struct conn_hub *hub, const ngtcp2_pkt_hd *hd, const struct packet *p,
                   uint64_t code)
{
    uint8_t out[NGTCP2_MAX_UDP_PAYLOAD_SIZE];
    answer(hub, p, out,
           ngtcp2_crypto_write_connection_close(out, sizeof(out), hd->version, &hd->scid, &hd->dcid,
                                                code, NULL, 0));
}

static void demand_proof(struct conn_hub *hub, const ngtcp2_pkt_hd *hd, const struct packet *p)
{
    uint8_t out[NGTCP2_MAX_UDP_PAYLOAD_SIZE], token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2];
    ngtcp2_cid scid = {.datalen = ENDPOINT_CID_LEN};

    endpoint_choose_cid(hub->endpoint, scid.data);
    ngtcp2_ssize n = ngtcp2_crypto_generate_retry_token2(
        token, hub->retry_key, sizeof(hub->retry_key), hd->version, &p->remote.sa.any,
        p->remote.len, &scid, &hd->dcid, timers_now(hub->env->timers));
    if (n > 0)
        answer(hub, p, out,
               ngtcp2_crypto_write_retry(out, sizeof(out), hd->version, &hd->scid, &scid, &hd->dcid,
                                         token, (size_t)n));
}

/* Returns whether the packet carries a token of demand_proof's, whatever it is worth. */
static bool has_token(const ngtcp2_pkt_hd *hd)
{
    return hd->tokenlen && hd->token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2;
}

static bool is_proof(const struct conn_hub *hub, const ngtcp2_pkt_hd *hd, const struct packet *p,
                     ngtcp2_cid *odcid)
{
    return ngtcp2_crypto_verify_retry_token2(odcid, hd->token, hd->tokenlen, hub->retry_key,
                                             sizeof(hub->retry_key), hd->version, &p->remote.sa.any,
                                             p->remote.len, &hd->dcid, TOKEN_VALID_NS,
                                             timers_now(hub->env->timers)) == 0;
}

static void begin(struct conn_hub *hub, const ngtcp2_pkt_hd *hd, const ngtcp2_cid *odcid,
                  const struct packet *p)
{
    struct conn *c = server_new(hub, hd, odcid, p);
    if (!c) {
        refuse(hub, hd, p, NGTCP2_CONNECTION_REFUSED);
        return;
    }
    hub->env->stats->connections_accepted++;
    conn_packet_received(c, p);
}

void conn_accept(void *user, const struct packet *p, bool is_ours)
{
    struct conn_hub *hub = user;
    ngtcp2_pkt_hd hd;
    ngtcp2_cid odcid;

    /* ngtcp2 looks at the length of the id only where there is no token. */
    if (ngtcp2_accept(&hd, p->data, p->len) != 0 || hd.dcid.datalen < FIRST_DCID_LEN_MIN) {
        hub->env->stats->packets_dropped++;
        return;
    }
    if (has_token(&hd)) {
        if (!is_proof(hub, &hd, p, &odcid))
            refuse(hub, &hd, p, NGTCP2_INVALID_TOKEN);
        else if (hub->is_stopped || hub->handshaking >= HANDSHAKES_MAX)
            refuse(hub, &hd, p, NGTCP2_CONNECTION_REFUSED);
        else
            begin(hub, &hd, &odcid, p);
    } else if (is_ours) { /* late for a connection that has ended */
        hub->env->stats->packets_dropped++;
    } else if (hub->is_stopped) {
        refuse(hub, &hd, p, NGTCP2_CONNECTION_REFUSED);
    } else if (hub->handshaking >= HANDSHAKES_UNPROVEN) {
        demand_proof(hub, &hd, p);
    } else {
        begin(hub, &hd, NULL, p);
    }
}
