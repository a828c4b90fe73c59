/*
 * A stream and its connection: bytes both ways by credit, and what the end of a half on one side
 * means on the other. Owns struct bridge_stream. Calls wt, upstream and pipe.
 *
 * It is let go when both sides are done with it: the client's (it has acknowledged, or was given
 * up) and the service's (the connection is closed).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "back/proxy_protocol.h"
#include "base/report.h"
#include "bridge_internal.h"

#define PIECES 16 /* of the queue, written with one system call */

static struct env *env_of(const struct bridge_stream *st)
{
    return st->session->bridge->env;
}

static void touch(struct bridge_stream *st)
{
    turn_touch(env_of(st)->turn, &st->flush);
}

/* What a stream costs besides its window. */
static size_t cost_of(const struct bridge_session *s)
{
    return BRIDGE_STREAM_COST + (s->route->tls ? BRIDGE_TLS_COST : 0);
}

/* --- letting go --- */

static void free_stream(void *owner)
{
    free(owner);
}

static bool is_settled(const struct bridge_stream *st)
{
    bool client_done = !st->wt || (st->down == BRIDGE_DOWN_OVER && st->up_over &&
                                   (st->client_ended || st->client_stopped));
    return st->state == BRIDGE_OVER && client_done;
}

/* True if it is gone. */
static bool settle(struct bridge_stream *st)
{
    struct bridge_session *s = st->session;
    if (!is_settled(st))
        return false;
    if (st->wt)
        wt_stream_release(st->wt);
    recvq_fini(&st->queue);
    budget_release(&s->memory, cost_of(s));
    turn_untouch(env_of(st)->turn, &st->flush);
    LIST_REMOVE(st, entry);
    turn_bury(env_of(st)->turn, &st->grave, free_stream, st);
    bridge_session_settle(s);
    return true;
}

/* --- accounts --- */

static void take_from(struct bridge_account *a, uint64_t len, uint64_t now_ns, uint64_t rtt_ns)
{
    assert(len <= a->held);
    a->held -= len;
    window_taken(&a->window, len, now_ns, rtt_ns);
}

static size_t room_in(const struct bridge_account *a)
{
    return a->held < a->window.size ? (size_t)(a->window.size - a->held) : 0;
}

/* A little room is as none: many small readings cost more than they bring, and what is held will be
 * acknowledged. */
static size_t own_room_of(const struct bridge_stream *st)
{
    size_t room = room_in(&st->account);
    return st->account.held > 0 && room < st->account.window.size / 4 ? 0 : room;
}

/* Of the session's window; but something there is always, however much of other streams a client
 * leaves unread. */
static size_t shared_room_of(const struct bridge_stream *st)
{
    size_t room = room_in(&st->session->account);
    if (st->account.held < BRIDGE_STREAM_LEAST && room < BRIDGE_STREAM_LEAST - st->account.held)
        room = BRIDGE_STREAM_LEAST - st->account.held;
    return room;
}

/* What may be read now. If it is 0, something is held: when that is acknowledged, the stream is
 * looked at again. */
static size_t room_of(const struct bridge_stream *st)
{
    size_t own = own_room_of(st), shared = shared_room_of(st);
    size_t room = wt_stream_room(st->wt); /* less if the route has changed since it connected */
    if (room > own)
        room = own;
    return room < shared ? room : shared;
}

static void release(struct bridge_stream *st, uint64_t len)
{
    struct bridge_session *s = st->session;
    uint64_t now = timers_now(env_of(st)->timers), rtt = s->wt ? wt_session_rtt(s->wt) : 0;
    take_from(&st->account, len, now, rtt);
    take_from(&s->account, len, now, rtt);
}

/* --- the ends of halves --- */

static void drop_queue(struct bridge_stream *st)
{
    size_t held = recvq_held(&st->queue);
    recvq_drop(&st->queue, held);
    if (st->wt)
        wt_stream_consumed(st->wt, held);
}

/* Nothing more goes to the service; the client is told if it has not ended by itself. */
static void end_up(struct bridge_stream *st, uint32_t code)
{
    if (!st->up_over)
        drop_queue(st);
    st->up_over = true;
    if (st->wt && !st->client_ended && !st->client_stopped) {
        st->client_stopped = true;
        wt_stream_stop(st->wt, code);
    }
}

