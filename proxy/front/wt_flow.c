/*
 * wt_flow - the flow control of a session (draft-ietf-webtrans-http3-15, section 5): how much its
 * peer may send and how many streams it may open, and how much and how many we may. Owns the
 * session's window. Calls h3, and conn for credit; ends sessions that break their limits.
 *
 * It is on if both sides announce limits in their SETTINGS; then a connection may carry more than
 * one session, and what is stuck in one of them must not hold up the others. So each session brings
 * its own window and its own streams to the connection, in addition to what that has (the peer
 * could not use them otherwise), and its window is paid for as long as the connection lives: what
 * has been granted to a peer cannot be taken back, but the next session gets it.
 *
 * Limits count from the session's beginning and only rise. They are told when half of what they
 * allow has been used up, or when the peer says that it is blocked.
 */
#include "base/budget.h"
#include "front/wt_internal.h"

#define STREAMS_MAX (UINT64_C(1) << 60) /* sections 5.6.2 and 5.6.3 */
/* Capsules are not queued behind more than this: a peer that takes nothing on the CONNECT stream
 * could otherwise make us collect them. */
#define UNACKED_MAX 1024

static struct conn *conn_of(const struct wt_session *s)
{
    return h3_conn(s->conn->h3);
}

static const struct wt_config *config_of(const struct wt_session *s)
{
    return &s->conn->config;
}

static bool is_clogged(const struct wt_session *s)
{
    return h3_request_unacked(s->request) > UNACKED_MAX;
}

static void send_limit(struct wt_session *s, uint64_t type, uint64_t value)
{
    uint8_t bytes[CAPSULE_HEAD_MAX + 8];
    h3_request_send(s->request, bytes, capsule_write_number(bytes, type, value));
}

/* ---- the beginning and the end ---- */

struct h3_limits wt_flow_first(const struct wt_config *config)
{
    struct h3_limits first = {0};
    if (config->connection_sessions <= 1)
        return first;
    first.data = config->connection_window < WT_FLOW_FIRST_WINDOW ? config->connection_window
                                                                  : WT_FLOW_FIRST_WINDOW;
    first.streams[0] = config->max_streams_bidi;
    first.streams[1] = config->max_streams_uni;
    return first;
}

size_t wt_flow_sessions(const struct wt_conn *c)
{
    struct h3_limits peer;
    return h3_has_session_limits(c->h3, &peer) ? c->config.connection_sessions : 1;
}

/* The window of a session: what an earlier one has left, or new credit. */
static bool take_window(struct wt_conn *c, uint64_t bytes)
{
    if (c->spare_window >= bytes) {
        c->spare_window -= bytes;
        return true;
    }
    if (!budget_reserve(conn_memory(h3_conn(c->h3)), bytes, BUDGET_NEWCOMER))
        return false;
    conn_grant(h3_conn(c->h3), bytes);
    return true;
}

static void take_streams(struct wt_conn *c, const struct h3_limits *first)
{
    if (c->flows++ < c->flows_provided)
        return;
    c->flows_provided++;
    for (int uni = 0; uni <= 1; uni++)
        conn_more_streams(h3_conn(c->h3), uni, first->streams[uni]);
}

bool wt_flow_begin(struct wt_session *s)
{
    struct wt_flow *f = &s->flow;
    struct h3_limits first = wt_flow_first(config_of(s)), peer;
    if (!h3_has_session_limits(s->conn->h3, &peer))
        return true;
    if (!take_window(s->conn, first.data))
        return false;
    take_streams(s->conn, &first);
    f->is_on = true;
    window_init(&f->window, first.data, config_of(s)->connection_window,
                conn_memory(conn_of(s))); /* paid by take_window */
    f->max_data = first.data;
    f->peer_max_data = peer.data;
    for (int uni = 0; uni <= 1; uni++) {
        f->max_streams[uni] = first.streams[uni];
        f->peer_max_streams[uni] =
            peer.streams[uni] < STREAMS_MAX ? peer.streams[uni] : STREAMS_MAX;
    }
    h3_lane_limit(s->lane, peer.data);
    return true;
}

