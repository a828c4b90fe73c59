/*
 * h3_stream - WebTransport streams: our header before the payload, the payload until it is
 * acknowledged, and resets that do not outrun the header. Calls conn; tells wt.
 *
 * A stream object is there for every stream of the peer's (and for a client's requests), but only
 * WebTransport's have a life of their own here; they outlive QUIC's stream until their holder
 * releases them.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/budget.h"
#include "base/stats.h"
#include "base/varint.h"
#include "front/h3_internal.h"

/* What a stream costs in all modules together, besides what it carries, for as long as either QUIC
 * or its holder knows it: one that we refuse is there until the peer ends it, too. */
#define STREAM_COST     1536
#define HEADER_WAIT_PTO 3 /* how long a reset or stop waits for the header's acknowledgement */

static struct env *env_of(const struct h3_stream *s)
{
    return s->h3->host->env;
}

static const struct h3_ops *ops_of(const struct h3_stream *s)
{
    return s->h3->host->ops;
}

static void release_kept(struct h3_stream *s, size_t len)
{
    if (len > s->kept)
        len = s->kept;
    s->kept -= len;
    if (len > 0)
        budget_release(conn_memory(s->h3->conn), len);
}

/* Nobody waits for these bytes, so they are in no session's account any more. A peer that
 * acknowledges nothing can make us keep those in flight, so its connection pays for them. */
static void cut_out(struct h3_stream *s, uint64_t from)
{
    release_kept(s, s->kept);
    sendq_cut(&s->out, from);
    s->kept = sendq_held(&s->out);
    if (s->kept > 0)
        budget_charge(conn_memory(s->h3->conn), s->kept);
}

static bool is_header_known(const struct h3_stream *s)
{
    return s->out.base >= s->header_len;
}

static void reset_now(struct h3_stream *s)
{
    timer_stop(env_of(s)->timers, &s->header_timer);
    s->send_over = true;
    h3_lane_take(s);
    cut_out(s, 0);
    bool alive = !s->closed && !s->h3->dead;
    if (alive && is_header_known(s))
        conn_stream_reset(s->h3->conn, s->id, s->reset_code);
    else if (alive)
        conn_stream_reset_at(s->h3->conn, s->id, s->reset_code);
    h3_touch(s->h3);
}

static void stop_now(struct h3_stream *s, uint64_t code)
{
    s->stop_wanted = false;
    if (!s->closed && !s->h3->dead)
        conn_stream_stop(s->h3->conn, s->id, code);
    h3_touch(s->h3);
}

/* The peer knows whose stream it is, or has had the time to. */
static void header_known(void *owner)
{
    struct h3_stream *s = owner;
    timer_stop(env_of(s)->timers, &s->header_timer);
    if (s->stop_wanted)
        stop_now(s, s->stop_code);
    if (s->reset_wanted && !s->send_over)
        reset_now(s);
}

static void wait_for_header(struct h3_stream *s)
{
    timer_set(env_of(s)->timers, &s->header_timer,
              timers_now(env_of(s)->timers) + HEADER_WAIT_PTO * conn_pto(s->h3->conn));
}

/* Our own are bounded by the peer's limit. */
static bool pay(struct h3 *h, bool local)
{
    if (!local)
        return budget_reserve(conn_memory(h->conn), STREAM_COST, BUDGET_NEED);
    budget_charge(conn_memory(h->conn), STREAM_COST);
    return true;
}

struct h3_stream *h3_stream_new(struct h3 *h, int64_t id, bool local)
{
    struct h3_stream *s = calloc(1, sizeof(*s));
    if (!s)
        abort();
    s->h3 = h;
    s->id = id;
    s->local = local;
    s->unidirectional = (id & 2) != 0;
    s->is_paid = pay(h, local);
    h->unpaid += !s->is_paid;
    timer_init(&s->header_timer, header_known, s);
    TAILQ_INSERT_TAIL(&h->streams, s, in_all);
    return s;
}

static void free_memory(void *owner)
{
    struct h3_stream *s = owner;
    if (s->kind == H3_STREAM_WT)
        sendq_fini(&s->out);
    free(s);
}

void h3_stream_free(struct h3_stream *s)
{
    struct h3 *h = s->h3;
    h3_lane_leave(s);
    timer_stop(env_of(s)->timers, &s->header_timer);
    TAILQ_REMOVE(&h->streams, s, in_all);
    release_kept(s, s->kept);
    if (s->is_paid)
        budget_release(conn_memory(h->conn), STREAM_COST);
    h->unpaid -= !s->is_paid;
    if (s->kind == H3_STREAM_WT)
        env_of(s)->stats->streams--;
    turn_bury(env_of(s)->turn, &s->grave, free_memory, s);
}

void h3_stream_become_wt(struct h3_stream *s)
{
    struct env *env = env_of(s);
    s->kind = H3_STREAM_WT;
    sendq_init(&s->out, s->h3->host->config.stream_send_limit, &env->stats->send_bytes);
    s->send_over = !s->local && s->unidirectional;
    s->receive_over = s->local && s->unidirectional;
    env->stats->streams++;
    env->stats->streams_opened++;
}