static void end_down(struct bridge_stream *st)
{
    st->down = BRIDGE_DOWN_OVER;
    release(st, st->account.held);
}

static void reset_down(struct bridge_stream *st, uint32_t code)
{
    if (st->down != BRIDGE_DOWN_OPEN)
        return;
    wt_stream_reset(st->wt, code);
    end_down(st);
}

/* The pipe is closed or will not be asked for: the seat is another's. */
static void leave(struct bridge_stream *st)
{
    st->pipe = NULL;
    st->state = BRIDGE_OVER;
    if (st->seat.upstream) {
        seat_leave(&st->seat);
        bridge_session_give_socket(st->session);
    }
}

static void give_up(struct bridge_stream *st, uint32_t code)
{
    leave(st);
    end_up(st, code);
    reset_down(st, code);
    settle(st);
}

static void close_pipe(struct bridge_stream *st, bool reset)
{
    if (st->pipe && reset)
        pipe_reset(st->pipe);
    else if (st->pipe)
        pipe_close(st->pipe);
    leave(st);
}

static void connection_broken(struct bridge_stream *st)
{
    pipe_close(st->pipe);
    give_up(st, BRIDGE_RESET);
}

/* --- from the client to the service --- */

/* A service that does not read must not use up what the client's other streams need. */
static void limit(struct bridge_stream *st)
{
    bool reads = st->taken >= BRIDGE_PROOF && recvq_held(&st->queue) == 0;
    if (!st->wt || (reads && st->is_trusted))
        return;
    st->is_trusted = reads;
    wt_stream_allow(st->wt, reads ? BRIDGE_NO_LIMIT : st->taken + BRIDGE_TRUST);
}

/* True when all is the socket's. */
static bool push_queue(struct bridge_stream *st)
{
    struct iovec pieces[PIECES];
    while (recvq_held(&st->queue) > 0) {
        int count = recvq_lend(&st->queue, pieces, PIECES);
        ssize_t n = pipe_write(st->pipe, pieces, count);
        if (n < 0) {
            if (errno != EAGAIN)
                end_up(st, BRIDGE_RESET); /* what it wrote is still to be read, and a reset then */
            return false;
        }
        st->taken += (uint64_t)n;
        recvq_drop(&st->queue, (size_t)n);
        if (st->wt)
            wt_stream_consumed(st->wt, (size_t)n);
    }
    return true;
}

static void push(struct bridge_stream *st)
{
    bool is_empty = push_queue(st);
    if (st->up_over)
        return;
    if (!st->client_ended) {
        limit(st);
    } else if (is_empty) {
        st->up_over = true;
        pipe_shut(st->pipe);
    }
}

/* --- from the service to the client --- */

static void service_ended(struct bridge_stream *st)
{
    st->service_ended = true;
    if (st->down != BRIDGE_DOWN_OPEN)
        return;
    st->down = BRIDGE_DOWN_ENDED;
    wt_stream_end(st->wt);
}

static void charge(struct bridge_stream *st, size_t len)
{
    st->account.held += len;
    st->session->account.held += len;
}

static void hand_down(struct bridge_stream *st, const uint8_t *data, size_t len)
{
    charge(st, len);
    size_t taken = wt_stream_write(st->wt, data, len);
    assert(taken == len); /* room_of has asked */
    (void)taken;
}

/* What nobody wants is read all the same, to hear of the end: pipe_stop was said. */
static void pull(struct bridge_stream *st)
{
    struct bridge *b = st->session->bridge;
    bool is_wanted = st->down == BRIDGE_DOWN_OPEN;
    size_t room = is_wanted ? room_of(st) : sizeof b->read_buffer;
    st->is_full = room == 0;
    if (room == 0)
        return;
    if (room > sizeof b->read_buffer)
        room = sizeof b->read_buffer;
    ssize_t n = pipe_read(st->pipe, b->read_buffer, room);
    if (n > 0)
        hand_down(st, b->read_buffer, (size_t)n);
    else if (n == 0)
        service_ended(st);
    else if (errno != EAGAIN)
        connection_broken(st);
}

/* --- what the connection waits for --- */

