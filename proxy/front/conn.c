/*
 * conn - the life of a QUIC connection: made, fed with packets and time, ended.
 *
 * A hub owns the connections of one endpoint. A connection owns its ngtcp2 object, its TLS
 * session, its timer and its ids at the endpoint. Whatever happens to it touches it; the flush at
 * the end of the turn then writes (conn_write.c) or, if its end has begun, ends it:
 * CONNECTION_CLOSE, the log line, closed() upward, and the ids pass to conn_closing.c.
 *
 * Callbacks of ngtcp2 come here, too; they record or tell upward, but write nothing.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <ngtcp2/ngtcp2_crypto.h>

#include "base/stats.h"
#include "front/conn_internal.h"

#define TLS_UNEXPECTED_MESSAGE 10
#define CLIENT_DCID_LEN        18
/* The most that ngtcp2 takes. It counts one too many while a client moves twice at once, and ends
 * the connection of a client that has given us as many as we take. */
#define ACTIVE_CID_LIMIT        8
#define DATAGRAM_FRAME_OVERHEAD 3            /* type and length of a DATAGRAM frame */
#define SHORT_HEADER_OVERHEAD   (1 + 4 + 16) /* flags, packet number, AEAD tag */

/* --- small things --- */

void conn_touch(struct conn *c)
{
    if (!c->is_dead)
        turn_touch(c->hub->env->turn, &c->flush);
}

bool conn_is_server(const struct conn *c)
{
    return c->hub->config.is_server;
}

struct env *conn_env(const struct conn *c)
{
    return c->hub->env;
}

uint64_t conn_pto(const struct conn *c)
{
    return ngtcp2_conn_get_pto(c->quic);
}

uint64_t conn_rtt(const struct conn *c)
{
    ngtcp2_conn_info info;
    ngtcp2_conn_get_conn_info(c->quic, &info);
    return info.smoothed_rtt;
}

struct budget *conn_memory(struct conn *c)
{
    return &c->memory;
}

void conn_remote_text(const struct conn *c, char to[HOSTPORT_TEXT_SIZE])
{
    hostport_print(to, ngtcp2_conn_get_path(c->quic)->remote.addr);
}

void conn_addresses(const struct conn *c, struct sockaddr_storage *local,
                    struct sockaddr_storage *remote)
{
    const ngtcp2_path *path = ngtcp2_conn_get_path(c->quic);
    memset(local, 0, sizeof(*local));
    memset(remote, 0, sizeof(*remote));
    memcpy(local, path->local.addr, path->local.addrlen);
    memcpy(remote, path->remote.addr, path->remote.addrlen);
}

void conn_tls_info(const struct conn *c, uint16_t *version, uint16_t *cipher_suite)
{
    if (c->tls) {
        tls_session_info(c->tls, version, cipher_suite);
        return;
    }
    *version = c->tls_version;
    *cipher_suite = c->cipher_suite;
}

bool conn_may_be_safari(const struct conn *c)
{
    return c->tls && tls_session_may_be_safari(c->tls);
}

void conn_hold(struct conn *c, uint64_t ns)
{
    c->held_until_ns = timers_now(c->hub->env->timers) + ns;
    conn_touch(c);
}

void conn_keep_alive(struct conn *c, bool on)
{
    uint64_t ns = c->config.keep_alive_ns;
    if (c->ending)
        return;
    ngtcp2_conn_set_keep_alive_timeout(c->quic, on && ns ? ns : UINT64_MAX);
    conn_touch(c); /* the timer changes */
}

size_t conn_datagram_max(const struct conn *c)
{
    return c->datagram_max;
}

/* What fits a DATAGRAM frame alone in a packet of the path's present size, and what the peer
 * takes (RFC 9221, section 3: its limit includes type and length). */
static size_t compute_datagram_max(const struct conn *c)
{
    const ngtcp2_transport_params *peer = ngtcp2_conn_get_remote_transport_params(c->quic);
    size_t path = c->is_unprobed ? NGTCP2_MAX_UDP_PAYLOAD_SIZE
                                 : ngtcp2_conn_get_path_max_tx_udp_payload_size(c->quic);
    size_t overhead = SHORT_HEADER_OVERHEAD + ngtcp2_conn_get_dcid(c->quic)->datalen;

    if (!peer || peer->max_datagram_frame_size <= DATAGRAM_FRAME_OVERHEAD)
        return 0;
    size_t frame = path - overhead;
    if (peer->max_datagram_frame_size < frame)
        frame = (size_t)peer->max_datagram_frame_size;
    return frame - DATAGRAM_FRAME_OVERHEAD;
}

