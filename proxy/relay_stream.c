/*
 * A session's streams: the table, the accounts of bytes that their credit and the link's pauses
 * follow from, and the one place that lets a stream go. Owns struct stream. Calls wt and link.
 */
#include <assert.h>
#include <stdlib.h>

#include "relay_internal.h"

#define WORTH_TELLING (128 * 1024)

/* --- the table --- */

bool stream_is_by_app(uint64_t id)
{
    return id & 1;
}

bool stream_is_uni(uint64_t id)
{
    return id & 2;
}

struct stream *stream_new(struct session *s, uint64_t id, struct wt_stream *wt)
{
    const uint8_t *hash_key = s->relay->env->hash_key;
    struct stats *stats = s->relay->env->stats;
    struct stream *st = calloc(1, sizeof *st);
    assert(st);
    st->session = s;
    st->id = id;
    st->wt = wt;
    st->unidirectional = stream_is_uni(id);
    bool by_app = stream_is_by_app(id);
    /* Who opened a stream knows of it. */
    st->announced = by_app;
    st->up_over = by_app && st->unidirectional;
    st->client_ended = st->up_over;
    st->down = !by_app && st->unidirectional ? DOWN_OVER : DOWN_OPEN;
    st->up_limit = s->receive_window;
    account_init(&st->account, FIRST_STREAM_WINDOW, s->route->stream_window,
                 NULL); /* the session's window pays */
    recvq_init(&st->queue, &stats->receive_bytes);
    recvq_init(&st->backlog, &stats->send_bytes);
    HASH_ADD(hh, s->streams, id, sizeof st->id, st);
    stream_tell_limit(st);
    return st;
}

void stream_tell_limit(struct stream *st)
{
    if (st->wt && !st->up_over && st->up_limit != UINT64_MAX)
        wt_stream_allow(st->wt, st->up_limit);
}

struct stream *stream_find(const struct session *s, uint64_t id)
{
    const uint8_t *hash_key = s->relay->env->hash_key;
    struct stream *st;
    HASH_FIND(hh, s->streams, &id, sizeof id, st);
    return st;
}

static void free_stream(struct stream *st)
{
    struct session *s = st->session;
    stream_owe_nothing(st);
    if (st->is_ready)
        TAILQ_REMOVE(&s->ready, st, ready_entry);
    if (st->pending) {
        TAILQ_REMOVE(&s->pending[st->unidirectional], st, pending_entry);
        s->pending_count--;
    }
    if (s->link && st->unwritten)
        link_forget_receipt(s->link, st);
    recvq_fini(&st->queue);
    recvq_fini(&st->backlog);
    HASH_DEL(s->streams, st);
    free(st);
}

static bool is_settled(const struct stream *st)
{
    return st->up_over && st->down == DOWN_OVER && !st->pending && !st->news &&
           (st->unwritten == 0 || !st->session->link);
}

void stream_settle(struct stream *st)
{
    if (!is_settled(st))
        return;
    /* Nobody is left to read what the client still sends. */
    if (st->wt && !st->client_ended && !st->stopped)
        wt_stream_stop(st->wt, 0);
    if (st->wt)
        wt_stream_release(st->wt);
    free_stream(st);
}

void streams_forget_wt(struct session *s)
{
    struct stream *st, *next;
    HASH_ITER (hh, s->streams, st, next) {
        st->wt = NULL;
        stream_end_down(st);
    }
}

void streams_free(struct session *s)
{
    struct stream *st, *next;
    HASH_ITER (hh, s->streams, st, next)
        free_stream(st);
}

/* --- accounts --- */

void account_init(struct account *a, size_t first, size_t largest, struct budget *memory)
{
    window_init(&a->window, first < largest ? first : largest, largest, memory);
    a->announced = a->window.size;
}

uint64_t account_held(const struct account *a)
{
    return a->sent - a->released;
}

/* A new limit is worth a message when a quarter of the window has been freed, or so much. What is
 * freed and not told is missing on a long path. */
static bool is_worth_telling(const struct account *a)
{
    uint64_t freed = a->released + a->window.size - a->announced;
    return freed > 0 && (freed >= a->window.size / 4 || freed >= WORTH_TELLING);
}