/* The session's window grows if it is in the way. */
static void wait_for_room(struct bridge_stream *st)
{
    st->is_full = true;
    if (own_room_of(st) > 0 && shared_room_of(st) == 0 &&
        window_grow(&st->session->account.window) > 0)
        touch(st);
}

static void watch(struct bridge_stream *st)
{
    bool reads = !st->service_ended;
    if (reads && st->down == BRIDGE_DOWN_OPEN && room_of(st) == 0) {
        wait_for_room(st);
        reads = false;
    }
    pipe_want(st->pipe, reads, recvq_held(&st->queue) > 0);
}

/* After anything has happened to it. */
static void go_on(struct bridge_stream *st)
{
    if (st->state != BRIDGE_OPEN)
        return;
    if (st->up_over && !st->service_ended && st->down == BRIDGE_DOWN_OVER) {
        st->state = BRIDGE_FINISHING;
        pipe_finish(st->pipe);
    } else if (st->up_over && st->service_ended) {
        close_pipe(st, false);
        settle(st);
    } else {
        watch(st);
    }
}

static void flush(void *owner)
{
    struct bridge_stream *st = owner;
    if (st->state == BRIDGE_OPEN && recvq_held(&st->queue) + st->client_ended > 0)
        push(st);
    if (st->state == BRIDGE_OPEN && st->is_full && !st->service_ended)
        pull(st);
    go_on(st);
}

static void pipe_readable(void *user)
{
    struct bridge_stream *st = user;
    pull(st);
    go_on(st);
}

static void pipe_writable(void *user)
{
    struct bridge_stream *st = user;
    push(st);
    go_on(st);
}

/* --- making the connection --- */

/* back/dial.h says which errors are other faults than BACKEND_CONNECT. */
static enum bridge_code code_of(enum fault fault, int error)
{
    if (fault == FAULT_BACKEND_FULL)
        return BRIDGE_FULL;
    if (fault == FAULT_BACKEND_CONNECT_TIMEOUT)
        return BRIDGE_TIMED_OUT;
    if (fault == FAULT_BACKEND_LOST)
        return BRIDGE_RESET;
    if (fault == FAULT_BACKEND_TLS)
        return BRIDGE_TLS;
    switch (error) {
    case ECONNREFUSED:
    case ENOENT: /* a Unix socket that is not there */
        return BRIDGE_REFUSED;
    case ETIMEDOUT:
        return BRIDGE_TIMED_OUT;
    default:
        return BRIDGE_UNREACHABLE;
    }
}

static void tell_failed(const struct bridge_stream *st, enum fault fault, const char *text)
{
    const char *address = seat_address(&st->seat);
    REPORT(env_of(st), WARN, "stream.failed", fault, log_text("session", st->session->visit.id),
           log_text("address", address[0] ? address : NULL), log_text("detail", text));
}

static void pipe_opened(void *user)
{
    struct bridge_stream *st = user;
    st->state = BRIDGE_OPEN;
    seat_answered(&st->seat);
    if (st->down == BRIDGE_DOWN_OVER)
        pipe_stop(st->pipe);
    touch(st);
}

static void pipe_failed(void *user, const struct pipe_end *end)
{
    struct bridge_stream *st = user;
    st->pipe = NULL;
    st->error = end->error;
    tell_failed(st, end->fault, end->text);
    if (!seat_failed(&st->seat, end->fault))
        give_up(st, code_of(end->fault, end->error));
}

static void pipe_finished(void *user)
{
    struct bridge_stream *st = user;
    leave(st);
    settle(st);
}

static const struct pipe_ops ops_of_pipe = {.opened = pipe_opened,
                                            .readable = pipe_readable,
                                            .writable = pipe_writable,
                                            .failed = pipe_failed,
                                            .finished = pipe_finished};

static void granted(void *user)
{
    struct bridge_stream *st = user;
    uint8_t preface[PROXY_PROTOCOL_MAX];
    size_t len = bridge_session_preface(st->session, preface, sizeof preface);
    st->pipe = seat_open_pipe(&st->seat, preface, len, &ops_of_pipe, st);
}

static void denied(void *user, enum fault fault, const char *text)
{
    struct bridge_stream *st = user;
    bridge_session_give_socket(st->session); /* the seat is free already */
    if (text)
        tell_failed(st, fault, text);
    give_up(st, code_of(fault, st->error));
}

