/*
 * conn_pair - see conn_pair.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "mem/conn_pair.h"

struct flow *flow_of(struct peer *p, int64_t id)
{
    return &p->flows[id % STREAMS_MAX];
}

static struct flow *flow_begin(struct peer *p, int64_t id)
{
    struct flow *f = flow_of(p, id);
    assert_true(!f->exists || f->is_closed);
    free(f->bytes);
    memset(f, 0, sizeof(*f));
    f->peer = p;
    f->id = id;
    f->exists = true;
    return f;
}

void flow_send(struct flow *f, uint64_t total)
{
    f->sends = true;
    f->total = total;
    f->bytes = malloc(total + 1);
    for (uint64_t i = 0; i < total; i++)
        f->bytes[i] = PATTERN(f->id, i);
    conn_touch(f->peer->conn);
}

void flow_consume(struct flow *f)
{
    conn_stream_consumed(f->peer->conn, f->id, f->unconsumed);
    f->unconsumed = 0;
}

/* --- ops --- */

static void *on_accepted(void *hub_user, struct conn *c)
{
    struct peer *p = hub_user;
    p->conn = c;
    return p;
}

static enum fault on_established(void *user)
{
    struct peer *p = user;
    assert_false(p->established);
    p->established = true;
    p->dgram_max = conn_datagram_max(p->conn);
    return p->answer;
}

static void on_opened(void *user, int64_t id)
{
    struct peer *p = user;
    struct flow *f = flow_begin(p, id);
    p->opened++;
    conn_stream_set_user(p->conn, id, f);
    assert_true(conn_stream_is_remote(p->conn, id));
}

static enum fault on_received(void *user, int64_t id, void *stream_user, const uint8_t *data,
                              size_t len, bool fin)
{
    struct peer *p = user;
    struct flow *f = stream_user;
    assert_ptr_equal(f, flow_of(p, id));
    assert_false(f->fin_received || f->is_reset);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(data[i], PATTERN(id, f->received + i));
    f->received += len;
    f->fin_received = fin;
    if (p->keep_credit)
        f->unconsumed += len;
    else
        conn_stream_consumed(p->conn, id, len);
    return FAULT_NONE;
}

static void on_acked(void *user, int64_t id, void *stream_user, size_t len, bool fin)
{
    struct flow *f = stream_user;
    (void)user;
    assert_int_equal(f->id, id);
    f->acked += len;
    assert_true(f->acked <= f->sent);
    assert_false(f->fin_acked);
    f->fin_acked = fin;
    if (fin)
        assert_int_equal(f->acked, f->total);
}

static void on_reset(void *user, int64_t id, void *stream_user, uint64_t code)
{
    struct flow *f = stream_user;
    (void)user;
    (void)id;
    assert_false(f->is_reset);
    f->is_reset = true;
    f->reset_code = code;
}

static void on_stopped(void *user, int64_t id, void *stream_user, uint64_t code)
{
    struct flow *f = stream_user;
    (void)user;
    (void)id;
    assert_false(f->is_stopped);
    f->is_stopped = true;
    f->sends = false;
    f->stop_code = code;
}

static void on_unblocked(void *user, int64_t id, void *stream_user)
{
    struct flow *f = stream_user;
    (void)id;
    assert_true(f->is_blocked);
    f->is_blocked = false;
    conn_touch(((struct peer *)user)->conn);
}

static void on_stream_closed(void *user, int64_t id, void *stream_user)
{
    struct peer *p = user;
    struct flow *f = stream_user;
    assert_false(f->is_closed);
    f->is_closed = true;
    p->finished++;
    if (conn_stream_is_remote(p->conn, id))
        conn_stream_slot_free(p->conn, id);
}

static void on_available(void *user, bool unidirectional)
{
    struct peer *p = user;
    (void)unidirectional;
    p->avail++;
}

static void on_datagram(void *user, const uint8_t *data, size_t len)
{
    struct peer *p = user;
    for (size_t i = 0; i < len; i++)
        assert_int_equal(data[i], PATTERN(99, i));
    p->dgrams_received++;
    p->dgram_last_len = len;
}

static void on_datagram_max(void *user, size_t max)
{
    struct peer *p = user;
    assert_int_equal(max, conn_datagram_max(p->conn));
    p->dgram_max = max;
}

static bool has_more(const struct flow *f)
{
    return f->exists && f->sends && !f->is_closed && !f->is_blocked && !f->fin_sent &&
           (f->sent < f->total || !f->stays_open);
}

static bool on_pull(void *user, struct conn_piece *piece)
{
    struct peer *p = user;
    if (p->dgrams_to_send) {
        piece->datagram = true;
        piece->slices[0] = (struct iovec){(void *)p->dgram, p->dgram_len};
        piece->count = 1;
        return true;
    }
    for (size_t n = 0; n < STREAMS_MAX; n++) {
        struct flow *f = &p->flows[(p->rotor + n) % STREAMS_MAX];
        if (!has_more(f))
            continue;
        size_t len = f->total - f->sent;
        if (p->slice_max && len > 1)
            len = 1 + world_random(p->w, len < p->slice_max ? len : p->slice_max);
        if (len > f->total - f->sent)
            len = f->total - f->sent;
        piece->stream_id = f->id;
        piece->slices[0] = (struct iovec){f->bytes + f->sent, len / 2};
        piece->slices[1] = (struct iovec){f->bytes + f->sent + len / 2, len - len / 2};
        piece->count = 2;
        piece->fin = f->sent + len == f->total && !f->stays_open;
        piece->tag = f;
        p->rotor = (p->rotor + n + 1) % STREAMS_MAX;
        return true;
    }
    return false;
}

