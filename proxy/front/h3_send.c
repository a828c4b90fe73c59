/*
 * h3_send - what goes out next. The one place that knows the order: our control stream, HTTP/3
 * (answers, capsules, QPACK), datagrams, WebTransport streams (h3_lane.c). Datagrams come after the
 * answer because a browser drops those that reach it before the 200.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/stats.h"
#include "base/varint.h"
#include "front/h3_internal.h"

/* Tags of pieces that are not a stream's; a WebTransport stream's tag is the stream. */
static char tag_control, tag_http, tag_datagram;

#define SLICES (sizeof(((struct conn_piece *)0)->slices) / sizeof(struct iovec))

static bool pull_control(struct h3 *h, struct conn_piece *piece)
{
    if (h->control_sent == h->control_len || h->control_blocked)
        return false;
    *piece = (struct conn_piece){.stream_id = h->control_id, .count = 1, .tag = &tag_control};
    piece->slices[0].iov_base = h->control + h->control_sent;
    piece->slices[0].iov_len = h->control_len - h->control_sent;
    return true;
}

static bool pull_http(struct h3 *h, struct conn_piece *piece)
{
    nghttp3_vec vec[SLICES];
    int64_t id = -1;
    int fin = 0;
    nghttp3_ssize n = nghttp3_conn_writev_stream(h->http, &id, &fin, vec, SLICES);
    if (n < 0) {
        h3_http_fault(h, (int)n);
        return false;
    }
    if (id < 0)
        return false;
    *piece =
        (struct conn_piece){.stream_id = id, .count = (size_t)n, .fin = fin != 0, .tag = &tag_http};
    h3_request_lone_end(h, id, n == 0 && fin);
    for (size_t i = 0; i < (size_t)n; i++)
        piece->slices[i] = (struct iovec){.iov_base = vec[i].base, .iov_len = vec[i].len};
    return true;
}

static bool pull_datagram(struct h3 *h, struct conn_piece *piece)
{
    struct h3_request *r;
    const uint8_t *data;
    size_t len;
    if (!h3_datagram_next(h, &r, &data, &len))
        return false;
    uint8_t *to = h->host->datagram;
    size_t n = varint_write(to, (uint64_t)r->id / 4);
    memcpy(to + n, data, len);
    *piece = (struct conn_piece){.datagram = true, .count = 1, .tag = &tag_datagram};
    piece->slices[0] = (struct iovec){.iov_base = to, .iov_len = n + len};
    return true;
}

static bool pull_stream(struct h3 *h, struct conn_piece *piece)
{
    struct h3_stream *s;
    while ((s = h3_lane_first(h)) != NULL) {
        *piece = (struct conn_piece){.stream_id = s->id, .tag = s};
        piece->count = h3_stream_offer(s, piece->slices, SLICES, &piece->fin);
        if (piece->count > 0 || piece->fin)
            return true;
        h3_lane_take(s);
        h3_lane_put(s); /* perhaps it waits for credit now */
    }
    return false;
}

bool h3_pull(void *user, struct conn_piece *piece)
{
    struct h3 *h = user;
    return pull_control(h, piece) || pull_http(h, piece) || pull_datagram(h, piece) ||
           pull_stream(h, piece);
}

static void pulled_control(struct h3 *h, enum conn_taken taken, size_t len)
{
    if (taken == CONN_TAKEN)
        h->control_sent += len;
    else if (taken == CONN_BLOCKED)
        h->control_blocked = true;
    else
        h->control_sent = h->control_len;
}

static void pulled_http(struct h3 *h, int64_t id, enum conn_taken taken, size_t len)
{
    if (taken == CONN_BLOCKED)
        nghttp3_conn_block_stream(h->http, id);
    else if (taken == CONN_GONE)
        nghttp3_conn_shutdown_stream_write(h->http, id);
    else if (nghttp3_conn_add_write_offset(h->http, id, len) != 0)
        abort();
    if (taken != CONN_BLOCKED)
        h3_request_lone_end(h, id, false);
}

static void pulled_datagram(struct h3 *h, enum conn_taken taken)
{
    struct h3_request *r = TAILQ_FIRST(&h->datagrams);
    struct stats *stats = h->host->env->stats;
    if (taken == CONN_TAKEN)
        stats->datagrams_sent++;
    else
        stats->datagrams_dropped++;
    h3_datagram_sent(r);
}

static size_t piece_len(const struct conn_piece *piece)
{
    size_t n = 0;
    for (size_t i = 0; i < piece->count; i++)
        n += piece->slices[i].iov_len;
    return n;
}

static void pulled_stream(struct h3_stream *s, const struct conn_piece *piece,
                          enum conn_taken taken, size_t len)
{
    if (taken == CONN_TAKEN) {
        h3_stream_sent(s, len, piece->fin && len == piece_len(piece));
        h3_lane_sent(s, len);
        return;
    }
    s->run = 0;
    h3_lane_take(s);
    if (taken == CONN_GONE)
        s->send_over = true;
}

void h3_pulled(void *user, const struct conn_piece *piece, enum conn_taken taken, size_t len)
{
    struct h3 *h = user;
    if (taken == CONN_LATER)
        return;
    if (piece->tag == &tag_control)
        pulled_control(h, taken, len);
    else if (piece->tag == &tag_http)
        pulled_http(h, piece->stream_id, taken, len);
    else if (piece->tag == &tag_datagram)
        pulled_datagram(h, taken);
    else
        pulled_stream(piece->tag, piece, taken, len);
}
