/*
 * wt_stream - a session's streams. Owns what arrives on a stream before its session is there or
 * accepted, within what the client's flow control allows. Calls h3; tells the host's ops.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/report.h"
#include "base/stats.h"
#include "front/wt_code.h"
#include "front/wt_internal.h"

static const struct wt_ops *ops_of(const struct wt_stream *st)
{
    return st->session->ops;
}

static struct wt_stream *stream_new(struct wt_conn *c, bool unidirectional)
{
    struct wt_stream *st = calloc(1, sizeof(*st));
    if (!st)
        abort();
    st->conn = c;
    st->unidirectional = unidirectional;
    recvq_init(&st->kept, &c->host->env->stats->receive_bytes);
    return st;
}

static void unlink_stream(struct wt_stream *st)
{
    if (st->session) {
        TAILQ_REMOVE(&st->session->streams, st, entry);
        return;
    }
    TAILQ_REMOVE(&st->conn->early, st, entry);
    st->conn->early_count--;
}

static void free_memory(void *owner)
{
    struct wt_stream *st = owner;
    recvq_fini(&st->kept);
    free(st);
}

void wt_stream_free(struct wt_stream *st)
{
    unlink_stream(st);
    st->gone = true;
    h3_stream_release(st->h3);
    turn_bury(st->conn->host->env->turn, &st->grave, free_memory, st);
}

void wt_stream_kill(struct wt_stream *st, uint64_t wire_code)
{
    h3_stream_reset(st->h3, wire_code);
    h3_stream_stop(st->h3, wire_code);
    wt_stream_free(st);
}

static void refuse(struct wt_conn *c, struct h3_stream *h3, enum fault fault, uint64_t wire_code)
{
    report_count(c->host->env, fault);
    h3_stream_set_user(h3, NULL);
    h3_stream_reset(h3, wire_code);
    h3_stream_stop(h3, wire_code);
    h3_stream_release(h3);
}

static void keep_early(struct wt_conn *c, struct wt_stream *st)
{
    struct timers *timers = c->host->env->timers;
    if (c->early_count++ == 0)
        timer_set(timers, &c->early_timer, timers_now(timers) + c->config.settings_timeout_ns);
    TAILQ_INSERT_TAIL(&c->early, st, entry);
}

static void join(struct h3_stream *h3, struct wt_session *s)
{
    if (s)
        h3_stream_join(h3, s->lane);
}

void wt_stream_arrived(struct wt_conn *c, struct h3_stream *h3, uint64_t session_id,
                       bool unidirectional)
{
    struct wt_session *s = wt_session_find(c, session_id);
    if (s ? s->state >= WT_CLOSING : wt_conn_has_ended(c, session_id)) {
        join(h3, s); /* it counts in the peer's view, too */
        refuse(c, h3, FAULT_SESSION_GONE, WT_SESSION_GONE);
        return;
    }
    if (!s && c->early_count >= c->config.early_streams) {
        refuse(c, h3, FAULT_TOO_MANY_EARLY, WT_BUFFERED_STREAM_REJECTED);
        return;
    }
    if (s && !wt_flow_opened(s, unidirectional)) {
        refuse(c, h3, FAULT_SESSION_GONE, WT_SESSION_GONE);
        wt_session_violated(s);
        return;
    }
    if (!h3_stream_is_paid(h3)) {
        join(h3, s);
        refuse(c, h3, FAULT_MEMORY_STREAM, WT_BUFFERED_STREAM_REJECTED);
        return;
    }
    struct wt_stream *st = stream_new(c, unidirectional);
    st->h3 = h3;
    st->session_id = session_id;
    st->session = s;
    st->held = true;
    h3_stream_set_user(h3, st);
    if (!s) {
        keep_early(c, st);
        return;
    }
    TAILQ_INSERT_TAIL(&s->streams, st, entry);
    h3_stream_join(h3, s->lane);
    if (s->state == WT_OPEN && !s->delivering)
        wt_stream_deliver(st);
}

void wt_stream_adopt(struct wt_session *s)
{
    struct wt_stream *st, *next;
    for (st = TAILQ_FIRST(&s->conn->early); st; st = next) {
        next = TAILQ_NEXT(st, entry);
        if (st->session_id != s->id)
            continue;
        unlink_stream(st);
        st->session = s;
        TAILQ_INSERT_TAIL(&s->streams, st, entry);
        if (!wt_flow_opened(s, st->unidirectional))
            wt_session_violated(s);
        else
            h3_stream_join(st->h3, s->lane); /* which may end the session as well */
        if (s->state == WT_ENDED)
            return;
    }
}