static void on_pulled(void *user, const struct conn_piece *piece, enum conn_taken taken, size_t len)
{
    struct peer *p = user;
    if (piece->datagram) {
        if (taken != CONN_LATER)
            p->dgrams_to_send--;
        p->dgrams_sent += taken == CONN_TAKEN;
        p->dgrams_gone += taken == CONN_GONE;
        return;
    }
    struct flow *f = piece->tag;
    size_t offered = piece->slices[0].iov_len + piece->slices[1].iov_len;
    f->sent += len;
    if (taken == CONN_TAKEN && piece->fin && len == offered)
        f->fin_sent = true;
    if (taken == CONN_BLOCKED)
        f->is_blocked = true;
    if (taken == CONN_GONE)
        f->sends = false;
}

static void on_closed(void *user, const struct conn_end *end)
{
    struct peer *p = user;
    assert_false(p->closed);
    p->closed = true;
    p->end = *end;
    strncpy(p->end_text, end->text, sizeof(p->end_text) - 1);
    p->end.text = p->end_text;
}

static const struct conn_ops ops = {
    .accepted = on_accepted,
    .established = on_established,
    .stream_opened = on_opened,
    .stream_received = on_received,
    .stream_acked = on_acked,
    .stream_reset = on_reset,
    .stream_stopped = on_stopped,
    .stream_unblocked = on_unblocked,
    .stream_closed = on_stream_closed,
    .streams_available = on_available,
    .datagram_received = on_datagram,
    .datagram_max_changed = on_datagram_max,
    .pull = on_pull,
    .pulled = on_pulled,
    .closed = on_closed,
};

/* --- the two of them --- */

const struct conn_config pair_config = {
    .max_data = 1 << 20,
    .max_stream_data = 1 << 18,
    .max_streams_bidi = 100,
    .max_streams_uni = 100,
    .max_datagram_frame_size = 65535,
    .idle_timeout_ns = 30 * NS_PER_S,
    .keep_alive_ns = 10 * NS_PER_S,
    .handshake_timeout_ns = 10 * NS_PER_S,
};

static void peer_init(struct peer *p, struct world *w, const char *name,
                      const struct conn_config *config, bool is_server)
{
    struct conn_config own = *config;
    memset(p, 0, sizeof(*p));
    p->w = w;
    p->flows = calloc(STREAMS_MAX, sizeof(*p->flows));
    p->host = world_host(w, name);
    own.is_server = is_server;
    if (!own.tls)
        own.tls = is_server ? world_tls_server(w) : world_tls_client(w);
    p->hub = conn_hub_new(world_env(p->host), world_endpoint(p->host), &own, &ops, p);
}

void pair_begin(struct pair *pair, uint64_t seed, const struct conn_config *server,
                const struct conn_config *client)
{
    socklen_t len;
    pair->w = world_new(seed);
    peer_init(&pair->server, pair->w, "server", server, true);
    peer_init(&pair->client, pair->w, "client", client, false);
    const struct sockaddr *to = world_address(pair->server.host, &len);
    pair->client.conn = conn_connect(pair->client.hub, to, len, "localhost", &pair->client);
    assert_non_null(pair->client.conn);
}

static bool call_done(void *arg)
{
    struct pair *pair = arg;
    return pair->done(pair);
}

bool pair_run_until(struct pair *pair, bool (*done)(struct pair *), uint64_t limit_ns)
{
    pair->done = done;
    return world_run_until(pair->w, call_done, pair, limit_ns);
}

bool pair_established(struct pair *pair)
{
    return pair->server.established && pair->client.established &&
           world_env(pair->server.host)->stats->handshakes_completed == 1;
}

bool pair_closed(struct pair *pair)
{
    return conn_hub_count(pair->server.hub) == 0 && conn_hub_count(pair->client.hub) == 0;
}

void pair_setup(struct pair *pair, uint64_t seed)
{
    pair_begin(pair, seed, &pair_config, &pair_config);
    assert_true(pair_run_until(pair, pair_established, 60 * NS_PER_S));
}

static void peer_fini(struct peer *p)
{
    for (size_t i = 0; i < STREAMS_MAX; i++)
        free(p->flows[i].bytes);
    free(p->flows);
    conn_hub_free(p->hub);
}

void pair_free(struct pair *pair)
{
    conn_hub_close_all(pair->client.hub, 0x100, "");
    conn_hub_close_all(pair->server.hub, 0x100, "");
    assert_true(pair_run_until(pair, pair_closed, 60 * NS_PER_S));
    peer_fini(&pair->server);
    peer_fini(&pair->client);
    world_free(pair->w);
}

struct flow *flow_open(struct peer *p, bool unidirectional)
{
    int64_t id;
    if (!conn_stream_open(p->conn, unidirectional, &id, NULL))
        return NULL;
    struct flow *f = flow_begin(p, id);
    conn_stream_set_user(p->conn, id, f);
    return f;
}
