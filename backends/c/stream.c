/*
 * stream.c - streams, their queues and their credit. Owns the streams. Calls session (down) and the
 * application's events.
 */
#include "stream.h"

#include <assert.h>
#include <stdlib.h>

enum stream_work {
    WORK_RESUME = 1,   /* offer the inbox again */
    WORK_WRITABLE = 2, /* tell that there is room */
    WORK_CLOSED = 4,   /* both directions have ended */
};

static const struct sluice_events *events_of(const struct sluice_stream *st)
{
    return &st->session->app->events;
}

/* Not after our own close: then only the last events are still told. */
static bool is_session_open(const struct sluice_stream *st)
{
    return st->session->phase == SESSION_ACCEPTED;
}

static void add_work(struct sluice_stream *st, enum stream_work what)
{
    if (!st->work)
        TAILQ_INSERT_TAIL(&st->session->work, st, working);
    st->work |= what;
    session_stir(st->session);
}

static void check_closed(struct sluice_stream *st)
{
    if (!st->can_receive && !st->can_send)
        add_work(st, WORK_CLOSED);
}

struct sluice_stream *stream_find(struct sluice_session *s, uint64_t id)
{
    if (s->recent && s->recent->id == id)
        return s->recent;
    struct sluice_stream *st;
    HASH_FIND(hh, s->streams, &id, sizeof(id), st);
    if (st)
        s->recent = st;
    return st;
}

struct sluice_stream *stream_new(struct sluice_session *s, uint64_t id)
{
    struct sluice_stream *st = calloc(1, sizeof(*st));
    if (!st)
        abort();
    bool by_client = (id & 1) == 0, unidirectional = (id & 2) != 0;
    st->session = s;
    st->id = id;
    st->can_receive = by_client || !unidirectional;
    st->can_send = !by_client || !unidirectional;
    st->granted = SLUICE_RECEIVE_WINDOW;
    st->limit = s->stream_window;
    st->inbox.spare = st->queue.spare = &s->app->loop.spare;
    HASH_ADD(hh, s->streams, id, sizeof(st->id), st);
    return st;
}

static void stream_free(struct sluice_stream *st)
{
    struct sluice_session *s = st->session;
    if (st->is_ready)
        TAILQ_REMOVE(&s->ready, st, ready);
    if (st->work)
        TAILQ_REMOVE(&s->work, st, working);
    if (s->recent == st)
        s->recent = NULL;
    HASH_DELETE(hh, s->streams, st);
    s->inbox -= st->inbox.len;
    s->queued -= st->queue.len;
    fifo_fini(&st->inbox);
    fifo_fini(&st->queue);
    free(st);
}

/* --- sending --- */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Payload bytes that may go out now, in one frame. */
static size_t sendable(const struct sluice_stream *st)
{
    const struct sluice_session *s = st->session;
    uint64_t most = smaller(s->frame_payload, session_output_room(s));
    most = smaller(most, st->limit - st->sent);
    return smaller(most, s->limit - s->sent);
}

static void say_data(struct sluice_stream *st, const uint8_t *data, size_t len, bool end)
{
    st->sent += len;
    st->session->sent += len;
    assert(st->sent <= st->limit && st->session->sent <= st->session->limit);
    session_say_data(st->session, &(struct message){.type = MESSAGE_STREAM_SEND,
                                                    .stream_id = {true, st->id},
                                                    .end_stream = end,
                                                    .data = {data, len}});
    if (!end)
        return;
    st->can_send = st->ending = st->wants_room = false;
    check_closed(st);
}

/* A stream is ready while it has something queued and credit of its own. */
static void update_ready(struct sluice_stream *st)
{
    struct sluice_session *s = st->session;
    bool ready = st->can_send && st->queue.len > 0 && st->limit > st->sent;
    if (ready == st->is_ready)
        return;
    st->is_ready = ready;
    if (ready)
        TAILQ_INSERT_TAIL(&s->ready, st, ready);
    else
        TAILQ_REMOVE(&s->ready, st, ready);
}

static void drop_queue(struct sluice_stream *st)
{
    st->session->queued -= st->queue.len;
    fifo_fini(&st->queue);
    st->can_send = st->ending = st->wants_room = false;
    update_ready(st);
    check_closed(st);
}

static size_t queue_room(const struct sluice_stream *st)
{
    size_t limit = st->session->queued < QUEUED_LIMIT ? SLUICE_STREAM_QUEUE : QUEUED_AT_LEAST;
    return st->queue.len < limit ? limit - st->queue.len : 0;
}