/* Its holder may release the stream in any of the upcalls; its memory is there until the turn ends.
 */
void wt_stream_deliver(struct wt_stream *st)
{
    const struct wt_ops *ops = ops_of(st);
    st->held = false;
    ops->stream_opened(st->session->user, st, st->unidirectional);
    while (!st->gone && recvq_held(&st->kept) > 0) {
        size_t len;
        const uint8_t *data = recvq_peek(&st->kept, &len);
        bool last = len == recvq_held(&st->kept);
        bool fin = st->kept_fin && last;
        st->kept_fin = st->kept_fin && !last;
        ops->stream_received(st->user, data, len, fin);
        recvq_drop(&st->kept, len);
    }
    if (!st->gone && st->kept_fin)
        ops->stream_received(st->user, NULL, 0, true);
    if (!st->gone && st->kept_reset)
        ops->stream_reset(st->user, wt_code_from_wire(st->kept_reset_code));
    if (!st->gone && st->kept_stop)
        ops->stream_stopped(st->user, wt_code_from_wire(st->kept_stop_code));
}

/* After the holder has closed the session nobody wants to hear of its streams. */
static bool is_muted(const struct wt_stream *st)
{
    return st->session && st->session->state >= WT_CLOSING;
}

void wt_stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin)
{
    struct wt_stream *st = stream_user;
    if (is_muted(st)) {
        h3_stream_consumed(st->h3, len);
        return;
    }
    if (!st->held) {
        ops_of(st)->stream_received(st->user, data, len, fin);
        return;
    }
    recvq_write(&st->kept, data, len);
    st->kept_fin |= fin;
}

void wt_stream_peer_reset(void *stream_user, uint64_t code)
{
    struct wt_stream *st = stream_user;
    if (st->held) {
        st->kept_reset = true;
        st->kept_reset_code = code;
    } else if (!is_muted(st)) {
        ops_of(st)->stream_reset(st->user, wt_code_from_wire(code));
    }
}

void wt_stream_peer_stopped(void *stream_user, uint64_t code)
{
    struct wt_stream *st = stream_user;
    if (st->held) {
        st->kept_stop = true;
        st->kept_stop_code = code;
    } else if (!is_muted(st)) {
        ops_of(st)->stream_stopped(st->user, wt_code_from_wire(code));
    }
}

void wt_stream_was_acked(void *stream_user, size_t len, bool all)
{
    struct wt_stream *st = stream_user;
    if (!is_muted(st))
        ops_of(st)->stream_acked(st->user, len, all);
}

struct wt_stream *wt_stream_open(struct wt_session *s, bool unidirectional, void *stream_user)
{
    assert(s->state == WT_OPEN);
    if (!wt_flow_may_open(s, unidirectional))
        return NULL;
    struct wt_stream *st = stream_new(s->conn, unidirectional);
    st->h3 = h3_stream_open(s->lane, s->id, unidirectional, st);
    if (!st->h3) {
        free(st);
        return NULL;
    }
    wt_flow_own_opened(s, unidirectional);
    st->session = s;
    st->session_id = s->id;
    st->user = stream_user;
    TAILQ_INSERT_TAIL(&s->streams, st, entry);
    return st;
}

void wt_stream_set_user(struct wt_stream *st, void *stream_user)
{
    st->user = stream_user;
}

size_t wt_stream_write(struct wt_stream *st, const void *data, size_t len)
{
    return h3_stream_write(st->h3, data, len);
}

size_t wt_stream_room(const struct wt_stream *st)
{
    return h3_stream_room(st->h3);
}

void wt_stream_end(struct wt_stream *st)
{
    h3_stream_end(st->h3);
}

void wt_stream_reset(struct wt_stream *st, uint32_t code)
{
    h3_stream_reset(st->h3, wt_code_to_wire(code));
}

void wt_stream_stop(struct wt_stream *st, uint32_t code)
{
    h3_stream_stop(st->h3, wt_code_to_wire(code));
}

void wt_stream_set_order(struct wt_stream *st, int64_t send_order)
{
    h3_stream_set_order(st->h3, send_order);
}

void wt_stream_consumed(struct wt_stream *st, size_t len)
{
    h3_stream_consumed(st->h3, len);
}

void wt_stream_allow(struct wt_stream *st, uint64_t offset)
{
    h3_stream_allow(st->h3, offset);
}

void wt_stream_release(struct wt_stream *st)
{
    wt_stream_free(st);
}
