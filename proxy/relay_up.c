/*
 * What the client does, told to the application. Bytes go straight from the upcall into the link's
 * open frame (one copy; the next is the kernel's) while nothing waits; else they wait in the
 * stream's queue, and the streams that wait take turns. A byte is credited to the client when the
 * socket has taken it. Calls wt, link and protocol.
 */
#include <assert.h>

#include "relay_internal.h"

#define HEAD_MAX    128   /* stream.receive without its data */
#define QUANTUM     32768 /* bytes of one stream before the next one's turn */
#define LEAST_ROOM  1024  /* opening a frame for less is not worth it */
#define DATA_MARGIN 1024  /* data is at most max_frame - 1024 */

void stream_make_ready(struct stream *st)
{
    if (st->is_ready)
        return;
    st->is_ready = true;
    TAILQ_INSERT_TAIL(&st->session->ready, st, ready_entry);
    session_touch(st->session);
}

/* --- data --- */

static bool open_frame(struct stream *st)
{
    struct session *s = st->session;
    uint8_t head[HEAD_MAX];
    if (!s->link || link_room(s->link) < LEAST_ROOM)
        return false;
    struct message m = {.type = MESSAGE_STREAM_RECEIVE, .stream_id = {true, st->id}};
    size_t len = message_encode_head(&m, head, sizeof head, &st->head_flag_at);
    assert(len <= sizeof head);
    link_open_frame(s->link, st, head, len);
    link_receipt(s->link, st, 0);
    st->unwritten++;
    st->announced = true;
    s->open_data = 0;
    return true;
}

/* What the open frame of this stream takes. */
static size_t frame_room(const struct stream *st)
{
    const struct session *s = st->session;
    size_t room = link_append_room(s->link);
    size_t most = s->route->max_frame - DATA_MARGIN;
    size_t left = most > s->open_data ? most - s->open_data : 0;
    return room < left ? room : left;
}

static void append(struct stream *st, const uint8_t *data, size_t len)
{
    struct session *s = st->session;
    link_append(s->link, data, len);
    link_receipt(s->link, st, len);
    st->unwritten++;
    st->staged += len;
    st->up_sent += len;
    s->up_sent += len;
    s->open_data += len;
}

/* Bytes that the application lets us tell of this stream: with receive_window it says so itself. */
static uint64_t up_credit(const struct stream *st)
{
    const struct session *s = st->session;
    uint64_t own = st->up_limit > st->up_sent ? st->up_limit - st->up_sent : 0;
    uint64_t all = s->up_limit > s->up_sent ? s->up_limit - s->up_sent : 0;
    return own < all ? own : all;
}

/* Stages as much of data as there is room and credit for, and announces the stream if that was not
 * done. Returns how much it took. */
static size_t stage_data(struct stream *st, const uint8_t *data, size_t len)
{
    size_t taken = 0;
    if (!st->session->link)
        return 0;
    if (!st->announced && !open_frame(st))
        return 0;
    if (len > up_credit(st))
        len = (size_t)up_credit(st);
    while (taken < len) {
        size_t room = link_extends(st->session->link, st) ? frame_room(st) : 0;
        if (room == 0) {
            if (!open_frame(st))
                break;
            room = frame_room(st);
        }
        size_t n = len - taken < room ? len - taken : room;
        append(st, data + taken, n);
        taken += n;
    }
    return taken;
}

/* Says stream_ended, in the frame of the last bytes if that is still open. */
static bool stage_end(struct stream *st)
{
    if (!st->session->link)
        return false;
    if (!link_extends(st->session->link, st) && !open_frame(st))
        return false;
    link_patch_head(st->session->link, st->head_flag_at, MESSAGE_TRUE);
    st->up_over = true;
    return true;
}

static bool may_pass_by(const struct stream *st)
{
    return !st->is_ready && TAILQ_EMPTY(&st->session->ready) && recvq_held(&st->queue) == 0;
}

void up_stream_opened(void *user, struct wt_stream *wt, bool unidirectional)
{
    struct session *s = user;
    struct stream *st = stream_new(s, rules_client_opened(&s->rules, unidirectional), wt);
    wt_stream_set_user(wt, st);
    if (!s->link)
        stream_drop_up(st);
    if (!s->link || !may_pass_by(st) || !open_frame(st))
        stream_make_ready(st);
}

void up_stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin)
{
    struct stream *st = stream_user;
    st->client_ended |= fin;
    if (st->up_over) {
        wt_stream_consumed(st->wt, len);
        return;
    }
    st->fin |= fin;
    size_t taken = may_pass_by(st) ? stage_data(st, data, len) : 0;
    if (taken < len)
        recvq_write(&st->queue, data + taken, len - taken);
    bool waits = st->is_ready || recvq_held(&st->queue) > 0;
    if (waits || (fin && !stage_end(st)))
        stream_make_ready(st);
}

/* Bytes that will not be told are the client's to send again, as it were; and so are those that are
 * staged already, though the application may never read them: a client that gives up its streams
 * can then go on, at least with closing the session. */
static void drop_queue(struct stream *st)
{
    size_t held = recvq_held(&st->queue), all = held + st->staged;
    if (held > 0)
        recvq_drop(&st->queue, held);
    st->staged = 0;
    if (st->wt && all > 0)
        wt_stream_consumed(st->wt, all);
}

void up_stream_reset(void *stream_user, struct wt_code code)
{
    struct stream *st = stream_user;
    st->client_ended = true;
    if (st->up_over)
        return;
    drop_queue(st);
    st->fin = false;
    st->reset_code = code;
    st->news |= NEWS_RESET;
    stream_make_ready(st);
}

void stream_drop_up(struct stream *st)
{
    st->up_over = true;
    st->announced = true;
    st->fin = false;
    st->news &= ~(unsigned)NEWS_RESET;
    drop_queue(st);
}