void wt_flow_end(struct wt_session *s)
{
    if (!s->flow.is_on)
        return;
    s->flow.is_on = false;
    s->conn->flows--;
    s->conn->spare_window += s->flow.window.size;
}

void wt_flow_fini(struct wt_conn *c)
{
    budget_release(conn_memory(h3_conn(c->h3)), c->spare_window);
    c->spare_window = 0;
}

/* ---- what the peer may ---- */

/* Told with the next acknowledgement: by then it may be a higher limit. */
static bool holds_back(struct wt_session *s)
{
    bool clogged = is_clogged(s);
    s->flow.is_behind |= clogged;
    return clogged;
}

static void replenish_data(struct wt_session *s, uint64_t least)
{
    struct wt_flow *f = &s->flow;
    uint64_t limit = f->consumed + f->window.size;
    if (limit < f->max_data + least || holds_back(s))
        return;
    f->max_data = limit;
    send_limit(s, CAPSULE_MAX_DATA, limit);
}

static void replenish_streams(struct wt_session *s, bool unidirectional, uint64_t least)
{
    struct wt_flow *f = &s->flow;
    uint64_t window = wt_flow_first(config_of(s)).streams[unidirectional];
    uint64_t limit = f->slots_free[unidirectional] + window;
    if (limit < f->max_streams[unidirectional] + least || holds_back(s))
        return;
    f->max_streams[unidirectional] = limit;
    send_limit(s, unidirectional ? CAPSULE_MAX_STREAMS_UNI : CAPSULE_MAX_STREAMS_BIDI, limit);
}

static uint64_t half_of(uint64_t n)
{
    return n > 1 ? n / 2 : 1;
}

static bool may_send(const struct wt_session *s)
{
    return s->flow.is_on && s->state == WT_OPEN && s->request;
}

void wt_flow_replenish(struct wt_session *s)
{
    if (!may_send(s))
        return;
    replenish_data(s, half_of(s->flow.window.size));
    for (int uni = 0; uni <= 1; uni++)
        replenish_streams(s, uni, half_of(wt_flow_first(config_of(s)).streams[uni]));
}

void wt_flow_acked(struct wt_session *s)
{
    if (!s->flow.is_behind || !may_send(s) || is_clogged(s))
        return;
    s->flow.is_behind = false;
    replenish_data(s, 1);
    for (int uni = 0; uni <= 1; uni++)
        replenish_streams(s, uni, 1);
}

bool wt_flow_received(struct wt_session *s, uint64_t len)
{
    struct wt_flow *f = &s->flow;
    f->received += len;
    return !f->is_on || f->received <= f->max_data;
}

void wt_flow_consumed(struct wt_session *s, uint64_t len)
{
    struct wt_flow *f = &s->flow;
    f->consumed += len;
    if (!f->is_on)
        return;
    struct timers *timers = s->conn->host->env->timers;
    conn_grant(conn_of(s), window_taken(&f->window, len, timers_now(timers), conn_rtt(conn_of(s))));
    if (may_send(s))
        replenish_data(s, half_of(f->window.size));
}

bool wt_flow_opened(struct wt_session *s, bool unidirectional)
{
    struct wt_flow *f = &s->flow;
    f->opened[unidirectional]++;
    return !f->is_on || f->opened[unidirectional] <= f->max_streams[unidirectional];
}

void wt_flow_slot_free(struct wt_session *s, bool unidirectional)
{
    s->flow.slots_free[unidirectional]++;
    if (may_send(s))
        replenish_streams(s, unidirectional,
                          half_of(wt_flow_first(config_of(s)).streams[unidirectional]));
}

/* ---- what we may ---- */

/* Once for each limit. */
static void say_blocked(struct wt_session *s, uint64_t type, uint64_t limit, uint64_t *said)
{
    if (!may_send(s) || *said > limit || is_clogged(s))
        return;
    *said = limit + 1;
    send_limit(s, type, limit);
}