/* Sends straight from the caller's memory. Returns how much. */
static size_t send_now(struct sluice_stream *st, const uint8_t *data, size_t len, bool end)
{
    size_t done = 0, n;
    while (done < len && (n = smaller(len - done, sendable(st))) > 0) {
        done += n;
        say_data(st, data + done - n, n, end && done == len);
    }
    return done;
}

size_t sluice_stream_send(struct sluice_stream *st, const void *data, size_t len, bool end)
{
    if (!st->can_send || st->ending || !is_session_open(st))
        return len;
    size_t taken = st->queue.len == 0 ? send_now(st, data, len, end) : 0;
    size_t queued = smaller(len - taken, queue_room(st));
    if (queued > 0) /* data may be NULL when there is only an end to send */
        fifo_write(&st->queue, (const uint8_t *)data + taken, queued);
    st->session->queued += queued;
    taken += queued;
    if (taken < len)
        st->wants_room = true;
    else if (end && st->queue.len > 0)
        st->ending = true;
    else if (end && st->can_send)
        say_data(st, NULL, 0, true);
    update_ready(st);
    return taken;
}

static void check_room(struct sluice_stream *st)
{
    if (st->can_send && st->wants_room && st->queue.len <= SLUICE_STREAM_QUEUE / 2)
        add_work(st, WORK_WRITABLE);
}

/* Streams that are ready take turns, a frame each. */
static void send_queued(struct sluice_session *s)
{
    struct sluice_stream *st;
    size_t n;
    while ((st = TAILQ_FIRST(&s->ready)) && (n = smaller(st->queue.len, sendable(st))) > 0) {
        say_data(st, fifo_peek(&st->queue), n, st->ending && n == st->queue.len);
        fifo_take(&st->queue, n);
        s->queued -= n;
        TAILQ_REMOVE(&s->ready, st, ready);
        st->is_ready = false;
        update_ready(st);
        check_room(st);
    }
}

void stream_credited(struct sluice_stream *st, uint64_t limit)
{
    if (limit <= st->limit)
        return;
    st->limit = limit;
    update_ready(st);
    session_stir(st->session);
}

void stream_was_stopped(struct sluice_stream *st, int64_t code)
{
    if (!st->can_send)
        return;
    drop_queue(st);
    if (is_session_open(st) && events_of(st)->stream_stopped)
        events_of(st)->stream_stopped(st, code);
}

void sluice_stream_reset(struct sluice_stream *st, uint32_t code)
{
    if (!st->can_send || !is_session_open(st))
        return;
    session_say(st->session, &(struct message){.type = MESSAGE_STREAM_RESET,
                                               .stream_id = {true, st->id},
                                               .code = {true, code}});
    drop_queue(st);
}

/* --- receiving --- */

static void end_receiving(struct sluice_stream *st)
{
    st->session->inbox -= st->inbox.len;
    fifo_fini(&st->inbox);
    st->can_receive = false;
    check_closed(st);
}

/* The application took len more bytes: lets the client send as many, not one by one. */
static void grant(struct sluice_stream *st, size_t len)
{
    st->taken += len;
    if (!st->can_receive || !is_session_open(st) ||
        st->taken + SLUICE_RECEIVE_WINDOW - st->granted < SLUICE_RECEIVE_WINDOW / 4)
        return;
    st->granted = st->taken + SLUICE_RECEIVE_WINDOW;
    session_say(st->session, &(struct message){.type = MESSAGE_CREDIT,
                                               .stream_id = {true, st->id},
                                               .limit = {true, st->granted}});
}

/* Offers bytes. Returns how many were taken. */
static size_t offer(struct sluice_stream *st, const uint8_t *data, size_t len, bool ended)
{
    size_t taken = len;
    if (!is_session_open(st))
        return len;
    if (events_of(st)->stream_data)
        taken = events_of(st)->stream_data(st, data, len, ended);
    assert(taken <= len);
    return taken;
}

bool stream_received(struct sluice_stream *st, const uint8_t *data, size_t len, bool ended)
{
    if (!st->can_receive || (len == 0 && !ended))
        return true;
    if (st->taken + st->inbox.len + len > st->granted)
        return false;
    size_t taken = st->inbox.len > 0 ? 0 : offer(st, data, len, ended);
    if (!st->can_receive) /* the application has said stop */
        return true;
    fifo_write(&st->inbox, data + taken, len - taken);
    st->session->inbox += len - taken;
    st->inbox_ended = ended;
    if (ended && st->inbox.len == 0)
        end_receiving(st);
    grant(st, taken);
    return true;
}