struct h3_stream *h3_stream_open(struct h3_lane *l, uint64_t session_id, bool unidirectional,
                                 void *stream_user)
{
    struct h3 *h = l->h3;
    int64_t id;
    if (h->dead || !conn_stream_open(h->conn, unidirectional, &id, NULL))
        return NULL;
    struct h3_stream *s = h3_stream_new(h, id, true);
    conn_stream_set_user(h->conn, id, s);
    h3_stream_become_wt(s);
    h3_lane_enter(l, s);
    s->user = stream_user;
    uint8_t header[2 * VARINT_SIZE_MAX];
    s->header_len = varint_write(header, unidirectional ? WT_STREAM_TYPE_UNI : WT_STREAM_TYPE_BIDI);
    s->header_len += varint_write(header + s->header_len, session_id);
    s->out.limit += s->header_len; /* the limit is the holder's: payload only */
    if (sendq_write(&s->out, header, s->header_len) != s->header_len)
        abort();
    h3_lane_put(s);
    return s;
}

bool h3_stream_is_paid(const struct h3_stream *s)
{
    return s->is_paid;
}

static void tell_lane_consumed(const struct h3_stream *s, uint64_t len)
{
    if (len > 0 && s->lane && s->lane->user)
        ops_of(s)->lane_consumed(s->lane->user, len);
}

/* Told before anybody is told of the bytes: they may be more than was allowed. */
static void count_received(struct h3_stream *s, uint64_t len)
{
    s->received += len;
    if (len > 0 && s->lane && s->lane->user)
        ops_of(s)->lane_received(s->lane->user, len);
}

/* What was sent before a reset or after a stop, and never reached anybody. */
void h3_stream_measure(struct h3_stream *s, uint64_t final_size)
{
    uint64_t known = s->prefix_len + s->received;
    if (final_size == CONN_SIZE_UNKNOWN || final_size <= known)
        return;
    count_received(s, final_size - known);
    tell_lane_consumed(s, final_size - known);
}

void h3_stream_join(struct h3_stream *s, struct h3_lane *l)
{
    h3_lane_enter(l, s);
    if (s->received > 0)
        ops_of(s)->lane_received(l->user, s->received);
    tell_lane_consumed(s, s->received - s->uncredited);
}

void h3_stream_set_user(struct h3_stream *s, void *stream_user)
{
    s->user = stream_user;
}

size_t h3_stream_write(struct h3_stream *s, const void *data, size_t len)
{
    if (s->send_over || s->fin_wanted || s->reset_wanted)
        return 0;
    size_t n = sendq_write(&s->out, data, len);
    h3_lane_put(s);
    return n;
}

size_t h3_stream_room(const struct h3_stream *s)
{
    return s->send_over || s->fin_wanted || s->reset_wanted ? 0 : sendq_room(&s->out);
}

void h3_stream_end(struct h3_stream *s)
{
    if (s->send_over || s->reset_wanted)
        return;
    s->fin_wanted = true;
    h3_lane_put(s);
}

void h3_stream_reset(struct h3_stream *s, uint64_t code)
{
    if (s->send_over || s->reset_wanted)
        return;
    s->reset_wanted = true;
    s->reset_code = code;
    if (is_header_known(s)) {
        reset_now(s);
    } else if (s->out.sent == 0) {
        /* The peer will never learn whose stream it was, so nobody there can end its half. That end
         * is told as any other. */
        if (!s->unidirectional)
            stop_now(s, s->stop_wanted ? s->stop_code : code);
        reset_now(s);
    } else if (s->out.sent >= s->header_len && !s->h3->dead &&
               conn_has_reset_stream_at(s->h3->conn)) {
        header_known(s); /* it will be */
    } else {
        cut_out(s, s->header_len);
        wait_for_header(s);
    }
}

/* A stop that arrives before the header loses its code in Chromium. */
void h3_stream_stop(struct h3_stream *s, uint64_t code)
{
    if (s->receive_over)
        return;
    s->receive_over = true;
    if (is_header_known(s) || s->send_over) {
        stop_now(s, code);
        return;
    }
    s->stop_wanted = true;
    s->stop_code = code;
    wait_for_header(s);
}

void h3_stream_consumed(struct h3_stream *s, size_t len)
{
    assert(len <= s->uncredited);
    s->uncredited -= len;
    if (len == 0 || s->h3->dead)
        return;
    tell_lane_consumed(s, len);
    conn_stream_consumed(s->h3->conn, s->id, len);
    h3_touch(s->h3);
}

void h3_stream_allow(struct h3_stream *s, uint64_t offset)
{
    if (!s->h3->dead)
        conn_stream_allow(s->h3->conn, s->id, s->prefix_len + offset);
}

static void end_life(struct h3_stream *s)
{
    struct h3 *h = s->h3;
    h3_stream_consumed(s, s->uncredited);
    if (!s->local && !h->dead) {
        conn_stream_slot_free(h->conn, s->id);
        if (s->lane && s->lane->user)
            ops_of(s)->lane_slot_free(s->lane->user, s->unidirectional);
        h3_touch(h);
    }
    h3_stream_free(s);
}

