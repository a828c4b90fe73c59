/*
 * wt - the host and its connections: hands h3's news to sessions and streams, and keeps, within
 * bounds, what arrives before its session. Owns the connections' own part. Calls h3.
 */
#include "front/wt.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "base/stats.h"
#include "front/wt_internal.h"

#define EARLY_DATAGRAMS      16
#define EARLY_DATAGRAM_BYTES (32 * 1024)

/* When there are more than we remember, what is older than all of them has ended, too. */
bool wt_conn_has_ended(const struct wt_conn *c, uint64_t id)
{
    uint64_t lowest = UINT64_MAX;
    for (size_t i = 0; i < WT_REMEMBERED; i++) {
        if (c->ended[i] == id + 1)
            return true;
        if (c->ended[i] < lowest)
            lowest = c->ended[i]; /* 0 while there are fewer */
    }
    return id + 1 < lowest;
}

/* A connection that carries no session is closed after a while: some clients wait for that, and
 * nobody else misses it. */
void wt_conn_forget_session(struct wt_session *s)
{
    struct wt_conn *c = s->conn;
    struct timers *timers = c->host->env->timers;
    LIST_REMOVE(s, entry);
    c->ended[c->ended_next] = s->id + 1;
    c->ended_next = (c->ended_next + 1) % WT_REMEMBERED;
    if (LIST_EMPTY(&c->sessions))
        timer_set(timers, &c->linger_timer, timers_now(timers) + c->config.close_timeout_ns);
}

static void linger_over(void *owner)
{
    struct wt_conn *c = owner;
    h3_close(c->h3);
}

static void drop_early(struct wt_conn *c)
{
    struct wt_stream *st;
    while ((st = TAILQ_FIRST(&c->early)) != NULL) {
        report_count(c->host->env, FAULT_TOO_MANY_EARLY);
        wt_stream_kill(st, WT_BUFFERED_STREAM_REJECTED);
    }
}

static void early_too_long(void *owner)
{
    drop_early(owner);
}

static struct wt_conn *conn_new(struct wt_host *host)
{
    struct wt_conn *c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    c->host = host;
    c->config = host->config;
    LIST_INIT(&c->sessions);
    TAILQ_INIT(&c->early);
    timer_init(&c->early_timer, early_too_long, c);
    timer_init(&c->linger_timer, linger_over, c);
    TAILQ_INSERT_TAIL(&host->conns, c, entry);
    return c;
}

static void conn_set_h3(struct wt_conn *c, struct h3 *h)
{
    struct stats *stats = c->host->env->stats;
    c->h3 = h;
    dgramq_init(&c->early_datagrams, EARLY_DATAGRAMS, EARLY_DATAGRAM_BYTES, &stats->datagrams,
                &stats->datagrams_dropped, conn_memory(h3_conn(h)));
}

static void conn_free(struct wt_conn *c)
{
    struct env *env = c->host->env;
    drop_early(c);
    if (c->h3)
        wt_flow_fini(c);
    dgramq_fini(&c->early_datagrams);
    timer_stop(env->timers, &c->early_timer);
    timer_stop(env->timers, &c->linger_timer);
    TAILQ_REMOVE(&c->host->conns, c, entry);
    turn_bury(env->turn, &c->grave, free, c);
}

static void *h3_accepted(void *host_user, struct h3 *h)
{
    struct wt_conn *c = conn_new(host_user);
    conn_set_h3(c, h);
    return c;
}

static void h3_ready(void *user)
{
    struct wt_conn *c = user;
    struct wt_session *s, *next;
    for (s = LIST_FIRST(&c->sessions); s; s = next) {
        next = LIST_NEXT(s, entry);
        if (s->wish)
            wt_session_ask(s);
    }
}

static void h3_session_requested(void *user, struct h3_request *r, const struct h3_head *head)
{
    wt_session_requested(user, r, head);
}

static void h3_responded(void *request_user, const struct h3_head *head)
{
    wt_session_responded(request_user, head);
}

static void h3_body_received(void *request_user, const uint8_t *data, size_t len)
{
    wt_session_body(request_user, data, len);
}

static void h3_body_ended(void *request_user)
{
    wt_session_body_ended(request_user);
}

static void h3_body_acked(void *request_user)
{
    wt_flow_acked(request_user);
}

static void h3_request_failed(void *request_user, uint64_t code)
{
    wt_session_request_failed(request_user, code);
}

static void h3_request_closed(void *request_user)
{
    wt_session_request_closed(request_user);
}

static void h3_stream_opened(void *user, struct h3_stream *h3, uint64_t session_id,
                             bool unidirectional)
{
    wt_stream_arrived(user, h3, session_id, unidirectional);
}

/* The peer has counted it in one of its sessions, which we did not. That the others are given one
 * too many harms nobody: QUIC's own limit counts it, too. */
static void h3_stream_lost(void *user, bool unidirectional)
{
    struct wt_conn *c = user;
    struct wt_session *s;
    LIST_FOREACH (s, &c->sessions, entry)
        wt_flow_slot_free(s, unidirectional);
}

