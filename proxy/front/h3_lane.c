/*
 * h3_lane - whose turn it is to send: sessions first, then the streams within a session. Owns the
 * lanes. Calls conn only to touch it; tells wt that a lane has no credit left.
 *
 *     h3 ── lane ── stream, stream, ...     in turns, of those without an order
 *      │      └──── stream, stream, ...     before them, the highest order first
 *      └─── lane ── ...
 *
 * Lanes take turns of RUN bytes, so neither an order nor many streams get a session more than
 * another one has. Within a lane a stream's turn is as long: with one packet each, whoever receives
 * very many streams would have very many small pieces to handle.
 */
#include <assert.h>
#include <stdlib.h>

#include "front/h3_internal.h"

#define RUN 8192 /* bytes of one before the next one's turn */

struct h3_lane *h3_lane_new(struct h3 *h, void *lane_user)
{
    struct h3_lane *l = calloc(1, sizeof(*l));
    if (!l)
        abort();
    l->h3 = h;
    l->user = lane_user;
    l->credit = H3_LANE_UNLIMITED;
    TAILQ_INIT(&l->ready);
    TAILQ_INIT(&l->starved);
    return l;
}

static void free_memory(void *owner)
{
    struct h3_lane *l = owner;
    heap_fini(&l->ordered);
    free(l);
}

static void free_if_unused(struct h3_lane *l)
{
    if (!l->user && l->streams == 0)
        turn_bury(l->h3->host->env->turn, &l->grave, free_memory, l);
}

void h3_lane_release(struct h3_lane *l)
{
    l->user = NULL;
    free_if_unused(l);
}

void h3_lane_enter(struct h3_lane *l, struct h3_stream *s)
{
    assert(!s->lane);
    s->lane = l;
    l->streams++;
}

void h3_lane_leave(struct h3_stream *s)
{
    struct h3_lane *l = s->lane;
    if (!l)
        return;
    h3_lane_take(s);
    s->lane = NULL;
    l->streams--;
    free_if_unused(l);
}

/* ---- credit ---- */

static bool is_limited(const struct h3_lane *l)
{
    return l->credit != H3_LANE_UNLIMITED;
}

size_t h3_lane_room(const struct h3_stream *s)
{
    return s->lane && is_limited(s->lane) && s->lane->credit < SIZE_MAX ? (size_t)s->lane->credit
                                                                        : SIZE_MAX;
}

void h3_lane_spend(struct h3_stream *s, size_t len)
{
    if (!s->lane || !is_limited(s->lane))
        return;
    assert(len <= s->lane->credit);
    s->lane->credit -= len;
}

void h3_lane_limit(struct h3_lane *l, uint64_t credit)
{
    assert(credit < H3_LANE_UNLIMITED);
    l->credit = credit;
}

void h3_lane_grant(struct h3_lane *l, uint64_t more)
{
    struct h3_stream *s;
    l->credit += more;
    while (more > 0 && (s = TAILQ_FIRST(&l->starved)) != NULL) {
        h3_lane_take(s);
        h3_lane_put(s);
    }
}

/* ---- turns ---- */

static bool is_empty(const struct h3_lane *l)
{
    return TAILQ_EMPTY(&l->ready) && !heap_first(&l->ordered);
}

/* Has nothing to send only because its session may not. */
static void starve(struct h3_stream *s)
{
    struct h3_lane *l = s->lane;
    s->is_starved = true;
    TAILQ_INSERT_TAIL(&l->starved, s, in_ready);
    if (l->user)
        l->h3->host->ops->lane_starved(l->user);
}

void h3_lane_put(struct h3_stream *s)
{
    struct h3_lane *l = s->lane;
    struct iovec slice;
    bool fin;
    if (s->is_ready || s->is_starved || s->kind != H3_STREAM_WT || s->h3->dead)
        return;
    if (h3_stream_offer(s, &slice, 1, &fin) == 0 && !fin) {
        if (h3_stream_wants_credit(s))
            starve(s);
        return;
    }
    s->is_ready = true;
    if (is_empty(l))
        TAILQ_INSERT_TAIL(&l->h3->lanes, l, in_lanes);
    if (s->has_order)
        heap_put(&l->ordered, &s->in_ordered, s->order, l->h3->turn++);
    else
        TAILQ_INSERT_TAIL(&l->ready, s, in_ready);
    h3_touch(s->h3);
}

void h3_lane_take(struct h3_stream *s)
{
    struct h3_lane *l = s->lane;
    if (s->is_starved)
        TAILQ_REMOVE(&l->starved, s, in_ready);
    s->is_starved = false;
    if (!s->is_ready)
        return;
    s->is_ready = false;
    if (s->has_order)
        heap_take(&l->ordered, &s->in_ordered);
    else
        TAILQ_REMOVE(&l->ready, s, in_ready);
    if (!is_empty(l))
        return;
    TAILQ_REMOVE(&l->h3->lanes, l, in_lanes);
    l->run = 0;
}

struct h3_stream *h3_lane_first(const struct h3 *h)
{
    const struct h3_lane *l = TAILQ_FIRST(&h->lanes);
    if (!l)
        return NULL;
    struct heap_node *first = heap_first(&l->ordered);
    if (!first)
        return TAILQ_FIRST(&l->ready);
    return (struct h3_stream *)(void *)((char *)first - offsetof(struct h3_stream, in_ordered));
}

static bool has_more(const struct h3_stream *s)
{
    struct iovec slice;
    bool fin;
    return h3_stream_offer(s, &slice, 1, &fin) > 0 || fin;
}

static void end_turn(struct h3_lane *l)
{
    l->run = 0;
    if (is_empty(l))
        return;
    TAILQ_REMOVE(&l->h3->lanes, l, in_lanes);
    TAILQ_INSERT_TAIL(&l->h3->lanes, l, in_lanes);
}

void h3_lane_sent(struct h3_stream *s, size_t len)
{
    struct h3_lane *l = s->lane;
    s->run += len;
    l->run += len;
    if (s->run < RUN && has_more(s))
        return;
    s->run = 0;
    h3_lane_take(s);
    h3_lane_put(s); /* behind the others, if there is more */
    if (l->run >= RUN)
        end_turn(l);
}