static void update_datagram_max(struct conn *c)
{
    size_t max = compute_datagram_max(c);
    if (c->ending || !c->established || max == c->datagram_max)
        return;
    c->datagram_max = max;
    c->hub->ops->datagram_max_changed(c->user, max);
}

size_t conn_payload_max(const struct conn *c)
{
    if (c->is_unprobed)
        return NGTCP2_MAX_UDP_PAYLOAD_SIZE;
    /* Not the path's size: a probe for a larger one must fit. */
    return ngtcp2_conn_get_max_tx_udp_payload_size(c->quic);
}

void conn_path_to_packet(const struct conn *c, const ngtcp2_path *path, struct packet *p)
{
    packet_address_set(&p->remote, path->remote.addr, path->remote.addrlen);
    if (conn_is_server(c))
        packet_address_set(&p->local, path->local.addr, path->local.addrlen);
    else
        p->local.len = 0; /* a client's system chooses */
}

/* --- turns, packets, time --- */

/* After the handshake a server's TLS has nothing more to say (its ticket lies in ngtcp2 already),
 * and a client nothing that we would hear. It is a fifth of an idle connection's memory. */
static void free_tls(struct conn *c)
{
    conn_tls_info(c, &c->tls_version, &c->cipher_suite);
    ngtcp2_conn_set_tls_native_handle(c->quic, NULL);
    tls_session_free(c->tls);
    c->tls = NULL;
}

static void flush(void *owner)
{
    struct conn *c = owner;
    if (c->is_secured && c->tls && conn_is_server(c))
        free_tls(c);
    if (!c->ending)
        conn_write(c);
    if (c->ending && !c->is_dead)
        conn_finish(c);
    else if (!c->ending)
        update_datagram_max(c);
}

static void timer_fired(void *owner)
{
    struct conn *c = owner;
    int rv = ngtcp2_conn_handle_expiry(c->quic, timers_now(c->hub->env->timers));
    if (rv != 0)
        conn_end_by_error(c, rv);
    conn_touch(c);
}

/* A client that has moved to another address comes another way, which may be narrower (RFC 9000,
 * section 14.2). ngtcp2 looks for its size only where the client took a new connection id; without
 * one it goes on with the old path's, and then what every path takes has to do. */
static void follow(struct conn *c, const struct packet_address *before)
{
    const ngtcp2_path *path = ngtcp2_conn_get_path(c->quic);
    struct packet_address now;

    packet_address_set(&now, path->remote.addr, path->remote.addrlen);
    if (now.len == before->len && memcmp(&now.sa, &before->sa, now.len) == 0)
        return;
    c->hub->env->stats->paths_changed++;
    if (!packet_address_is_same_host(before, &now))
        c->is_unprobed =
            ngtcp2_conn_get_path_max_tx_udp_payload_size(c->quic) > NGTCP2_MAX_UDP_PAYLOAD_SIZE;
}

void conn_packet_received(void *owner, const struct packet *p)
{
    struct conn *c = owner;
    struct packet_address before;
    const ngtcp2_path *now = ngtcp2_conn_get_path(c->quic);
    ngtcp2_pkt_info info = {.ecn = p->ecn};
    ngtcp2_path path = {
        .local = {.addr = (ngtcp2_sockaddr *)&p->local.sa.any, .addrlen = p->local.len},
        .remote = {.addr = (ngtcp2_sockaddr *)&p->remote.sa.any, .addrlen = p->remote.len},
    };

    if (c->ending)
        return;
    if (!conn_is_server(c))
        path.local = now->local; /* whatever address its system sends from, it does not move */
    packet_address_set(&before, now->remote.addr, now->remote.addrlen);
    c->hub->note_count = 0;
    conn_frames_watch(c);
    int rv = ngtcp2_conn_read_pkt(c->quic, &path, &info, p->data, p->len,
                                  timers_now(c->hub->env->timers));
    conn_frames_watch(NULL);
    if (rv != 0)
        conn_end_by_error(c, rv);
    else
        conn_streams_after_read(c);
    follow(c, &before);
    conn_touch(c);
}

