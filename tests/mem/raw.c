/*
 * raw - see raw.h.
 */
#include "mem/raw.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timers.h"

#define SETTLE_NS     (200 * NS_PER_MS)
#define STREAM_WINDOW (256 * 1024)

static struct raw_stream *stream_new(struct raw *r, int64_t id)
{
    struct raw_stream *st = calloc(1, sizeof(*st));
    assert(st && r->count < RAW_STREAMS_MAX);
    st->raw = r;
    st->id = id;
    st->out = malloc(RAW_STREAM_MAX);
    st->in = malloc(RAW_STREAM_MAX);
    assert(st->out && st->in);
    r->streams[r->count++] = st;
    return st;
}

/* --- ops --- */

static enum fault on_established(void *user)
{
    ((struct raw *)user)->established = true;
    return FAULT_NONE;
}

static void on_opened(void *user, int64_t id)
{
    struct raw *r = user;
    conn_stream_set_user(r->conn, id, stream_new(r, id));
}

static enum fault on_received(void *user, int64_t id, void *stream_user, const uint8_t *data,
                              size_t len, bool fin)
{
    struct raw *r = user;
    struct raw_stream *st = stream_user;
    size_t room = RAW_STREAM_MAX - st->in_len, n = len < room ? len : room;
    if (n)
        memcpy(st->in + st->in_len, data, n);
    st->in_len += n;
    st->in_fin |= fin;
    if (st->withholds)
        st->withheld += len;
    else
        conn_stream_consumed(r->conn, id, len);
    return FAULT_NONE;
}

static void on_acked(void *user, int64_t id, void *stream_user, size_t len, bool fin)
{
    (void)user, (void)id, (void)stream_user, (void)len, (void)fin;
}

static void on_reset(void *user, int64_t id, void *stream_user, uint64_t code)
{
    struct raw_stream *st = stream_user;
    (void)user, (void)id;
    st->is_reset = true;
    st->reset_code = code;
}

static void on_stopped(void *user, int64_t id, void *stream_user, uint64_t code)
{
    struct raw_stream *st = stream_user;
    (void)user, (void)id;
    st->is_stopped = true;
    st->stop_code = code;
}

static void on_unblocked(void *user, int64_t id, void *stream_user)
{
    (void)user, (void)id, (void)stream_user;
}

static void on_stream_closed(void *user, int64_t id, void *stream_user)
{
    struct raw *r = user;
    ((struct raw_stream *)stream_user)->is_closed = true;
    if (conn_stream_is_remote(r->conn, id))
        conn_stream_slot_free(r->conn, id);
}

static void on_available(void *user, bool unidirectional)
{
    struct raw *r = user;
    if (unidirectional)
        r->slots_uni++;
    else
        r->slots_bidi++;
}

static void on_datagram(void *user, const uint8_t *data, size_t len)
{
    (void)user, (void)data, (void)len;
}

static void on_datagram_max(void *user, size_t max)
{
    (void)user, (void)max;
}

static bool on_pull(void *user, struct conn_piece *piece)
{
    struct raw *r = user;
    for (size_t i = 0; i < r->count; i++) {
        struct raw_stream *st = r->streams[i];
        if (st->sent == st->out_len && (!st->fin || st->fin_sent))
            continue;
        *piece = (struct conn_piece){.stream_id = st->id, .fin = st->fin, .tag = st};
        piece->slices[0] = (struct iovec){st->out + st->sent, st->out_len - st->sent};
        piece->count = st->out_len > st->sent;
        return true;
    }
    return false;
}

static void on_pulled(void *user, const struct conn_piece *piece, enum conn_taken taken, size_t len)
{
    struct raw_stream *st = piece->tag;
    (void)user;
    assert(taken != CONN_BLOCKED);
    if (taken == CONN_TAKEN) {
        st->sent += len;
        st->fin_sent = piece->fin && st->sent == st->out_len;
    } else if (taken == CONN_GONE) {
        st->sent = st->out_len;
        st->fin_sent = true;
    }
}

static void on_closed(void *user, const struct conn_end *end)
{
    struct raw *r = user;
    r->closed = true;
    r->close_code = end->code;
}