/* --- what becomes of the half towards the client --- */

void up_stream_stopped(void *stream_user, struct wt_code code)
{
    struct stream *st = stream_user;
    if (st->down == DOWN_OVER)
        return;
    stream_end_down(st);
    st->stop_code = code;
    st->news |= NEWS_STOP;
    stream_make_ready(st);
}

void up_stream_acked(void *stream_user, size_t len, bool all)
{
    struct stream *st = stream_user;
    if (st->down == DOWN_OVER)
        return;
    stream_released(st, len);
    stream_push(st);
    if (!all)
        return;
    stream_end_down(st);
    if (st->confirm)
        st->news |= NEWS_DELIVERED;
    stream_make_ready(st); /* told or let go by the pump, not inside the upcall */
}

/* --- datagrams --- */

static bool stage_datagram(struct session *s, const uint8_t *data, size_t len)
{
    uint8_t head[HEAD_MAX];
    struct message m = {.type = MESSAGE_DATAGRAM_RECEIVE};
    if (!s->link || link_room(s->link) < HEAD_MAX + LINK_FRAME_EXTRA + len)
        return false;
    size_t head_len = message_encode_head(&m, head, sizeof head, NULL);
    assert(head_len <= sizeof head);
    link_open_frame(s->link, s, head, head_len);
    link_append(s->link, data, len);
    return true;
}

void up_datagram_received(void *user, const uint8_t *data, size_t len)
{
    struct session *s = user;
    if (!s->link || !session_listens(s) || len > s->route->max_frame - DATA_MARGIN)
        return;
    if (s->datagrams.count == 0 && stage_datagram(s, data, len))
        return;
    dgramq_push(&s->datagrams, data, len);
}

static bool pump_datagrams(struct session *s)
{
    const uint8_t *data;
    size_t len;
    while (dgramq_peek(&s->datagrams, &data, &len)) {
        if (!stage_datagram(s, data, len))
            return false;
        dgramq_pop(&s->datagrams);
    }
    return true;
}

/* --- the pump --- */

static bool send_news(struct stream *st, const struct message *m)
{
    if (!news_send(st->session, m))
        return false;
    link_receipt(st->session->link, st, 0);
    st->unwritten++;
    return true;
}

static struct message_uint code_of(struct wt_code code)
{
    return (struct message_uint){code.known, code.value};
}

static bool tell(struct stream *st, unsigned flag, struct message m)
{
    if (!(st->news & flag))
        return true;
    m.stream_id = (struct message_uint){true, st->id};
    if (!send_news(st, &m))
        return false;
    st->news &= ~flag;
    return true;
}

/* An application that has data to send need not wait for what there is to read. */
static bool pump_credit(struct session *s)
{
    struct stream *st;
    while (s->link && (st = TAILQ_FIRST(&s->owed))) {
        uint64_t limit = st->account.released + st->account.window.size;
        struct message m = {
            .type = MESSAGE_CREDIT, .stream_id = {true, st->id}, .limit = {true, limit}};
        if (!send_news(st, &m))
            return false;
        st->account.announced = limit;
        stream_owe_nothing(st);
    }
    return true;
}

static bool tell_reset(struct stream *st)
{
    struct message m = {.type = MESSAGE_STREAM_RESET, .code = code_of(st->reset_code)};
    if (!(st->news & NEWS_RESET))
        return true;
    if (!tell(st, NEWS_RESET, m))
        return false;
    st->up_over = true;
    return true;
}

/* Moves queued bytes, at most a quantum. Returns false if the link is full. */
static bool pump_queue(struct stream *st)
{
    size_t left = QUANTUM, len;
    const uint8_t *data;
    while (left > 0 && up_credit(st) > 0 && (data = recvq_peek(&st->queue, &len)) && len > 0) {
        size_t n = stage_data(st, data, len < left ? len : left);
        if (n == 0)
            return false;
        recvq_drop(&st->queue, n);
        left -= n;
    }
    if (!st->announced && !open_frame(st))
        return false;
    if (st->fin && !st->up_over && recvq_held(&st->queue) == 0)
        return stage_end(st);
    return true;
}

/* Something is left that only room, not the application's credit, holds up. */
static bool has_more(const struct stream *st)
{
    return st->news || (!st->up_over && recvq_held(&st->queue) > 0 && up_credit(st) > 0);
}

static bool pump_stream(struct stream *st)
{
    if (!st->session->link) {
        st->news = 0;
        return true;
    }
    struct message stop = {.type = MESSAGE_STREAM_STOP, .code = code_of(st->stop_code)};
    struct message delivered = {.type = MESSAGE_STREAM_DELIVERED};
    return pump_queue(st) && tell_reset(st) && tell(st, NEWS_STOP, stop) &&
           tell(st, NEWS_DELIVERED, delivered);
}

void up_pump(struct session *s)
{
    if (!pump_credit(s) || !pump_datagrams(s))
        return;
    struct stream *st;
    while ((st = TAILQ_FIRST(&s->ready))) {
        if (!pump_stream(st))
            return;
        TAILQ_REMOVE(&s->ready, st, ready_entry);
        st->is_ready = false;
        if (has_more(st))
            stream_make_ready(st);
        else
            stream_settle(st);
    }
}

void up_written(void *user, void *receipt, size_t bytes, size_t count)
{
    struct stream *st = receipt;
    (void)user;
    assert(st->unwritten >= count);
    st->unwritten -= count;
    if (bytes > st->staged) /* credited before */
        bytes = st->staged;
    st->staged -= bytes;
    if (st->wt && bytes)
        wt_stream_consumed(st->wt, bytes);
    stream_settle(st);
}