/* --- callbacks of ngtcp2 --- */

static void establish(struct conn *c)
{
    struct conn_hub *hub = c->hub;

    if (c->established || c->ending)
        return;
    if (!tls_session_is_h3(c->tls)) { /* RFC 9114, section 3.1; a client may offer no ALPN at all */
        conn_end_by_alert(c, TLS_NO_APPLICATION_PROTOCOL);
        return;
    }
    if (!c->has_user) {
        c->user = hub->ops->accepted(hub->user, c);
        c->has_user = true;
    }
    c->established = true;
    c->datagram_max = compute_datagram_max(c);
    if (c->ending)
        return;
    enum fault fault = hub->ops->established(c->user);
    if (fault != FAULT_NONE)
        conn_end_by_upcall(c, fault);
}

/* A server may send as soon as it has the key, before the client has proved to be there. */
static int tx_key_installed(ngtcp2_conn *quic, ngtcp2_encryption_level level, void *user)
{
    struct conn *c = user;
    (void)quic;
    if (level == NGTCP2_ENCRYPTION_LEVEL_1RTT && conn_is_server(c))
        establish(c);
    return conn_callback_result(c);
}

static int handshake_completed(ngtcp2_conn *quic, void *user)
{
    struct conn *c = user;
    (void)quic;
    c->hub->env->stats->handshakes_completed++;
    c->hub->env->stats->handshakes_resumed += tls_session_is_resumed(c->tls);
    c->is_secured = true;
    if (conn_is_server(c)) {
        intake_finish_handshake(&c->hub->intake, c->listener);
        enum fault too_much = conn_count_in(c);
        if (too_much != FAULT_NONE) {
            conn_fail(c, too_much, 0x107 /* H3_EXCESSIVE_LOAD */, fault_sentence(too_much));
            return conn_callback_result(c);
        }
        conn_submit_token(c);
    }
    establish(c);
    return conn_callback_result(c);
}

static int crypto_received(ngtcp2_conn *quic, ngtcp2_encryption_level level, uint64_t offset,
                           const uint8_t *data, size_t len, void *user)
{
    struct conn *c = user;
    if (c->tls)
        return ngtcp2_crypto_recv_crypto_data_cb(quic, level, offset, data, len, user);
    ngtcp2_conn_set_tls_alert(quic, TLS_UNEXPECTED_MESSAGE);
    return NGTCP2_ERR_CRYPTO;
}

static int datagram_received(ngtcp2_conn *quic, uint32_t flags, const uint8_t *data, size_t len,
                             void *user)
{
    struct conn *c = user;
    (void)quic;
    (void)flags;
    if (c->established && !c->ending)
        c->hub->ops->datagram_received(c->user, data, len);
    return conn_callback_result(c);
}

static void random_bytes(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx)
{
    (void)ctx;
    tls_random(dest, len);
}

static int new_connection_id(ngtcp2_conn *quic, ngtcp2_cid *cid, uint8_t *token, size_t len,
                             void *user)
{
    struct conn *c = user;
    (void)quic;
    assert(len == ENDPOINT_CID_LEN);
    endpoint_make_cid(c->hub->endpoint, &c->peer, cid->data);
    cid->datalen = len;
    endpoint_reset_token(c->hub->endpoint, cid->data, len, token);
    return 0;
}

static int remove_connection_id(ngtcp2_conn *quic, const ngtcp2_cid *cid, void *user)
{
    struct conn *c = user;
    (void)quic;
    endpoint_unmap(c->hub->endpoint, &c->peer, cid->data, cid->datalen);
    return 0;
}

/* The peer's ids: what comes with them is a token, by which it may reset us. */
static int peer_id_changed(ngtcp2_conn *quic, ngtcp2_connection_id_status_type type, uint64_t seq,
                           const ngtcp2_cid *cid, const uint8_t *token, void *user)
{
    struct conn *c = user;
    (void)quic;
    (void)seq;
    (void)cid;
    if (token && type == NGTCP2_CONNECTION_ID_STATUS_TYPE_ACTIVATE)
        endpoint_map_token(c->hub->endpoint, &c->peer, token);
    else if (token)
        endpoint_unmap_token(c->hub->endpoint, &c->peer, token);
    return 0;
}

