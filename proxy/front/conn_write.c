/*
 * conn_write - the flush of a connection: pulls pieces, fills packets, hands over batches.
 *
 * ngtcp2 writes one packet per call and takes several pieces for it (WRITE_MORE). Packets of the
 * same size on the same path gather in the hub's buffer and go to the endpoint together, so that
 * the kernel splits them (GSO). A flush is bounded by ngtcp2's send quantum; the timer goes on.
 *
 * Copies: piece to packet, one. Calls ngtcp2, the upper ops' pull and pulled, and endpoint.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/stats.h"
#include "front/conn_internal.h"

#define BURST_MIN   16384     /* bytes a flush may write whatever the quantum is */
#define GRANULARITY NS_PER_MS /* of timers, RFC 9002 section 6.1.2 */

/* Packets that wait in hub->out, from start to end, to be handed over together. */
struct batch {
    struct conn *c;
    size_t start, end, count, segment;
    uint8_t ecn;
    ngtcp2_path_storage path;
};

struct flush {
    struct conn *c;
    uint64_t now;
    uint8_t *dest;
    size_t dest_len;
    bool pull_ended; /* nothing more to pull in this flush */
    ngtcp2_path_storage path;
    ngtcp2_pkt_info info;
};

static void batch_send(struct batch *b)
{
    if (b->count) {
        struct packet p = {.data = b->c->hub->out + b->start,
                           .len = b->end - b->start,
                           .segment_size = b->segment,
                           .ecn = b->ecn};
        conn_path_to_packet(b->c, &b->path.path, &p);
        endpoint_transmit(b->c->hub->endpoint, &p);
    }
    b->start = b->end = b->count = b->segment = 0;
}

/* Adds the packet of len bytes that lies at the batch's end. */
static void batch_add(struct batch *b, const struct flush *f, size_t len)
{
    if (b->count && (len > b->segment || b->ecn != (uint8_t)f->info.ecn ||
                     !ngtcp2_path_eq(&b->path.path, &f->path.path))) {
        size_t at = b->end; /* a batch of its own, where it already is */
        batch_send(b);
        b->start = b->end = at;
    }
    if (b->count == 0) {
        b->segment = len;
        b->ecn = (uint8_t)f->info.ecn;
        ngtcp2_path_storage_zero(&b->path);
        ngtcp2_path_copy(&b->path.path, &f->path.path);
    }
    b->end += len;
    b->count++;
    /* A shorter one can only be the last. */
    if (len < b->segment || b->count == CONN_GSO_MAX || b->end + f->dest_len > CONN_BATCH_MAX)
        batch_send(b);
}

static ngtcp2_ssize finish_packet(struct flush *f)
{
    return ngtcp2_conn_writev_stream(f->c->quic, &f->path.path, &f->info, f->dest, f->dest_len,
                                     NULL, NGTCP2_WRITE_STREAM_FLAG_NONE, -1, NULL, 0, f->now);
}

static ngtcp2_ssize write_datagram(struct flush *f, const struct conn_piece *piece,
                                   enum conn_taken *taken, size_t *len)
{
    int accepted = 0;
    *len = 0;
    /* One too large for the path would be refused again and again, as congestion would. */
    if (piece->slices[0].iov_len > f->c->datagram_max) {
        *taken = CONN_GONE;
        return NGTCP2_ERR_WRITE_MORE;
    }
    /* An empty one is legal, but ngtcp2 asserts that each slice has bytes. */
    ngtcp2_vec vec = {.base = piece->slices[0].iov_base, .len = piece->slices[0].iov_len};
    ngtcp2_ssize n = ngtcp2_conn_writev_datagram(
        f->c->quic, &f->path.path, &f->info, f->dest, f->dest_len, &accepted,
        NGTCP2_WRITE_DATAGRAM_FLAG_MORE, 0, &vec, vec.len ? 1 : 0, f->now);
    *taken = accepted ? CONN_TAKEN : CONN_LATER;
    *len = accepted ? piece->slices[0].iov_len : 0;
    return n;
}

static void note_written(struct conn *c, const struct conn_piece *piece, size_t len, bool fin)
{
    struct conn_stream *st = conn_stream_find(c, piece->stream_id);
    if (!st)
        return;
    st->written += len;
    if (fin)
        st->fin_written = true;
}

/* The stream's window is shut, or the connection's, for which ngtcp2 has no sign of its own. */
static enum conn_taken why_blocked(struct flush *f, int64_t stream_id)
{
    struct conn_stream *st = conn_stream_find(f->c, stream_id);
    if (ngtcp2_conn_get_max_data_left(f->c->quic) == 0) {
        f->pull_ended = true; /* every packet of the peer's makes another flush */
        return CONN_LATER;
    }
    if (st)
        st->blocked = true;
    return CONN_BLOCKED;
}

