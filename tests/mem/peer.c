/*
 * peer - remembers what wt tells, and echoes if it is to.
 */
#include "peer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct peer_session *session_new(struct peer *p)
{
    assert(p->session_count < PEER_SESSIONS);
    struct peer_session *s = calloc(1, sizeof(*s));
    assert(s);
    s->peer = p;
    p->sessions[p->session_count++] = s;
    return s;
}

static struct peer_stream *stream_new(struct peer_session *s, bool unidirectional, bool local)
{
    struct peer_stream *st = calloc(1, sizeof(*st));
    assert(st);
    st->session = s;
    st->unidirectional = unidirectional;
    st->local = local;
    if (s->stream_count == s->stream_room) {
        s->stream_room = 2 * s->stream_room + 8;
        s->streams = realloc(s->streams, s->stream_room * sizeof(*s->streams));
        assert(s->streams);
    }
    s->streams[s->stream_count++] = st;
    return st;
}

static void stream_free(struct peer_stream *st)
{
    free(st->data);
    free(st->echo);
    free(st);
}

void peer_fini(struct peer *p)
{
    for (size_t i = 0; i < p->session_count; i++) {
        struct peer_session *s = p->sessions[i];
        for (size_t j = 0; j < s->stream_count; j++)
            stream_free(s->streams[j]);
        free(s->streams);
        free(s);
    }
    p->session_count = 0;
}

static void note_headers(char *to, size_t size, const struct header *headers, size_t count)
{
    size_t at = strlen(to);
    for (size_t i = 0; i < count; i++) {
        int n = snprintf(to + at, size - at, "%.*s: %.*s\n", (int)headers[i].name_len,
                         (const char *)headers[i].name, (int)headers[i].value_len,
                         (const char *)headers[i].value);
        at += (size_t)n;
        assert(at < size);
    }
}

static void requested(void *host_user, struct wt_session *wt, const struct wt_request *r)
{
    struct peer *p = host_user;
    struct peer_session *s = session_new(p);
    s->wt = wt;
    s->requested = true;
    wt_session_set_user(wt, s);
    snprintf(s->request, sizeof(s->request), "%s %s %s %s %s\n", r->scheme, r->authority, r->path,
             r->protocol, r->draft);
    note_headers(s->request, sizeof(s->request), r->headers, r->header_count);
    if (p->requested)
        p->requested(s);
    else if (p->refuse_status)
        wt_refuse(wt, p->refuse_status, NULL, 0, "no", 2);
    else if (!p->waits)
        wt_accept(wt, 200, NULL, 0);
}

static void responded(void *user, unsigned status, const struct header *headers, size_t count)
{
    struct peer_session *s = user;
    s->responded = true;
    s->status = status;
    note_headers(s->response, sizeof(s->response), headers, count);
}

static void stream_opened(void *user, struct wt_stream *wt, bool unidirectional)
{
    struct peer_session *s = user;
    struct peer_stream *st = stream_new(s, unidirectional, false);
    s->streams_opened++;
    st->stuck = s->sticks;
    st->wt = wt;
    wt_stream_set_user(wt, st);
}

static bool has_ended(const struct peer_stream *st)
{
    bool in = st->fin || st->reset || (st->local && st->unidirectional);
    bool out = st->all_acked || st->stopped || (!st->local && st->unidirectional);
    return in && out;
}

/* Lets go of a stream that has ended both ways, as an application would. */
static void release_if_ended(struct peer_stream *st)
{
    struct peer_session *s = st->session;
    if (!st->wt || !has_ended(st))
        return;
    wt_stream_release(st->wt);
    st->wt = NULL;
    if (!s->peer->forgets)
        return;
    for (size_t i = 0; i < s->stream_count; i++) {
        if (s->streams[i] != st)
            continue;
        s->streams[i] = s->streams[--s->stream_count];
        stream_free(st);
        return;
    }
}

static void remember(struct peer_stream *st, const uint8_t *data, size_t len)
{
    if (st->len + len > st->room) {
        st->room = 2 * (st->len + len) + 64;
        st->data = realloc(st->data, st->room);
        assert(st->data);
    }
    memcpy(st->data + st->len, data, len);
    st->len += len;
}

static void pump_echo(struct peer_stream *st)
{
    size_t n = wt_stream_write(st->wt, st->echo, st->echo_len);
    if (n > 0)
        memmove(st->echo, st->echo + n, st->echo_len - n);
    st->echo_len -= n;
    st->echoed += n;
    if (n > 0)
        wt_stream_consumed(st->wt, n);
    if (st->fin && st->echo_len == 0 && !st->out_end) {
        st->out_end = true;
        wt_stream_end(st->wt);
    }
}

static void queue_echo(struct peer_stream *st, const uint8_t *data, size_t len)
{
    if (st->echo_len + len > st->echo_room) {
        st->echo_room = 2 * (st->echo_len + len) + 64;
        st->echo = realloc(st->echo, st->echo_room);
        assert(st->echo);
    }
    if (len > 0)
        memcpy(st->echo + st->echo_len, data, len);
    st->echo_len += len;
    pump_echo(st);
}