static int stateless_reset_received(ngtcp2_conn *quic, const ngtcp2_pkt_stateless_reset *sr,
                                    void *user)
{
    struct conn *c = user;
    (void)quic;
    (void)sr;
    c->is_reset = true;
    return 0;
}

void conn_fill_callbacks(ngtcp2_callbacks *cb, bool is_server)
{
    memset(cb, 0, sizeof(*cb));
    if (is_server) {
        cb->recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
    } else {
        cb->client_initial = ngtcp2_crypto_client_initial_cb;
        cb->recv_retry = ngtcp2_crypto_recv_retry_cb;
    }
    cb->recv_crypto_data = crypto_received;
    cb->encrypt = ngtcp2_crypto_encrypt_cb;
    cb->decrypt = conn_frames_decrypt;
    cb->hp_mask = ngtcp2_crypto_hp_mask_cb;
    cb->update_key = ngtcp2_crypto_update_key_cb;
    cb->delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb;
    cb->delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb;
    cb->get_path_challenge_data = ngtcp2_crypto_get_path_challenge_data_cb;
    cb->version_negotiation = ngtcp2_crypto_version_negotiation_cb;
    cb->rand = random_bytes;
    cb->get_new_connection_id = new_connection_id;
    cb->remove_connection_id = remove_connection_id;
    cb->dcid_status = peer_id_changed;
    cb->recv_stateless_reset = stateless_reset_received;
    cb->recv_tx_key = tx_key_installed;
    cb->handshake_completed = handshake_completed;
    cb->recv_datagram = datagram_received;
    conn_stream_callbacks(cb);
}

/* --- making one --- */

void conn_fill_params(ngtcp2_transport_params *params, const struct conn_config *config)
{
    ngtcp2_transport_params_default(params);
    params->initial_max_data = config->max_data;
    params->initial_max_stream_data_bidi_local = config->max_stream_data;
    params->initial_max_stream_data_bidi_remote = config->max_stream_data;
    params->initial_max_stream_data_uni = config->max_stream_data;
    params->initial_max_streams_bidi = config->max_streams_bidi;
    params->initial_max_streams_uni = config->max_streams_uni;
    params->max_idle_timeout = config->idle_timeout_ns;
    params->max_datagram_frame_size = config->max_datagram_frame_size;
    params->active_connection_id_limit = ACTIVE_CID_LIMIT;
#ifdef HAVE_RESET_STREAM_AT
    params->reset_stream_at = 1;
#endif
}

void conn_fill_settings(ngtcp2_settings *settings, const struct conn_hub *hub)
{
    ngtcp2_settings_default(settings);
    settings->initial_ts = timers_now(hub->env->timers);
    if (hub->config.handshake_timeout_ns)
        settings->handshake_timeout = hub->config.handshake_timeout_ns;
    if (hub->config.is_server) { /* the best one that the client offers, RFC 9368 section 2.3 */
        settings->available_versions = endpoint_versions(&settings->available_versionslen);
        settings->preferred_versions = endpoint_versions(&settings->preferred_versionslen);
    }
}

struct ngtcp2_conn *conn_tls_asks(void *user)
{
    return ((struct conn *)user)->quic;
}

struct conn *conn_new(struct conn_hub *hub)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    c->hub = hub;
    c->config = hub->config;
    uint64_t limit = hub->config.memory_limit;
    budget_init(&c->memory, hub->env->memory, limit ? limit : UINT64_MAX, NULL);
    if (!budget_reserve(&c->memory, CONN_COST + hub->config.max_data, BUDGET_NEWCOMER)) {
        free(c);
        return NULL;
    }
    window_init(&c->window, hub->config.max_data, hub->config.max_data_limit, &c->memory);
    endpoint_peer_init(&c->peer, conn_packet_received, c);
    timer_init(&c->timer, timer_fired, c);
    turn_flush_init(&c->flush, TURN_FRONT, flush, c);
    return c;
}

