/*
 * stress_stream - the streams that are alive, and what is sent on them.
 */
#include <stdlib.h>

#include "stress_internal.h"

void stress_init(void)
{
    pattern_init();
}

const uint8_t *stress_bytes(uint64_t at)
{
    return pattern_at(at);
}

static const uint8_t *bytes_at(const struct stream *st, uint64_t at, size_t *len)
{
    if (at < ASK && st->role != ROLE_PUSH && st->role != ROLE_ECHO) {
        *len = ASK - (size_t)at;
        return st->ask + at;
    }
    *len = pattern_len(st->to_send - at);
    return stress_bytes(at);
}

void stress_send_more(struct stream *st)
{
    while (st->sent < st->to_send) {
        size_t len;
        const uint8_t *data = bytes_at(st, st->sent, &len);
        size_t n = wt_stream_write(st->wt, data, len);
        st->sent += n;
        stress.sent += n;
        if (n < len)
            return;
    }
    if (!st->end_told && stress_is_work(st)) {
        st->end_told = true;
        wt_stream_end(st->wt);
    }
}

struct stream *stress_new_stream(struct session *s, struct wt_stream *wt, enum role role)
{
    struct stream *st = calloc(1, sizeof(*st));
    if (!st)
        abort();
    st->session = s;
    st->wt = wt;
    st->role = role;
    LIST_INSERT_HEAD(&stress.alive, st, entry);
    wt_stream_set_user(wt, st);
    return st;
}

struct stream *stress_open_stream(struct session *s, bool unidirectional, enum role role)
{
    struct wt_stream *wt = wt_stream_open(s->wt, unidirectional, NULL);
    return wt ? stress_new_stream(s, wt, role) : NULL;
}

void stress_forget_stream(struct stream *st)
{
    if (st->wt)
        wt_stream_release(st->wt);
    LIST_REMOVE(st, entry);
    free(st);
}

void stress_forget_streams(const struct session *s)
{
    struct stream *st, *next;
    for (st = LIST_FIRST(&stress.alive); st; st = next) {
        next = LIST_NEXT(st, entry);
        if (st->session != s)
            continue;
        st->wt = NULL;
        stress_forget_stream(st);
    }
}
