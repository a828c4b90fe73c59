/*
 * What the application commands, done to the client: decode, judge by the rules, act. Streams that
 * the client's limit does not admit yet wait here, in the order of their ids. Calls protocol and
 * wt.
 */
#include <stdio.h>

#include "relay_internal.h"

/* --- streams --- */

static void send_on(struct stream *st, const struct message *m)
{
    struct session *s = st->session;
    size_t taken = 0;
    stream_charged(st, m->data.len);
    st->confirm |= m->confirm;
    if (!st->pending && recvq_held(&st->backlog) == 0)
        taken = wt_stream_write(st->wt, m->data.at, m->data.len);
    if (taken < m->data.len)
        recvq_write(&st->backlog, m->data.at + taken, m->data.len - taken);
    if (m->end_stream) {
        st->down = DOWN_ENDED;
        s->undelivered++;
    }
    if (!st->pending)
        stream_push(st);
    session_watch_credit(s);
}

static void refuse_stream(struct session *s, const struct message *m)
{
    struct message_fault fault = {
        .code = "too_many_streams", .field = "stream_id", .stream_id = m->stream_id};
    snprintf(fault.text, sizeof fault.text,
             "stream_id: %zu streams wait for the client's limit already; this one is not opened",
             s->pending_count);
    session_charged_for_nothing(s, m->data.len);
    news_error(s, &fault, false);
}

static void open_stream(struct session *s, const struct message *m)
{
    uint64_t id = m->stream_id.value;
    bool uni = stream_is_uni(id);
    struct wt_stream *wt = NULL;
    rules_app_opened(&s->rules, uni);
    if (TAILQ_EMPTY(&s->pending[uni]))
        wt = wt_stream_open(s->wt, uni, NULL);
    if (!wt && s->pending_count >= s->route->max_pending_streams) {
        refuse_stream(s, m);
        return;
    }
    struct stream *st = stream_new(s, id, wt);
    if (wt) {
        wt_stream_set_user(wt, st);
    } else {
        st->pending = true;
        s->pending_count++;
        TAILQ_INSERT_TAIL(&s->pending[uni], st, pending_entry);
    }
    send_on(st, m);
}

static void stop_waiting(struct stream *st)
{
    struct session *s = st->session;
    TAILQ_REMOVE(&s->pending[st->unidirectional], st, pending_entry);
    s->pending_count--;
    st->pending = false;
}

void down_open_pending(struct session *s, bool unidirectional)
{
    struct stream *st;
    while ((st = TAILQ_FIRST(&s->pending[unidirectional]))) {
        struct wt_stream *wt = wt_stream_open(s->wt, unidirectional, st);
        if (!wt)
            return;
        st->wt = wt;
        stop_waiting(st);
        stream_tell_limit(st);
        if (st->reset_later)
            wt_stream_reset(wt, st->reset_later_code);
        else
            stream_push(st);
        if (st->order_later)
            wt_stream_set_order(wt, st->send_order);
        if (st->stop_later)
            wt_stream_stop(wt, st->stop_later_code);
        stream_settle(st);
    }
}

static void reset(struct stream *st, uint32_t code)
{
    if (st->pending) {
        st->reset_later = true;
        st->reset_later_code = code;
        if (st->up_over)
            stop_waiting(st); /* the client never hears of it */
    } else {
        wt_stream_reset(st->wt, code);
    }
    stream_end_down(st);
    stream_settle(st);
}

static void stop(struct stream *st, uint32_t code)
{
    st->stopped = true;
    if (st->pending) {
        st->stop_later = true;
        st->stop_later_code = code;
        if (st->down == DOWN_OVER)
            stop_waiting(st);
    } else if (!st->client_ended) {
        wt_stream_stop(st->wt, code);
    }
    stream_drop_up(st);
    stream_settle(st);
}

/* Without receive_window there is nothing to be credited: the socket is the credit. */
static void set_order(struct stream *st, int64_t send_order)
{
    st->send_order = send_order;
    st->order_later = st->pending;
    if (!st->pending)
        wt_stream_set_order(st->wt, send_order);
}