void conn_adopt(struct conn *c)
{
    LIST_INSERT_HEAD(&c->hub->conns, c, entry);
    c->hub->count++;
    if (conn_is_server(c))
        intake_begin(&c->hub->intake, &endpoint_settings(c->hub->endpoint)->intake, c->listener,
                     timers_now(c->hub->env->timers));
    c->hub->env->stats->connections++;
    ngtcp2_conn_set_tls_native_handle(c->quic, tls_session_native(c->tls));
}

void conn_dispose(struct conn *c)
{
    conn_count_out(c);
    conn_streams_free(c);
    ngtcp2_conn_del(c->quic);
    tls_session_free(c->tls);
    window_fini(&c->window);
    budget_release(&c->memory, CONN_COST + c->orphans * CONN_ORPHAN_COST);
    budget_fini(&c->memory);
    free(c);
}

void conn_discard(struct conn *c)
{
    endpoint_forget(c->hub->endpoint, &c->peer);
    conn_dispose(c);
}

/* The address of a client before its system has chosen one. */
static struct packet_address wildcard(const struct sockaddr *remote)
{
    struct packet_address a = {0};
    a.sa.any.sa_family = remote->sa_family;
    a.len = remote->sa_family == AF_INET ? sizeof(a.sa.v4) : sizeof(a.sa.v6);
    return a;
}

struct conn *conn_connect(struct conn_hub *hub, const struct sockaddr *remote, socklen_t remote_len,
                          const char *server_name, void *user)
{
    struct conn *c = conn_new(hub);
    if (!c)
        return NULL;
    struct packet_address local = wildcard(remote);
    ngtcp2_callbacks callbacks;
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_cid scid = {.datalen = ENDPOINT_CID_LEN}, dcid = {.datalen = CLIENT_DCID_LEN};
    ngtcp2_path path = {
        .local = {.addr = &local.sa.any, .addrlen = local.len},
        .remote = {.addr = (ngtcp2_sockaddr *)remote, .addrlen = remote_len},
    };

    assert(!hub->config.is_server);
    conn_fill_callbacks(&callbacks, false);
    conn_fill_settings(&settings, hub);
    conn_fill_params(&params, &hub->config);
    endpoint_make_cid(hub->endpoint, &c->peer, scid.data);
    tls_random(dcid.data, dcid.datalen);
    c->user = user;
    c->has_user = true;
    c->tls = tls_session_new(hub->config.tls, conn_tls_asks, c, server_name);
    if (!c->tls || ngtcp2_conn_client_new(&c->quic, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1,
                                          &callbacks, &settings, &params, NULL, c) != 0) {
        conn_discard(c);
        return NULL;
    }
    conn_adopt(c);
    conn_touch(c);
    return c;
}

/* --- the hub --- */

struct conn_hub *conn_hub_new(struct env *env, struct endpoint *endpoint,
                              const struct conn_config *config, const struct conn_ops *ops,
                              void *hub_user)
{
    struct conn_hub *hub = calloc(1, sizeof(*hub));
    if (!hub)
        abort();
    hub->env = env;
    hub->endpoint = endpoint;
    hub->config = *config;
    hub->ops = ops;
    hub->user = hub_user;
    LIST_INIT(&hub->conns);
    LIST_INIT(&hub->closing);
    if (config->is_server)
        endpoint_listen(endpoint, conn_accept, hub);
    return hub;
}

void conn_hub_free(struct conn_hub *hub)
{
    if (!hub)
        return;
    assert(hub->count == 0 && hub->intake.all.connections == 0);
    if (hub->config.is_server)
        endpoint_listen(hub->endpoint, NULL, NULL);
    conn_closing_free_all(hub);
    free(hub->notes);
    free(hub);
}

void conn_hub_stop(struct conn_hub *hub)
{
    hub->is_stopped = true;
}

void conn_hub_configure(struct conn_hub *hub, const struct conn_config *config)
{
    assert(config->tls == hub->config.tls && config->is_server == hub->config.is_server);
    hub->config = *config;
}

void conn_hub_close_all(struct conn_hub *hub, uint64_t code, const char *text)
{
    struct conn *c;
    LIST_FOREACH (c, &hub->conns, entry)
        conn_close(c, code, text);
}

size_t conn_hub_count_of(const struct conn_hub *hub, unsigned listener)
{
    return hub->intake.listeners[listener].connections + hub->closing_of[listener];
}

size_t conn_hub_count(const struct conn_hub *hub)
{
    return hub->count;
}