void h3_stream_release(struct h3_stream *s)
{
    assert(!s->released);
    s->released = true;
    s->user = NULL;
    if (s->closed)
        end_life(s);
}

void h3_stream_finish(struct h3_stream *s)
{
    /* A peer may answer our STOP_SENDING with FIN, which QUIC does not tell any more. */
    h3_stream_peer_reset(s, H3_NO_ERROR);
    s->closed = true;
    s->send_over = true;
    if (s->kind == H3_STREAM_WT) {
        cut_out(s, 0);
        sendq_acked(&s->out, sendq_held(&s->out)); /* QUIC asks for nothing any more */
        release_kept(s, s->kept);
    }
    h3_lane_take(s);
    timer_stop(env_of(s)->timers, &s->header_timer);
    if (s->released)
        end_life(s);
}

static size_t header_unsent(const struct h3_stream *s)
{
    return s->out.sent < s->header_len ? s->header_len - (size_t)s->out.sent : 0;
}

bool h3_stream_wants_credit(const struct h3_stream *s)
{
    return !s->send_over && !s->fin_sent && !s->reset_wanted && h3_lane_room(s) == 0 &&
           sendq_unsent(&s->out) > header_unsent(s);
}

/* Leaves at most so many bytes; returns how many are left. */
static size_t cut(struct iovec *slices, size_t *count, size_t most)
{
    size_t sum = 0;
    for (size_t i = 0; i < *count; i++) {
        if (slices[i].iov_len >= most - sum) {
            slices[i].iov_len = most - sum;
            *count = i + (slices[i].iov_len > 0);
            return most;
        }
        sum += slices[i].iov_len;
    }
    return sum;
}

/* Unsent header bytes go out even when a reset waits; payload then does not. The end of a stream
 * without payload waits for the header's acknowledgement: Firefox closes the connection when
 * header and FIN arrive in one frame with nothing between them. */
size_t h3_stream_offer(const struct h3_stream *s, struct iovec *slices, size_t count, bool *fin)
{
    *fin = false;
    if (s->send_over || s->fin_sent)
        return 0;
    if (s->reset_wanted) {
        if (s->out.sent >= s->header_len || sendq_peek(&s->out, slices, 1) == 0)
            return 0;
        size_t n = 1;
        cut(slices, &n, header_unsent(s));
        return n;
    }
    size_t n = sendq_peek(&s->out, slices, count), room = h3_lane_room(s);
    size_t offered = cut(slices, &n, room < SIZE_MAX ? room + header_unsent(s) : SIZE_MAX);
    bool lone_header = s->out.end == s->header_len && s->out.base < s->header_len;
    *fin = s->fin_wanted && offered == sendq_unsent(&s->out) && !lone_header;
    return n;
}

void h3_stream_sent(struct h3_stream *s, size_t len, bool fin)
{
    size_t header = header_unsent(s);
    h3_lane_spend(s, len > header ? len - header : 0);
    sendq_sent(&s->out, len);
    s->fin_sent |= fin;
}

/* The largest order is the smallest key. */
void h3_stream_set_order(struct h3_stream *s, int64_t send_order)
{
    h3_lane_take(s);
    s->has_order = true;
    s->order = (uint64_t)INT64_MAX - (uint64_t)send_order;
    h3_lane_put(s);
}

void h3_stream_take(struct h3_stream *s, const uint8_t *data, size_t len, bool fin)
{
    s->uncredited += len;
    count_received(s, len);
    if (s->receive_over || s->released) {
        h3_stream_consumed(s, len);
        return;
    }
    s->receive_over |= fin;
    ops_of(s)->stream_received(s->user, data, len, fin);
}

void h3_stream_acked(struct h3_stream *s, size_t len, bool fin)
{
    release_kept(s, len);
    if (s->send_over) {
        sendq_acked(&s->out, len);
        return;
    }
    size_t header_left = s->out.base < s->header_len ? s->header_len - (size_t)s->out.base : 0;
    size_t of_header = len < header_left ? len : header_left;
    sendq_acked(&s->out, len);
    if (is_header_known(s) && (s->reset_wanted || s->stop_wanted))
        header_known(s);
    if (s->reset_wanted)
        return;
    s->send_over |= fin;
    h3_lane_put(s); /* an end that waited for the header */
    if (!s->released && (len > of_header || fin))
        ops_of(s)->stream_acked(s->user, len - of_header, fin);
}

void h3_stream_peer_reset(struct h3_stream *s, uint64_t code)
{
    if (s->receive_over)
        return;
    s->receive_over = true;
    if (!s->released)
        ops_of(s)->stream_reset(s->user, code);
}

void h3_stream_peer_stopped(struct h3_stream *s, uint64_t code)
{
    bool was_over = s->send_over || s->reset_wanted;
    s->send_over = true;
    h3_lane_take(s);
    header_known(s); /* it is: who stops a stream knows it */
    cut_out(s, 0);
    if (!was_over && !s->released)
        ops_of(s)->stream_stopped(s->user, code);
}