static void offer_inbox(struct sluice_stream *st)
{
    if (!st->can_receive || st->inbox.len == 0)
        return;
    size_t taken = offer(st, fifo_peek(&st->inbox), st->inbox.len, st->inbox_ended);
    if (!st->can_receive)
        return;
    fifo_take(&st->inbox, taken);
    st->session->inbox -= taken;
    if (st->inbox_ended && st->inbox.len == 0)
        end_receiving(st);
    grant(st, taken);
}

void sluice_stream_resume(struct sluice_stream *st)
{
    if (st->can_receive && st->inbox.len > 0)
        add_work(st, WORK_RESUME);
}

void stream_was_reset(struct sluice_stream *st, int64_t code)
{
    if (!st->can_receive)
        return;
    end_receiving(st);
    if (is_session_open(st) && events_of(st)->stream_reset)
        events_of(st)->stream_reset(st, code);
}

void sluice_stream_stop(struct sluice_stream *st, uint32_t code)
{
    if (!st->can_receive || !is_session_open(st))
        return;
    session_say(st->session, &(struct message){.type = MESSAGE_STREAM_STOP,
                                               .stream_id = {true, st->id},
                                               .code = {true, code}});
    end_receiving(st);
}

/* --- both --- */

void stream_was_refused(struct sluice_stream *st)
{
    drop_queue(st);
    if (st->can_receive)
        end_receiving(st);
}

struct sluice_stream *sluice_stream_open(struct sluice_session *s, bool unidirectional)
{
    if (s->phase != SESSION_ACCEPTED)
        return NULL;
    struct sluice_stream *st = stream_new(s, s->next_id[unidirectional]);
    s->next_id[unidirectional] += 4;
    say_data(st, NULL, 0, false); /* at once: ids must reach Sluice in order */
    return st;
}

static void tell(struct sluice_stream *st, unsigned what)
{
    if (what & WORK_CLOSED) {
        if (events_of(st)->stream_closed)
            events_of(st)->stream_closed(st);
        stream_free(st);
        return;
    }
    if (what & WORK_RESUME)
        offer_inbox(st);
    if ((what & WORK_WRITABLE) && is_session_open(st) && st->can_send) {
        st->wants_room = false;
        if (events_of(st)->stream_writable)
            events_of(st)->stream_writable(st);
    }
}

/* Some stream's end still waits in its queue. */
static bool has_ends_to_send(const struct sluice_session *s)
{
    for (const struct sluice_stream *st = s->streams; st; st = st->hh.next)
        if (st->ending)
            return true;
    return false;
}

bool streams_work(struct sluice_session *s)
{
    struct sluice_stream *st;
    do {
        while ((st = TAILQ_FIRST(&s->work))) {
            unsigned what = st->work;
            TAILQ_REMOVE(&s->work, st, working);
            st->work = 0;
            tell(st, what);
        }
        send_queued(s);
    } while (!TAILQ_EMPTY(&s->work) && session_output_room(s) > 0);
    if (s->finishing && !has_ends_to_send(s))
        session_say_finish(s);
    return !TAILQ_EMPTY(&s->work) || (!TAILQ_EMPTY(&s->ready) && session_output_room(s) == 0);
}

void streams_close_all(struct sluice_session *s)
{
    struct sluice_stream *st, *next;
    HASH_ITER (hh, s->streams, st, next) {
        if (events_of(st)->stream_closed)
            events_of(st)->stream_closed(st);
        stream_free(st);
    }
}

uint64_t sluice_stream_id(const struct sluice_stream *st)
{
    return st->id;
}

bool sluice_stream_is_unidirectional(const struct sluice_stream *st)
{
    return (st->id & 2) != 0;
}

bool sluice_stream_is_client(const struct sluice_stream *st)
{
    return (st->id & 1) == 0;
}

struct sluice_session *sluice_stream_session(const struct sluice_stream *st)
{
    return st->session;
}

void sluice_stream_set_user(struct sluice_stream *st, void *user)
{
    st->user = user;
}

void *sluice_stream_user(const struct sluice_stream *st)
{
    return st->user;
}