static ngtcp2_ssize write_stream(struct flush *f, const struct conn_piece *piece,
                                 enum conn_taken *taken, size_t *len)
{
    ngtcp2_vec vec[sizeof(piece->slices) / sizeof(piece->slices[0])];
    uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_MORE;
    ngtcp2_ssize written = -1;
    size_t total = 0;

    for (size_t i = 0; i < piece->count; i++) {
        vec[i].base = piece->slices[i].iov_base;
        vec[i].len = piece->slices[i].iov_len;
        total += vec[i].len;
    }
    assert(total || piece->fin);
    if (piece->fin)
        flags |= NGTCP2_WRITE_STREAM_FLAG_FIN;
    ngtcp2_ssize n =
        ngtcp2_conn_writev_stream(f->c->quic, &f->path.path, &f->info, f->dest, f->dest_len,
                                  &written, flags, piece->stream_id, vec, piece->count, f->now);
    *len = 0;
    if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED) {
        *taken = why_blocked(f, piece->stream_id);
        return NGTCP2_ERR_WRITE_MORE;
    }
    if (n == NGTCP2_ERR_STREAM_NOT_FOUND || n == NGTCP2_ERR_STREAM_SHUT_WR) {
        *taken = CONN_GONE;
        return NGTCP2_ERR_WRITE_MORE;
    }
    *taken = written >= 0 ? CONN_TAKEN : CONN_LATER;
    if (written >= 0) {
        *len = (size_t)written;
        note_written(f->c, piece, *len, piece->fin && *len == total);
    }
    return n;
}

/* Writes one packet. Returns its length, 0 if there is nothing to send or no room on the path, or
 * an error of ngtcp2's. */
static ngtcp2_ssize write_packet(struct flush *f)
{
    struct conn *c = f->c;
    const struct conn_ops *ops = c->hub->ops;
    struct conn_piece piece;

    while (c->established && !f->pull_ended && !c->ending) {
        enum conn_taken taken;
        size_t len;

        piece.datagram = piece.fin = false;
        piece.count = 0;
        piece.tag = NULL;
        if (!ops->pull(c->user, &piece))
            break;
        ngtcp2_ssize n = piece.datagram ? write_datagram(f, &piece, &taken, &len)
                                        : write_stream(f, &piece, &taken, &len);
        ops->pulled(c->user, &piece, taken, len);
        if (n != NGTCP2_ERR_WRITE_MORE)
            return n;
    }
    f->pull_ended = true;
    return finish_packet(f);
}

/* ngtcp2 asks for time when pacing allows the next packet, also if there is none. Then that can
 * wait; what is written meanwhile comes here again. */
static void set_timer(struct conn *c, bool has_more, bool is_idle, uint64_t now)
{
    struct timers *timers = c->hub->env->timers;
    uint64_t due = ngtcp2_conn_get_expiry(c->quic);
    if (has_more && due > now)
        due = now;
    if (is_idle && due < now + GRANULARITY)
        due = now + GRANULARITY;
    if (due == UINT64_MAX)
        timer_stop(timers, &c->timer);
    else
        timer_set(timers, &c->timer, due);
}

void conn_write(struct conn *c)
{
    struct flush f = {.c = c, .now = timers_now(c->hub->env->timers)};
    struct batch b = {.c = c};
    if (f.now < c->held_until_ns) {
        timer_set(c->hub->env->timers, &c->timer, c->held_until_ns);
        return;
    }
    size_t burst = ngtcp2_conn_get_send_quantum(c->quic), sent = 0;
    ngtcp2_ssize n = 0;

    if (burst < BURST_MIN)
        burst = BURST_MIN;
    f.dest_len = conn_payload_max(c);
    assert(f.dest_len <= CONN_SLOT_LEN);
    ngtcp2_path_storage_zero(&f.path);
    while (sent < burst) {
        f.dest = c->hub->out + b.end;
        n = write_packet(&f);
        if (n <= 0)
            break;
        sent += (size_t)n;
        batch_add(&b, &f, (size_t)n);
    }
    batch_send(&b);
    ngtcp2_conn_update_pkt_tx_time(c->quic, f.now);
    if (n < 0)
        conn_end_by_error(c, (int)n);
    if (!c->ending)
        set_timer(c, n > 0, n == 0 && f.pull_ended, f.now);
}