static void session_credit(struct session *s)
{
    if (is_worth_telling(&s->account)) {
        s->news |= NEWS_SESSION_CREDIT;
        session_touch(s);
    }
}

static void note_window(struct stream *st)
{
    bool over = account_held(&st->account) > st->account.window.size;
    if (over == st->over_window)
        return;
    st->over_window = over;
    if (over)
        st->session->streams_over++;
    else
        st->session->streams_over--;
}

/* An application that ignores credit is held up, but by then its frame is here. */
static void note_excess(struct session *s)
{
    uint64_t held = account_held(&s->account), size = s->account.window.size;
    uint64_t excess = held > size ? held - size : 0;
    if (excess > s->excess)
        budget_charge(&s->memory, excess - s->excess);
    else
        budget_release(&s->memory, s->excess - excess);
    s->excess = excess;
}

static void owe_credit(struct stream *st)
{
    if (!st->is_owed)
        TAILQ_INSERT_TAIL(&st->session->owed, st, owed_entry);
    st->is_owed = true;
}

void stream_owe_nothing(struct stream *st)
{
    if (st->is_owed)
        TAILQ_REMOVE(&st->session->owed, st, owed_entry);
    st->is_owed = false;
}

static void take_from_window(struct account *a, uint64_t len, uint64_t now_ns, uint64_t rtt_ns)
{
    a->released += len;
    window_taken(&a->window, len, now_ns, rtt_ns);
}

void stream_charged(struct stream *st, size_t len)
{
    st->account.sent += len;
    st->session->account.sent += len;
    note_window(st);
    note_excess(st->session);
}

void stream_released(struct stream *st, uint64_t len)
{
    struct session *s = st->session;
    assert(len <= account_held(&st->account));
    struct timers *timers = s->relay->env->timers;
    uint64_t now = timers_now(timers), rtt = s->wt ? wt_session_rtt(s->wt) : 0;
    if (st->over_window || s->excess > 0)
        timer_stop(timers, &s->stall); /* it moves: the wait begins anew */
    take_from_window(&st->account, len, now, rtt);
    take_from_window(&s->account, len, now, rtt);
    note_window(st);
    note_excess(s);
    session_credit(s);
    if (st->down == DOWN_OPEN && is_worth_telling(&st->account))
        owe_credit(st);
    session_touch(s);
}

void session_charged_for_nothing(struct session *s, size_t len)
{
    s->account.sent += len;
    s->account.released += len;
    session_credit(s);
}

void session_watch_credit(struct session *s)
{
    struct timers *timers = s->relay->env->timers;
    bool over = session_listens(s) && (s->streams_over > 0 || s->excess > 0);
    /* Where memory is short there is none to wait in for those who take more than they were
     * granted. */
    bool patient = s->excess == 0 || !budget_is_short(&s->memory);
    if (over && !(patient && timer_is_set(&s->stall)))
        timer_set(timers, &s->stall,
                  timers_now(timers) + (patient ? s->route->stall_timeout_ns : 0));
    if (over == s->paused || !s->link)
        return;
    s->paused = over;
    if (over) {
        link_pause(s->link);
    } else {
        timer_stop(timers, &s->stall);
        link_resume(s->link);
    }
}

/* --- the half towards the client --- */

void stream_end_down(struct stream *st)
{
    struct session *s = st->session;
    if (st->down == DOWN_OVER)
        return;
    if (st->down == DOWN_ENDED)
        s->undelivered--;
    st->down = DOWN_OVER;
    stream_owe_nothing(st);
    recvq_drop(&st->backlog, recvq_held(&st->backlog));
    stream_released(st, account_held(&st->account));
}

void stream_push(struct stream *st)
{
    size_t len;
    const uint8_t *data;
    while ((data = recvq_peek(&st->backlog, &len)) && len > 0) {
        size_t n = wt_stream_write(st->wt, data, len);
        recvq_drop(&st->backlog, n);
        if (n < len)
            return;
    }
    if (st->down == DOWN_ENDED && !st->end_told) {
        st->end_told = true;
        wt_stream_end(st->wt);
    }
}