bool wt_flow_may_open(struct wt_session *s, bool unidirectional)
{
    struct wt_flow *f = &s->flow;
    uint64_t limit = f->peer_max_streams[unidirectional];
    if (!f->is_on || f->own_opened[unidirectional] < limit)
        return true;
    say_blocked(s, unidirectional ? CAPSULE_STREAMS_BLOCKED_UNI : CAPSULE_STREAMS_BLOCKED_BIDI,
                limit, &f->said_streams_blocked[unidirectional]);
    return false;
}

void wt_flow_own_opened(struct wt_session *s, bool unidirectional)
{
    s->flow.own_opened[unidirectional]++;
}

void wt_flow_starved(struct wt_session *s)
{
    say_blocked(s, CAPSULE_DATA_BLOCKED, s->flow.peer_max_data, &s->flow.said_data_blocked);
}

/* ---- capsules ---- */

/* A limit that does not rise is an error: capsules come in order. */
static bool raise_data(struct wt_session *s, uint64_t limit)
{
    struct wt_flow *f = &s->flow;
    if (limit <= f->peer_max_data)
        return false;
    uint64_t more = limit - f->peer_max_data;
    f->peer_max_data = limit;
    h3_lane_grant(s->lane, more);
    return true;
}

static bool raise_streams(struct wt_session *s, bool unidirectional, uint64_t limit)
{
    struct wt_flow *f = &s->flow;
    if (limit > STREAMS_MAX || limit <= f->peer_max_streams[unidirectional])
        return false;
    f->peer_max_streams[unidirectional] = limit;
    if (s->state == WT_OPEN)
        s->ops->streams_available(s->user, unidirectional);
    return true;
}

static enum wt_flow_result take(struct wt_session *s, const struct capsule *c)
{
    uint64_t n;
    bool unidirectional =
        c->type == CAPSULE_MAX_STREAMS_UNI || c->type == CAPSULE_STREAMS_BLOCKED_UNI;
    if (c->type == CAPSULE_MAX_STREAM_DATA || c->type == CAPSULE_STREAM_DATA_BLOCKED)
        return WT_FLOW_VIOLATED; /* section 5.4 */
    if (!capsule_read_number(c, &n))
        return WT_FLOW_MALFORMED;
    bool good = true;
    switch (c->type) {
    case CAPSULE_MAX_DATA:
        good = raise_data(s, n);
        break;
    case CAPSULE_MAX_STREAMS_BIDI:
    case CAPSULE_MAX_STREAMS_UNI:
        good = raise_streams(s, unidirectional, n);
        break;
    case CAPSULE_DATA_BLOCKED:
        if (may_send(s))
            replenish_data(s, 1);
        break;
    case CAPSULE_STREAMS_BLOCKED_BIDI:
    case CAPSULE_STREAMS_BLOCKED_UNI:
        good = n <= STREAMS_MAX;
        if (good && may_send(s))
            replenish_streams(s, unidirectional, 1);
        break;
    }
    return good ? WT_FLOW_FINE : WT_FLOW_VIOLATED;
}

/* Safari keeps limits though nobody has announced any, and asks for them to be raised. QUIC's are
 * enough for us, so it gets all there are, once. */
static void lift(struct wt_session *s, uint64_t blocked)
{
    static const struct {
        uint64_t blocked, answer, limit;
    } rows[] = {
        {CAPSULE_DATA_BLOCKED, CAPSULE_MAX_DATA, VARINT_MAX},
        {CAPSULE_STREAMS_BLOCKED_BIDI, CAPSULE_MAX_STREAMS_BIDI, STREAMS_MAX},
        {CAPSULE_STREAMS_BLOCKED_UNI, CAPSULE_MAX_STREAMS_UNI, STREAMS_MAX},
    };
    if (!h3_is_safari(s->conn->h3) || s->state != WT_OPEN)
        return;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].blocked != blocked || s->flow.lifted[i])
            continue;
        s->flow.lifted[i] = true;
        send_limit(s, rows[i].answer, rows[i].limit);
    }
}

enum wt_flow_result wt_flow_capsule(struct wt_session *s, const struct capsule *c)
{
    if (s->flow.is_on)
        return take(s, c);
    lift(s, c->type); /* all else is ignored: section 5.1 */
    return WT_FLOW_FINE;
}