static void h3_streams_available(void *user, bool unidirectional)
{
    struct wt_conn *c = user;
    struct wt_session *s, *next;
    for (s = LIST_FIRST(&c->sessions); s; s = next) {
        next = LIST_NEXT(s, entry);
        if (s->state == WT_OPEN)
            s->ops->streams_available(s->user, unidirectional);
    }
}

/* Datagrams may overtake the request of their session. */
static void keep_datagram(struct wt_conn *c, uint64_t session_id, const uint8_t *data, size_t len)
{
    uint8_t bytes[8 + 2048];
    if (len > sizeof(bytes) - 8)
        return;
    memcpy(bytes, &session_id, 8);
    memcpy(bytes + 8, data, len);
    dgramq_push(&c->early_datagrams, bytes, 8 + len);
}

static void h3_datagram_received(void *user, uint64_t session_id, const uint8_t *data, size_t len)
{
    struct wt_conn *c = user;
    struct wt_session *s = wt_session_find(c, session_id);
    if (s)
        wt_session_datagram(s, data, len);
    else if (!wt_conn_has_ended(c, session_id))
        keep_datagram(c, session_id, data, len);
}

static void h3_lane_starved(void *lane_user)
{
    wt_flow_starved(lane_user);
}

static void h3_lane_received(void *lane_user, uint64_t len)
{
    if (!wt_flow_received(lane_user, len))
        wt_session_violated(lane_user);
}

static void h3_lane_consumed(void *lane_user, uint64_t len)
{
    wt_flow_consumed(lane_user, len);
}

static void h3_lane_slot_free(void *lane_user, bool unidirectional)
{
    wt_flow_slot_free(lane_user, unidirectional);
}

static void h3_datagram_max_changed(void *user)
{
    struct wt_conn *c = user;
    struct wt_session *s;
    LIST_FOREACH (s, &c->sessions, entry)
        if (s->state == WT_OPEN)
            s->ops->datagram_max_changed(s->user, wt_datagram_max(s));
}

static void h3_goaway_received(void *user)
{
    struct wt_conn *c = user;
    struct wt_session *s, *next;
    for (s = LIST_FIRST(&c->sessions); s; s = next) {
        next = LIST_NEXT(s, entry);
        wt_session_draining(s);
    }
}

static void h3_closed(void *user, const struct conn_end *end)
{
    struct wt_conn *c = user;
    struct wt_session *s;
    while ((s = LIST_FIRST(&c->sessions)) != NULL)
        wt_session_lost(s, end);
    conn_free(c);
}

const char *wt_by_name(enum wt_by by)
{
    static const char *const names[] = {[WT_BY_CLIENT] = "client",
                                        [WT_BY_LOCAL] = "proxy",
                                        [WT_BY_NETWORK] = "network",
                                        [WT_BY_FAULT] = "proxy"};
    return names[by];
}

const struct h3_ops wt_h3_ops = {
    .accepted = h3_accepted,
    .ready = h3_ready,
    .session_requested = h3_session_requested,
    .responded = h3_responded,
    .body_received = h3_body_received,
    .body_ended = h3_body_ended,
    .body_acked = h3_body_acked,
    .request_failed = h3_request_failed,
    .request_closed = h3_request_closed,
    .stream_opened = h3_stream_opened,
    .stream_lost = h3_stream_lost,
    .stream_received = wt_stream_received,
    .stream_reset = wt_stream_peer_reset,
    .stream_stopped = wt_stream_peer_stopped,
    .stream_acked = wt_stream_was_acked,
    .streams_available = h3_streams_available,
    .lane_starved = h3_lane_starved,
    .lane_received = h3_lane_received,
    .lane_consumed = h3_lane_consumed,
    .lane_slot_free = h3_lane_slot_free,
    .datagram_received = h3_datagram_received,
    .datagram_max_changed = h3_datagram_max_changed,
    .goaway_received = h3_goaway_received,
    .closed = h3_closed,
};

/* Largest DATAGRAM frame we take: any (RFC 9221, section 3). */
#define MAX_DATAGRAM_FRAME 65535

/* What a client may send ahead at first. More would be promised to all and used by few. */
#define FIRST_CONNECTION_WINDOW (128 * 1024)
#define FIRST_STREAM_WINDOW     (64 * 1024)

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static struct h3_config h3_config_of(const struct wt_config *config)
{
    return (struct h3_config){
        .conn =
            {
                .tls = config->tls,
                .is_server = config->is_server,
                .max_data = least(FIRST_CONNECTION_WINDOW, config->connection_window),
                .max_stream_data = least(FIRST_STREAM_WINDOW, config->stream_window),
                .max_data_limit = config->connection_window,
                .max_stream_data_limit = config->stream_window,
                .memory_limit = config->connection_memory,
                .max_streams_bidi = config->max_streams_bidi,
                .max_streams_uni = config->max_streams_uni,
                .max_datagram_frame_size = MAX_DATAGRAM_FRAME,
                .idle_timeout_ns = config->idle_timeout_ns,
                .keep_alive_ns = config->keep_alive_ns,
                .handshake_timeout_ns = config->handshake_timeout_ns,
            },
        .max_streams_bidi = config->max_streams_bidi * (config->connection_sessions + 1),
        .session = wt_flow_first(config),
        .max_header_bytes = config->max_header_bytes,
        .stream_send_limit = config->stream_send_limit,
        .datagram_queue = config->datagram_queue,
        .datagram_ttl_ns = config->datagram_ttl_ns,
        .settings_timeout_ns = config->settings_timeout_ns,
    };
}

