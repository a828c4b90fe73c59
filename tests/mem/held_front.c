/*
 * held_front - looks into the front's streams and connections. (What relay keeps is in held.c: the
 * two have internal headers that do not go together.)
 */
#include "mem/held.h"

#include "front/conn_internal.h"
#include "front/h3_internal.h"
#include "front/wt_internal.h"

static uint64_t header_left(const struct h3_stream *s)
{
    return s->out.base < s->header_len ? s->header_len - s->out.base : 0;
}

uint64_t held_to_send(const struct wt_stream *st)
{
    return sendq_held(&st->h3->out) - header_left(st->h3);
}

uint64_t held_uncredited(const struct wt_stream *st)
{
    return st->h3->uncredited;
}

static void add_stream(struct held_sums *sums, const struct h3_stream *s, uint64_t *uncredited)
{
    const uint8_t *hash_key = s->h3->host->env->hash_key;
    struct conn *c = s->h3->conn;
    struct conn_stream *st;
    if (s->kind != H3_STREAM_WT)
        return;
    sums->send_bytes += sendq_held(&s->out);
    *uncredited += s->uncredited;
    /* In nobody's account any more, so the connection pays. */
    held_require(s->kept == (s->send_over || s->reset_wanted ? sendq_held(&s->out) : 0));
    held_require(sendq_held(&s->out) <= s->h3->host->config.stream_send_limit + s->header_len);
    HASH_FIND(hh, c->streams, &s->id, sizeof(s->id), st);
    if (st)
        held_require(s->uncredited <= st->window.size);
}

static void add_request(struct held_sums *sums, const struct h3_request *r)
{
    sums->receive_bytes += recvq_held(&r->held_body);
    sums->datagrams += r->out.count;
}

static void add_h3(struct held_sums *sums, const struct h3 *h)
{
    const struct h3_stream *s;
    const struct h3_request *r;
    const struct conn *c = h->conn;
    uint64_t uncredited = 0;
    TAILQ_FOREACH (s, &h->streams, in_all)
        add_stream(sums, s, &uncredited);
    TAILQ_FOREACH (r, &h->requests, in_all)
        add_request(sums, r);
    held_require(uncredited <= c->window.size);
    held_require(c->window.size <= c->memory.used && c->memory.used <= c->memory.limit);
    sums->memory += c->memory.used;
}

struct held_sums held_by_front(const struct wt_host *host)
{
    struct held_sums sums = {.memory = 0};
    const struct wt_conn *c;
    const struct wt_session *s;
    const struct wt_stream *st;
    TAILQ_FOREACH (c, &host->conns, entry) {
        add_h3(&sums, c->h3);
        sums.datagrams += c->early_datagrams.count;
        TAILQ_FOREACH (st, &c->early, entry)
            sums.receive_bytes += recvq_held(&st->kept);
        LIST_FOREACH (s, &c->sessions, entry) {
            sums.datagrams += s->early_datagrams.count;
            TAILQ_FOREACH (st, &s->streams, entry)
                sums.receive_bytes += recvq_held(&st->kept);
        }
    }
    return sums;
}