static const struct conn_ops ops = {
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

/* --- life --- */

void raw_settle(struct raw *r)
{
    if (!r->closed)
        conn_touch(r->conn);
    world_run_for(r->world, SETTLE_NS);
}

static struct raw *begin(struct world *w, struct world_host *server, uint64_t stream_window)
{
    struct raw *r = calloc(1, sizeof(*r));
    struct conn_config config = {.tls = world_tls_client(w),
                                 .max_data = 1024 * 1024,
                                 .max_stream_data = stream_window,
                                 .max_streams_bidi = 100,
                                 .max_streams_uni = 100,
                                 .max_datagram_frame_size = 65535,
                                 .idle_timeout_ns = 60 * NS_PER_S,
                                 .handshake_timeout_ns = 10 * NS_PER_S};
    socklen_t len;
    assert(r);
    r->world = w;
    r->host = world_host(w, "raw");
    r->hub = conn_hub_new(world_env(r->host), world_endpoint(r->host), &config, &ops, r);
    const struct sockaddr *to = world_address(server, &len);
    r->conn = conn_connect(r->hub, to, len, "localhost", r);
    assert(r->conn);
    return r;
}

struct raw *raw_begin(struct world *w, struct world_host *server)
{
    return begin(w, server, STREAM_WINDOW);
}

struct raw *raw_new_narrow(struct pair *p, uint64_t stream_window)
{
    struct raw *r = begin(p->world, p->server_host, stream_window);
    r->pair = p;
    raw_settle(r);
    assert(r->established);
    return r;
}

struct raw *raw_new(struct pair *p)
{
    return raw_new_narrow(p, STREAM_WINDOW);
}

void raw_free(struct raw *r)
{
    if (!r->closed)
        conn_close(r->conn, 0x100, "");
    raw_settle(r);
    raw_bury(r);
}

void raw_bury(struct raw *r)
{
    assert(r->closed);
    conn_hub_free(r->hub);
    for (size_t i = 0; i < r->count; i++) {
        free(r->streams[i]->out);
        free(r->streams[i]->in);
        free(r->streams[i]);
    }
    free(r);
}

/* --- streams --- */

struct raw_stream *raw_open(struct raw *r, bool unidirectional)
{
    int64_t id;
    if (!conn_stream_open(r->conn, unidirectional, &id, NULL))
        return NULL;
    struct raw_stream *st = stream_new(r, id);
    conn_stream_set_user(r->conn, id, st);
    return st;
}

void raw_write_bytes(struct raw_stream *st, const void *data, size_t len)
{
    assert(st->out_len + len <= RAW_STREAM_MAX && !st->fin);
    memcpy(st->out + st->out_len, data, len);
    st->out_len += len;
    conn_touch(st->raw->conn);
}

void raw_write(struct raw_stream *st, const char *hex)
{
    unsigned byte;
    int taken;
    while (sscanf(hex, " %2x%n", &byte, &taken) == 1) {
        raw_write_bytes(st, &(uint8_t){(uint8_t)byte}, 1);
        hex += taken;
    }
}

void raw_end(struct raw_stream *st)
{
    st->fin = true;
    conn_touch(st->raw->conn);
}

void raw_reset(struct raw_stream *st, uint64_t code)
{
    conn_stream_reset(st->raw->conn, st->id, code);
}

void raw_stop(struct raw_stream *st, uint64_t code)
{
    conn_stream_stop(st->raw->conn, st->id, code);
}

void raw_relent(struct raw_stream *st)
{
    st->withholds = false;
    conn_stream_consumed(st->raw->conn, st->id, st->withheld);
    st->withheld = 0;
}

/* --- HTTP/3 --- */

bool raw_hello(struct raw *r)
{
    r->control = raw_open(r, true);
    r->encoder = raw_open(r, true);
    struct raw_stream *decoder = raw_open(r, true);
    if (!r->control || !r->encoder || !decoder)
        return false;
    /* SETTINGS: 0x33 = 1, 0x2b603742 = 1 */
    raw_write(r->control, "00 04 07 33 01 ab 60 37 42 01");
    raw_write(r->encoder, "02");
    raw_write(decoder, "03");
    return true;
}

/* A literal field line with a literal name, neither of them Huffman-coded (RFC 9204, 4.5.6). */
static size_t put_field(uint8_t *to, const char *name, const char *value)
{
    size_t name_len = strlen(name), value_len = strlen(value), n = 0;
    assert(name_len < 7 + 128 && value_len < 127);
    to[n++] = (uint8_t)(0x20 | (name_len < 7 ? name_len : 7));
    if (name_len >= 7)
        to[n++] = (uint8_t)(name_len - 7);
    memcpy(to + n, name, name_len);
    n += name_len;
    to[n++] = (uint8_t)value_len;
    memcpy(to + n, value, value_len);
    return n + value_len;
}

size_t raw_connect_frame(uint8_t *to, size_t size)
{
    uint8_t block[256] = {0, 0};
    size_t n = 2;
    n += put_field(block + n, ":method", "CONNECT");
    n += put_field(block + n, ":scheme", "https");
    n += put_field(block + n, ":authority", "localhost");
    n += put_field(block + n, ":path", "/");
    n += put_field(block + n, ":protocol", "webtransport");
    assert(n < 0x4000 && size >= n + 3);
    to[0] = 0x01; /* HEADERS */
    to[1] = (uint8_t)(0x40 | n >> 8);
    to[2] = (uint8_t)n;
    memcpy(to + 3, block, n);
    return n + 3;
}

struct raw_stream *raw_session(struct raw *r)
{
    uint8_t frame[512];
    struct raw_stream *st = raw_open(r, false);
    assert(st);
    raw_write_bytes(st, frame, raw_connect_frame(frame, sizeof(frame)));
    raw_settle(r);
    return st;
}
