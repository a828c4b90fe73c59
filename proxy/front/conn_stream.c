/*
 * conn_stream - the streams of a connection, and what ngtcp2 tells about them.
 *
 * Owns one small struct per stream that ngtcp2 knows, in a table by number. Credit: ngtcp2 itself
 * gives back what it never delivered (the gap that a RESET_STREAM leaves, all that follows a
 * STOP_SENDING); what was delivered is given back by conn_stream_consumed alone.
 *
 * Callbacks run inside ngtcp2, so they record or tell upward but write nothing.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/stats.h"
#include "front/conn_internal.h"

/* --- what the next hop has not asked for --- */

static uint64_t beyond(uint64_t offset, const struct conn_stream *st)
{
    return offset > st->allowed ? offset - st->allowed : 0;
}

static void set_received(struct conn *c, struct conn_stream *st, uint64_t offset)
{
    c->parked -= beyond(st->received, st);
    st->received = offset;
    c->parked += beyond(st->received, st);
}

static void set_granted(struct conn *c, struct conn_stream *st, uint64_t offset)
{
    c->ahead -= beyond(st->granted, st);
    st->granted = offset;
    c->ahead += beyond(st->granted, st);
}

static void set_allowed(struct conn *c, struct conn_stream *st, uint64_t offset)
{
    c->parked -= beyond(st->received, st);
    c->ahead -= beyond(st->granted, st);
    st->allowed = offset;
    c->parked += beyond(st->received, st);
    c->ahead += beyond(st->granted, st);
}

/* What is held up must not keep other streams from having a window, nor the CONNECT stream, on
 * which a session is closed: the connection's window grows when half of it is held up and most of
 * that is parked, and in any case before all of it is. A peer may be shut off at three quarters,
 * for ngtcp2 keeps what has been given back to itself up to a quarter of the first window. */
static void make_way(struct conn *c)
{
    uint64_t half = c->window.size / 2;
    bool is_parked = c->unconsumed >= half && c->parked >= c->unconsumed / 2;
    if (!is_parked && c->unconsumed < half + half / 4)
        return;
    uint64_t by = window_grow(&c->window);
    if (by)
        ngtcp2_conn_extend_max_offset(c->quic, by);
}

/* --- the table --- */

struct conn_stream *conn_stream_find(struct conn *c, int64_t stream_id)
{
    const uint8_t *hash_key = c->hub->env->hash_key;
    struct conn_stream *st;
    if (c->recent && c->recent->id == stream_id)
        return c->recent;
    HASH_FIND(hh, c->streams, &stream_id, sizeof(stream_id), st);
    c->recent = st;
    return st;
}

static struct conn_stream *stream_new(struct conn *c, int64_t stream_id, void *user)
{
    const uint8_t *hash_key = c->hub->env->hash_key;
    struct conn_stream *st = calloc(1, sizeof(*st));
    if (!st)
        abort();
    st->id = stream_id;
    st->user = user;
    window_init(&st->window, c->config.max_stream_data, c->config.max_stream_data_limit,
                NULL); /* the connection's window pays */
    st->granted = st->window.size;
    st->allowed = UINT64_MAX;
    st->final_size = CONN_SIZE_UNKNOWN;
    HASH_ADD(hh, c->streams, id, sizeof(st->id), st);
    return st;
}

static void stream_free(struct conn *c, struct conn_stream *st)
{
    if (c->recent == st)
        c->recent = NULL;
    if (c->acked == st)
        c->acked = NULL;
    set_allowed(c, st, UINT64_MAX);
    c->unread -= st->is_unread;
    HASH_DEL(c->streams, st);
    free(st);
}

void conn_streams_free(struct conn *c)
{
    struct conn_stream *st, *next;
    HASH_ITER (hh, c->streams, st, next)
        stream_free(c, st);
}

/* --- callbacks of ngtcp2 --- */

static int opened(ngtcp2_conn *quic, int64_t stream_id, void *user)
{
    struct conn *c = user;
    struct conn_stream *st = stream_new(c, stream_id, NULL);
    int rv = ngtcp2_conn_set_stream_user_data(quic, stream_id, st);
    assert(rv == 0);
    if (!c->ending)
        c->hub->ops->stream_opened(c->user, stream_id);
    return conn_callback_result(c);
}