static const struct seat_ops ops_of_seat = {granted, denied};

static void refuse(struct bridge_stream *st, enum fault fault, enum bridge_code code,
                   const char *text)
{
    tell_failed(st, fault, text);
    give_up(st, code);
}

static void seek(struct bridge_stream *st)
{
    struct bridge_session *s = st->session;
    if (s->route->streams == BRIDGE_NONE) {
        give_up(st, BRIDGE_UNSUPPORTED);
        return;
    }
    if (!bridge_session_take_socket(s)) {
        refuse(st, FAULT_BACKEND_FULL, BRIDGE_FULL, "the limit of connections is reached");
        return;
    }
    seat_ask(&st->seat, s->visit.upstreams[s->route->streams], s->key, &ops_of_seat, st);
}

void bridge_stream_opened(void *user, struct wt_stream *wt, bool unidirectional)
{
    struct bridge_session *s = user;
    bool has_memory = budget_reserve(&s->memory, cost_of(s), BUDGET_NEED);
    struct bridge_stream *st = calloc(1, sizeof *st);
    assert(st);
    if (!has_memory)
        budget_charge(&s->memory, cost_of(s)); /* until it is given up */
    size_t largest = s->route->stream_window;
    st->session = s;
    st->wt = wt;
    st->down = unidirectional ? BRIDGE_DOWN_OVER : BRIDGE_DOWN_OPEN;
    recvq_init(&st->queue, &s->bridge->env->stats->receive_bytes);
    window_init(&st->account.window,
                largest < BRIDGE_FIRST_STREAM_WINDOW ? largest : BRIDGE_FIRST_STREAM_WINDOW,
                largest, NULL); /* the session's window pays */
    turn_flush_init(&st->flush, TURN_BACK, flush, st);
    LIST_INSERT_HEAD(&s->streams, st, entry);
    wt_stream_set_user(wt, st);
    wt_stream_allow(wt, BRIDGE_TRUST);
    if (has_memory)
        seek(st);
    else
        refuse(st, FAULT_MEMORY_STREAM, BRIDGE_FULL, NULL);
}

/* --- what the client does --- */

void bridge_stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin)
{
    struct bridge_stream *st = stream_user;
    assert(!st->up_over);
    st->client_ended |= fin;
    recvq_write(&st->queue, data, len);
    touch(st);
}

void bridge_stream_reset(void *stream_user, struct wt_code code)
{
    struct bridge_stream *st = stream_user;
    (void)code; /* TCP has none */
    st->client_ended = true;
    if (st->state == BRIDGE_OVER) {
        settle(st);
        return;
    }
    close_pipe(st, true);
    give_up(st, BRIDGE_RESET);
}

void bridge_stream_stopped(void *stream_user, struct wt_code code)
{
    struct bridge_stream *st = stream_user;
    (void)code;
    if (st->down != BRIDGE_DOWN_OVER)
        end_down(st);
    if (st->state == BRIDGE_OPEN)
        pipe_stop(st->pipe);
    if (!settle(st))
        touch(st);
}

void bridge_stream_acked(void *stream_user, size_t len, bool all)
{
    struct bridge_stream *st = stream_user;
    if (st->down == BRIDGE_DOWN_OVER)
        return;
    release(st, len);
    if (all && st->down == BRIDGE_DOWN_ENDED)
        end_down(st);
    if (st->is_full)
        touch(st);
    settle(st);
}

/* --- the session's end --- */

void bridge_stream_forget_wt(struct bridge_stream *st)
{
    st->wt = NULL;
    if (st->down != BRIDGE_DOWN_OVER)
        end_down(st);
    if (st->state == BRIDGE_OVER) {
        settle(st);
    } else if (!st->client_ended) {
        close_pipe(st, true);
        st->up_over = true;
        settle(st);
    } else {
        if (st->state == BRIDGE_OPEN)
            pipe_stop(st->pipe);
        touch(st);
    }
}

void bridge_stream_abandon(struct bridge_stream *st)
{
    if (st->state != BRIDGE_OVER)
        close_pipe(st, true);
    settle(st);
}