static void stream_received(void *stream_user, const uint8_t *data, size_t len, bool fin)
{
    struct peer_stream *st = stream_user;
    assert(!st->fin && !st->reset);
    st->received += len;
    st->fin = fin;
    if (st->session->peer->behaviour == PEER_ECHO && !st->unidirectional) {
        queue_echo(st, data, len);
    } else {
        if (!st->session->peer->forgets && len > 0)
            remember(st, data, len);
        if (st->stuck)
            st->owed += len;
        else
            wt_stream_consumed(st->wt, len);
    }
    release_if_ended(st);
}

static void stream_reset(void *stream_user, struct wt_code code)
{
    struct peer_stream *st = stream_user;
    assert(!st->fin && !st->reset);
    st->reset = true;
    st->reset_code = code;
    release_if_ended(st);
}

static void stream_stopped(void *stream_user, struct wt_code code)
{
    struct peer_stream *st = stream_user;
    assert(!st->stopped);
    st->stopped = true;
    st->stop_code = code;
    release_if_ended(st);
}

static void stream_acked(void *stream_user, size_t len, bool all)
{
    struct peer_stream *st = stream_user;
    st->acked += len;
    st->all_acked |= all;
    if (st->echo_len > 0)
        pump_echo(st);
    release_if_ended(st);
}

static void streams_available(void *user, bool unidirectional)
{
    struct peer_session *s = user;
    s->available[unidirectional]++;
}

static void datagram_received(void *user, const uint8_t *data, size_t len)
{
    struct peer_session *s = user;
    s->datagrams++;
    assert(len <= sizeof(s->datagram));
    memcpy(s->datagram, data, len);
    s->datagram_len = len;
    if (s->peer->behaviour == PEER_ECHO)
        assert(wt_datagram_send(s->wt, data, len));
}

static void datagram_max_changed(void *user, size_t max)
{
    (void)user, (void)max;
}

static void draining(void *user)
{
    struct peer_session *s = user;
    s->draining = true;
}

static void closed(void *user, const struct wt_end *end)
{
    struct peer_session *s = user;
    assert(!s->closed);
    s->closed = true;
    s->wt = NULL;
    s->end = *end;
    assert(end->reason_len < sizeof(s->reason));
    if (end->reason_len > 0)
        memcpy(s->reason, end->reason, end->reason_len);
    s->end.reason = s->reason;
    for (size_t i = 0; i < s->stream_count; i++)
        s->streams[i]->wt = NULL;
}

const struct wt_ops peer_ops = {
    .requested = requested,
    .responded = responded,
    .stream_opened = stream_opened,
    .stream_received = stream_received,
    .stream_reset = stream_reset,
    .stream_stopped = stream_stopped,
    .stream_acked = stream_acked,
    .streams_available = streams_available,
    .datagram_received = datagram_received,
    .datagram_max_changed = datagram_max_changed,
    .draining = draining,
    .closed = closed,
};

struct peer_session *peer_connect(struct peer *p, const struct sockaddr *to, socklen_t to_len,
                                  const char *path, const struct header *headers, size_t count)
{
    struct peer_session *s = session_new(p);
    s->wt = wt_connect(p->host, to, to_len, "test.example:4433", path, headers, count, s);
    assert(s->wt);
    return s;
}

struct peer_session *peer_connect_beside(struct peer_session *other, const char *path)
{
    struct peer_session *s = session_new(other->peer);
    s->wt = wt_connect_beside(other->wt, "test.example:4433", path, s);
    return s;
}

struct peer_stream *peer_open(struct peer_session *s, bool unidirectional)
{
    struct peer_stream *st = stream_new(s, unidirectional, true);
    st->wt = wt_stream_open(s->wt, unidirectional, st);
    if (st->wt)
        return st;
    s->stream_count--;
    stream_free(st);
    return NULL;
}

void peer_unstick(struct peer_stream *st)
{
    if (st->wt && st->owed > 0)
        wt_stream_consumed(st->wt, st->owed);
    st->owed = 0;
    st->stuck = false;
}

/* Returns true if something is left. */
static bool pump_out(struct peer_stream *st)
{
    if (!st->wt || st->stopped || st->out_at > st->out_len)
        return false;
    size_t left = st->out_len - st->out_at;
    size_t n = st->step && st->step < left ? st->step : left;
    st->out_at += wt_stream_write(st->wt, st->out + st->out_at, n);
    if (st->out_at < st->out_len)
        return true;
    if (st->out_end)
        wt_stream_end(st->wt);
    st->out_at = st->out_len + 1; /* done */
    return false;
}

void peer_send(struct peer_stream *st, const void *data, size_t len, size_t step, bool end)
{
    st->out = data;
    st->out_len = len;
    st->out_at = 0;
    st->step = step;
    st->out_end = end;
    pump_out(st);
}

bool peer_pump(struct peer *p)
{
    bool more = false;
    for (size_t i = 0; i < p->session_count; i++) {
        struct peer_session *s = p->sessions[i];
        for (size_t j = 0; !s->closed && j < s->stream_count; j++) {
            struct peer_stream *st = s->streams[j];
            if (st->out)
                more |= pump_out(st);
        }
    }
    return more;
}