static void take_credit(struct session *s, struct stream *st, uint64_t limit)
{
    struct stream *next;
    if (s->receive_window == UINT64_MAX)
        return;
    if (st && limit > st->up_limit) {
        st->up_limit = limit;
        stream_tell_limit(st);
        stream_make_ready(st);
    }
    if (st || (s->up_limit != UINT64_MAX && limit <= s->up_limit))
        return;
    s->up_limit = limit;
    HASH_ITER (hh, s->streams, st, next)
        stream_make_ready(st);
}

/* --- the session --- */

static void send_datagram(struct session *s, const struct message *m)
{
    if (wt_datagram_send(s->wt, m->data.at, m->data.len))
        return;
    struct message_fault fault = {.code = "datagram_too_large", .field = "data"};
    snprintf(fault.text, sizeof fault.text, "data: %zu bytes, expected at most %zu", m->data.len,
             wt_datagram_max(s->wt));
    news_error(s, &fault, false);
}

static void apply(struct session *s, struct stream *st, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_ACCEPT:
        session_accept(s, m);
        break;
    case MESSAGE_REJECT:
        session_reject(s, m);
        break;
    case MESSAGE_CLOSE:
        session_close(s, m);
        break;
    case MESSAGE_ABORT:
        session_abort(s);
        break;
    case MESSAGE_STREAM_SEND:
        send_on(st, m);
        break;
    case MESSAGE_STREAM_RESET:
        reset(st, (uint32_t)m->code.value);
        break;
    case MESSAGE_STREAM_STOP:
        stop(st, (uint32_t)m->code.value);
        break;
    case MESSAGE_CREDIT:
        take_credit(s, st, m->limit.value);
        break;
    case MESSAGE_DATAGRAM_SEND:
        send_datagram(s, m);
        break;
    case MESSAGE_DRAIN:
        wt_drain(s->wt);
        break;
    case MESSAGE_STREAM_PRIORITY:
        set_order(st, m->send_order);
        break;
    default: /* only Sluice says these; the decoder knows */
        break;
    }
}

static const struct rules_stream *halves_of(const struct stream *st, struct rules_stream *halves)
{
    if (!st)
        return NULL;
    *halves = (struct rules_stream){.can_send = st->down == DOWN_OPEN,
                                    .can_stop = !st->up_over,
                                    .can_reset = st->down != DOWN_OVER};
    return halves;
}

static void obey(struct session *s, const struct message *m)
{
    struct rules_stream halves;
    struct message_fault fault;
    struct stream *st = m->stream_id.set ? stream_find(s, m->stream_id.value) : NULL;
    switch (rules_judge(&s->rules, m, halves_of(st, &halves), &fault)) {
    case RULES_APPLY:
        apply(s, st, m);
        return;
    case RULES_OPENS:
        open_stream(s, m);
        return;
    case RULES_FATAL:
        session_break(s, &fault);
        return;
    case RULES_ERROR:
        news_error(s, &fault, false);
        break;
    case RULES_SILENT:
        break;
    }
    /* The application has counted these bytes against the session's credit. */
    if (m->type == MESSAGE_STREAM_SEND)
        session_charged_for_nothing(s, m->data.len);
}

void down_frame_received(void *user, const uint8_t *body, size_t len)
{
    struct session *s = user;
    struct message m;
    struct message_fault fault;
    if (!session_listens(s))
        return;
    if (message_decode(s->relay->decoder, body, len, &m, &fault))
        obey(s, &m);
    else
        session_break(s, &fault);
}

void down_frame_refused(void *user, uint64_t length)
{
    struct session *s = user;
    struct message_fault fault = {.code = "bad_length", .field = ""};
    if (!session_listens(s))
        return;
    snprintf(fault.text, sizeof fault.text,
             "a frame's length is %llu, expected 1 to %zu (max_frame)", (unsigned long long)length,
             s->route->max_frame);
    session_break(s, &fault);
}