static int received(ngtcp2_conn *quic, uint32_t flags, int64_t stream_id, uint64_t offset,
                    const uint8_t *data, size_t len, void *user, void *stream_user)
{
    struct conn *c = user;
    struct conn_stream *st = stream_user;
    (void)quic;
    (void)offset;

    c->unconsumed += len;
    set_received(c, st, st->received + len);
    make_way(c);
    if (!c->ending) {
        enum fault fault = c->hub->ops->stream_received(c->user, stream_id, st->user, data, len,
                                                        (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0);
        if (fault != FAULT_NONE)
            conn_end_by_upcall(c, fault);
    }
    return conn_callback_result(c);
}

static void tell_acked(struct conn *c)
{
    struct conn_stream *st = c->acked;
    c->acked = NULL;
    if (!st || c->ending)
        return;
    size_t len = st->untold;
    bool fin = st->fin_untold;
    st->untold = 0;
    st->fin_untold = false;
    c->hub->ops->stream_acked(c->user, st->id, st->user, len, fin);
}

/* One for each packet acknowledged: those in a row are told together. */
static int acked(ngtcp2_conn *quic, int64_t stream_id, uint64_t offset, uint64_t len, void *user,
                 void *stream_user)
{
    struct conn *c = user;
    struct conn_stream *st = stream_user;
    (void)quic;
    (void)stream_id;
    (void)offset;

    if (c->acked != st)
        tell_acked(c);
    st->acked += len;
    st->untold += len;
    if (st->fin_written && !st->fin_acked && st->acked == st->written)
        st->fin_acked = st->fin_untold = true;
    if (st->untold || st->fin_untold)
        c->acked = st;
    return conn_callback_result(c);
}

static int closed(ngtcp2_conn *quic, uint32_t flags, int64_t stream_id, uint64_t code, void *user,
                  void *stream_user)
{
    struct conn *c = user;
    struct conn_stream *st = stream_user;
    (void)quic;
    (void)flags;
    (void)code;

    if (!st) /* ended before, as an orphan */
        return conn_callback_result(c);
    tell_acked(c);
    void *above = st->user;
    c->final_size = st->final_size;
    stream_free(c, st);
    if (!c->ending)
        c->hub->ops->stream_closed(c->user, stream_id, above);
    return conn_callback_result(c);
}

static int reset(ngtcp2_conn *quic, int64_t stream_id, uint64_t final_size, uint64_t code,
                 void *user, void *stream_user)
{
    struct conn *c = user;
    struct conn_stream *st = stream_user;
    (void)quic;

    st->final_size = c->final_size = final_size;
    if (!ngtcp2_is_bidi_stream(stream_id))
        conn_note(c->hub, stream_id, 0, true);
    if (!c->ending)
        c->hub->ops->stream_reset(c->user, stream_id, st->user, code);
    return conn_callback_result(c);
}

static int window_grew(ngtcp2_conn *quic, int64_t stream_id, uint64_t max, void *user,
                       void *stream_user)
{
    struct conn *c = user;
    struct conn_stream *st = stream_user;
    (void)quic;
    (void)max;

    if (st && st->blocked) {
        st->blocked = false;
        if (!c->ending)
            c->hub->ops->stream_unblocked(c->user, stream_id, st->user);
    }
    return conn_callback_result(c);
}

static int streams_grew(struct conn *c, bool unidirectional)
{
    if (c->established && !c->ending)
        c->hub->ops->streams_available(c->user, unidirectional);
    return conn_callback_result(c);
}

static int bidi_grew(ngtcp2_conn *quic, uint64_t max, void *user)
{
    (void)quic;
    (void)max;
    return streams_grew(user, false);
}

static int uni_grew(ngtcp2_conn *quic, uint64_t max, void *user)
{
    (void)quic;
    (void)max;
    return streams_grew(user, true);
}

static void tell_stopped(struct conn *c, int64_t stream_id, uint64_t code)
{
    struct conn_stream *st = conn_stream_find(c, stream_id);
    /* A stream that is gone, or whose every byte has arrived, has nothing to stop. */
    if (!st || st->stopped || st->fin_acked || c->ending)
        return;
    st->stopped = true;
    c->hub->ops->stream_stopped(c->user, stream_id, st->user, code);
}

#ifdef HAVE_RECV_STOP_SENDING
/* Told after what else is in the packet: the answer of a server that wants no more of the request
 * may come behind. */
static int stopped(ngtcp2_conn *quic, int64_t stream_id, uint64_t code, void *user,
                   void *stream_user)
{
    struct conn *c = user;
    (void)quic;
    (void)stream_user;
    conn_note(c->hub, stream_id, code, false);
    return conn_callback_result(c);
}
#endif

void conn_stream_callbacks(ngtcp2_callbacks *cb)
{
    cb->stream_open = opened;
    cb->recv_stream_data = received;
    cb->acked_stream_data_offset = acked;
    cb->stream_close = closed;
    cb->stream_reset = reset;
    cb->extend_max_stream_data = window_grew;
    cb->extend_max_local_streams_bidi = bidi_grew;
    cb->extend_max_local_streams_uni = uni_grew;
#ifdef HAVE_RECV_STOP_SENDING
    cb->recv_stop_sending = stopped;
#endif
}

/* ngtcp2 forgets to close a unidirectional stream of the peer's whose very first frame is a
 * RESET_STREAM (the peer gave up before it sent, or the network reordered). We tell upward that it
 * has closed. ngtcp2 keeps a few hundred bytes for it until the connection ends, so the slot is
 * given back only while the connection's memory pays for that. With half of the slots lost the
 * connection is of little use, and ends. */
static void close_orphan(struct conn *c, int64_t stream_id)
{
    struct conn_stream *st = conn_stream_find(c, stream_id);
    if (!st || c->ending)
        return;
    void *above = st->user;
    c->final_size = st->final_size;
    ngtcp2_conn_set_stream_user_data(c->quic, stream_id, NULL);
    stream_free(c, st);
    if (budget_reserve(&c->memory, CONN_ORPHAN_COST, BUDGET_GROWTH))
        c->orphans++;
    else
        c->slots_withheld++;
    c->hub->ops->stream_closed(c->user, stream_id, above);
}

void conn_note(struct conn_hub *hub, int64_t stream_id, uint64_t code, bool is_reset)
{
    if (hub->note_count == hub->note_room) {
        hub->note_room = hub->note_room ? hub->note_room * 2 : 16;
        hub->notes = realloc(hub->notes, hub->note_room * sizeof(*hub->notes));
        if (!hub->notes)
            abort();
    }
    hub->notes[hub->note_count++] =
        (struct conn_note){.stream_id = stream_id, .code = code, .is_reset = is_reset};
}

void conn_streams_after_read(struct conn *c)
{
    struct conn_hub *hub = c->hub;
    tell_acked(c);
    for (size_t i = 0; i < hub->note_count; i++)
        if (hub->notes[i].is_reset)
            close_orphan(c, hub->notes[i].stream_id);
        else
            tell_stopped(c, hub->notes[i].stream_id, hub->notes[i].code);
}

/* --- what upper modules ask --- */

bool conn_stream_is_remote(const struct conn *c, int64_t stream_id)
{
    return !ngtcp2_conn_is_local_stream(c->quic, stream_id);
}

bool conn_stream_open(struct conn *c, bool unidirectional, int64_t *stream_id, void *stream_user)
{
    if (c->ending || !c->established)
        return false;
    int rv = unidirectional ? ngtcp2_conn_open_uni_stream(c->quic, stream_id, NULL)
                            : ngtcp2_conn_open_bidi_stream(c->quic, stream_id, NULL);
    if (rv != 0)
        return false;
    struct conn_stream *st = stream_new(c, *stream_id, stream_user);
    rv = ngtcp2_conn_set_stream_user_data(c->quic, *stream_id, st);
    assert(rv == 0);
    conn_touch(c);
    return true;
}

void conn_stream_set_user(struct conn *c, int64_t stream_id, void *stream_user)
{
    struct conn_stream *st = conn_stream_find(c, stream_id);
    if (st)
        st->user = stream_user;
}

static void shut_write(struct conn *c, uint32_t flags, int64_t stream_id, uint64_t code)
{
    if (c->ending || !conn_stream_find(c, stream_id))
        return;
    int rv = ngtcp2_conn_shutdown_stream_write(c->quic, flags, stream_id, code);
    assert(rv != NGTCP2_ERR_INVALID_ARGUMENT);
    conn_touch(c);
}

void conn_stream_reset(struct conn *c, int64_t stream_id, uint64_t code)
{
    shut_write(c, 0, stream_id, code);
}

#ifdef HAVE_RESET_STREAM_AT

bool conn_has_reset_stream_at(const struct conn *c)
{
    const ngtcp2_transport_params *peer = ngtcp2_conn_get_remote_transport_params(c->quic);
    return peer && peer->reset_stream_at;
}

void conn_stream_reset_at(struct conn *c, int64_t stream_id, uint64_t code)
{
    shut_write(c, NGTCP2_SHUT_STREAM_FLAG_FLUSH, stream_id, code);
}

#else

bool conn_has_reset_stream_at(const struct conn *c)
{
    (void)c;
    return false;
}

void conn_stream_reset_at(struct conn *c, int64_t stream_id, uint64_t code)
{
    shut_write(c, 0, stream_id, code);
}

#endif

void conn_stream_stop(struct conn *c, int64_t stream_id, uint64_t code)
{
    struct conn_stream *st = conn_stream_find(c, stream_id);
    if (c->ending || !st)
        return;
    int rv = ngtcp2_conn_shutdown_stream_read(c->quic, 0, stream_id, code);
    assert(rv != NGTCP2_ERR_INVALID_ARGUMENT);
    set_allowed(c, st, UINT64_MAX); /* nothing waits any more */
    c->unread += !st->is_unread;
    st->is_unread = true;
    conn_touch(c);
}

/* How far beyond what the next hop has asked for a stream may be granted its window: that makes a
 * long path fast, but all streams together may fill half of the connection's window so. */
static uint64_t may_be_granted(const struct conn *c, const struct conn_stream *st)
{
    uint64_t all = c->config.max_data_limit / 2;
    uint64_t others = c->ahead - beyond(st->granted, st);
    uint64_t spare = others < all ? all - others : 0;
    return st->allowed < UINT64_MAX - spare ? st->allowed + spare : UINT64_MAX;
}

/* A window beyond what has been consumed. ngtcp2 keeps a new limit to itself while it is less than
 * a quarter of the first window above the one it has told, so limits rise by steps that are larger;
 * and the last step must not be too small, or the peer would never learn of all that was asked for.
 * It may then be told of a part of a step more, but never of more than a window: a window is two
 * steps at least, so there is room for one when all has been consumed. */
static void grant(struct conn *c, struct conn_stream *st)
{
    uint64_t step = c->config.max_stream_data / 2;
    uint64_t most = may_be_granted(c, st);
    uint64_t window = st->consumed + st->window.size;
    uint64_t limit = window < most ? window : most;
    if (limit < most && most - limit < step)
        limit = most > step ? most - step : 0; /* leaves a whole step */
    if (limit == most && limit > st->granted && limit - st->granted < step)
        limit = st->granted + step;
    if (limit > window || limit < st->granted + step)
        return;
    ngtcp2_conn_extend_max_stream_offset(c->quic, st->id, limit - st->granted);
    set_granted(c, st, limit);
}

void conn_stream_allow(struct conn *c, int64_t stream_id, uint64_t offset)
{
    struct conn_stream *st = conn_stream_find(c, stream_id);
    if (c->ending || !st)
        return;
    set_allowed(c, st, offset);
    grant(c, st);
    conn_touch(c);
}

void conn_stream_consumed(struct conn *c, int64_t stream_id, size_t len)
{
    assert(len <= c->unconsumed);
    c->unconsumed -= len;
    if (c->ending || len == 0)
        return;
    uint64_t now = timers_now(c->hub->env->timers), rtt = conn_rtt(c);
    struct conn_stream *st = conn_stream_find(c, stream_id);
    if (st) {
        window_taken(&st->window, len, now, rtt);
        st->consumed += len;
        grant(c, st);
    }
    ngtcp2_conn_extend_max_offset(c->quic, len + window_taken(&c->window, len, now, rtt));
    conn_touch(c);
}

void conn_grant(struct conn *c, uint64_t bytes)
{
    if (c->ending || bytes == 0)
        return;
    ngtcp2_conn_extend_max_offset(c->quic, bytes);
    conn_touch(c);
}

uint64_t conn_final_size(const struct conn *c)
{
    return c->final_size;
}

static void lose_slot(struct conn *c)
{
    c->slots_withheld--;
    if (++c->slots_lost > c->config.max_streams_uni / 2)
        conn_end_by_upcall(c, FAULT_MEMORY_STREAM);
}

void conn_stream_slot_free(struct conn *c, int64_t stream_id)
{
    if (c->ending)
        return;
    if (ngtcp2_is_bidi_stream(stream_id))
        ngtcp2_conn_extend_max_streams_bidi(c->quic, 1);
    else if (c->slots_withheld)
        lose_slot(c);
    else
        ngtcp2_conn_extend_max_streams_uni(c->quic, 1);
    conn_touch(c);
}

void conn_more_streams(struct conn *c, bool unidirectional, uint64_t count)
{
    if (c->ending)
        return;
    if (unidirectional)
        ngtcp2_conn_extend_max_streams_uni(c->quic, count);
    else
        ngtcp2_conn_extend_max_streams_bidi(c->quic, count);
    conn_touch(c);
}