struct wt_host *wt_host_new(struct env *env, struct endpoint *endpoint,
                            const struct wt_config *config, const struct wt_ops *ops,
                            void *host_user)
{
    struct wt_host *h = calloc(1, sizeof(*h));
    if (!h)
        abort();
    h->env = env;
    h->config = *config;
    h->ops = ops;
    h->user = host_user;
    TAILQ_INIT(&h->conns);
    struct h3_config h3_config = h3_config_of(config);
    h->h3_host = h3_host_new(env, endpoint, &h3_config, &wt_h3_ops, h);
    return h;
}

void wt_host_configure(struct wt_host *h, const struct wt_config *config)
{
    struct h3_config h3_config = h3_config_of(config);
    h->config = *config;
    h3_host_configure(h->h3_host, &h3_config);
}

void wt_host_stop(struct wt_host *h)
{
    struct wt_conn *c;
    h->draining = true;
    h3_host_stop(h->h3_host);
    TAILQ_FOREACH (c, &h->conns, entry)
        if (LIST_EMPTY(&c->sessions))
            h3_goaway(c->h3);
}

void wt_host_drain(struct wt_host *h)
{
    struct wt_conn *c;
    struct wt_session *s;
    wt_host_stop(h);
    TAILQ_FOREACH (c, &h->conns, entry)
        LIST_FOREACH (s, &c->sessions, entry)
            wt_drain(s);
}

void wt_host_close_all(struct wt_host *h)
{
    h3_host_close_all(h->h3_host);
}

size_t wt_host_connections_of(const struct wt_host *h, unsigned listener)
{
    return h3_host_count_of(h->h3_host, listener);
}

size_t wt_host_connections(const struct wt_host *h)
{
    return h3_host_count(h->h3_host);
}

void wt_host_free(struct wt_host *h)
{
    assert(TAILQ_EMPTY(&h->conns));
    h3_host_free(h->h3_host);
    free(h);
}

/* ---- client ---- */

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        abort();
    return copy;
}

static struct header *copy_headers(const struct header *headers, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += headers[i].name_len + headers[i].value_len;
    struct header *copy = malloc(count * sizeof(*copy) + bytes + 1);
    if (!copy)
        abort();
    uint8_t *at = (uint8_t *)(copy + count);
    for (size_t i = 0; i < count; i++) {
        copy[i] = headers[i];
        copy[i].name = memcpy(at, headers[i].name, headers[i].name_len);
        at += headers[i].name_len;
        copy[i].value = memcpy(at, headers[i].value, headers[i].value_len);
        at += headers[i].value_len;
    }
    return copy;
}

static struct wt_wish *wish_new(const char *authority, const char *path,
                                const struct header *headers, size_t count)
{
    struct wt_wish *w = calloc(1, sizeof(*w));
    if (!w)
        abort();
    w->authority = copy_text(authority);
    w->path = copy_text(path);
    w->headers = copy_headers(headers, count);
    w->count = count;
    return w;
}

/* "host:port" or "[v6]:port" without the port and brackets, for SNI. */
static char *host_of(const char *authority)
{
    bool bracket = authority[0] == '[';
    const char *from = authority + bracket;
    return strndup(from, strcspn(from, bracket ? "]" : ":"));
}

struct wt_session *wt_connect(struct wt_host *h, const struct sockaddr *remote,
                              socklen_t remote_len, const char *authority, const char *path,
                              const struct header *headers, size_t count, void *user)
{
    struct wt_conn *c = conn_new(h);
    char *name = host_of(authority);
    struct h3 *h3 = h3_connect(h->h3_host, remote, remote_len, name, c);
    free(name);
    if (!h3) {
        conn_free(c);
        return NULL;
    }
    conn_set_h3(c, h3);
    struct wt_session *s = wt_session_new(c, WT_CONNECTING);
    s->user = user;
    s->wish = wish_new(authority, path, headers, count);
    return s;
}

struct wt_session *wt_connect_beside(struct wt_session *other, const char *authority,
                                     const char *path, void *user)
{
    struct wt_session *s = wt_session_new(other->conn, WT_CONNECTING);
    s->user = user;
    s->wish = wish_new(authority, path, NULL, 0);
    if (h3_is_ready(other->conn->h3))
        wt_session_ask(s);
    return s;
}
