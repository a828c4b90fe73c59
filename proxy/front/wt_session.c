/*
 * wt_session - a session's life: request, answer, capsules, the ways to end it. Owns its streams
 * and what was kept for it before the accept. Calls h3; tells the host's ops.
 *
 * Ending is the delicate part, because of what browsers make of the order in which things arrive.
 * Our close is a capsule and FIN on the CONNECT stream, alone; an abort is RESET_STREAM and
 * STOP_SENDING there, alone. The session's streams are reset only after the peer's answer on the
 * CONNECT stream, or after close_timeout: resets that arrive together with the close make browsers
 * report the streams' error, or a lost connection, instead of our code.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "base/stats.h"
#include "front/wt_code.h"
#include "front/wt_internal.h"

#define EARLY_DATAGRAMS      32
#define EARLY_DATAGRAM_BYTES (64 * 1024)
/* After the peer's answer to our close we are silent for so long: whatever reaches Chromium before
 * it has told its page (a bare ACK suffices; on the same machine it takes less than that) makes the
 * page hear "connection lost" instead of our code, in one of ten closes that meet a stream just
 * read. */
#define CLOSE_HOLD_NS (20 * NS_PER_MS)

static const bool moves[WT_STATES][WT_STATES] = {
    [WT_CONNECTING] = {[WT_OPEN] = true, [WT_CLOSING] = true, [WT_ENDED] = true},
    [WT_REQUESTED] = {[WT_OPEN] = true, [WT_ENDED] = true},
    [WT_OPEN] = {[WT_CLOSING] = true, [WT_ENDED] = true},
    [WT_CLOSING] = {[WT_ENDED] = true},
};

static void move(struct wt_session *s, enum wt_state to)
{
    assert(moves[s->state][to]);
    s->state = to;
}

static struct env *env_of(const struct wt_session *s)
{
    return s->conn->host->env;
}

struct wt_session *wt_session_find(const struct wt_conn *c, uint64_t id)
{
    struct wt_session *s;
    LIST_FOREACH (s, &c->sessions, entry)
        if (s->request && s->id == id)
            return s;
    return NULL;
}

void wt_wish_free(struct wt_wish *w)
{
    if (!w)
        return;
    free(w->authority);
    free(w->path);
    free(w->headers);
    free(w);
}

static void free_memory(void *owner)
{
    struct wt_session *s = owner;
    wt_wish_free(s->wish);
    free(s);
}

/* ---- the end ---- */

/* One that its holder never hears of. */
static void report_refused(const struct wt_conn *c, enum fault fault)
{
    char client[HOSTPORT_TEXT_SIZE];
    conn_remote_text(h3_conn(c->h3), client);
    REPORT(c->host->env, INFO, "session.refused", fault, log_text("client", client),
           log_text("draft", h3_draft(c->h3)));
}

/* The one way out: cleans up what hangs on it, then tells. wire_code is for streams still open. */
static void finish(struct wt_session *s, uint64_t wire_code, const struct wt_end *end)
{
    struct wt_stream *st;
    move(s, WT_ENDED);
    timer_stop(env_of(s)->timers, &s->close_timer);
    turn_untouch(env_of(s)->turn, &s->deliver);
    while ((st = TAILQ_FIRST(&s->streams)) != NULL)
        wt_stream_kill(st, wire_code);
    wt_flow_end(s);
    h3_lane_release(s->lane);
    dgramq_fini(&s->early_datagrams);
    if (s->request)
        h3_request_set_user(s->request, NULL);
    env_of(s)->stats->sessions--;
    wt_conn_forget_session(s);
    bool is_of_session = fault_reach(end->fault) == FAULT_OF_SESSION;
    if (is_of_session && s->is_told) /* others are counted where they happened */
        report_count(env_of(s), end->fault);
    else if (is_of_session)
        report_refused(s->conn, end->fault);
    if (s->is_told)
        s->ops->closed(s->user, end);
    turn_bury(env_of(s)->turn, &s->grave, free_memory, s);
}

static void finish_own_close(struct wt_session *s, bool clean, enum fault fault)
{
    struct wt_end end = {.by = WT_BY_LOCAL, .clean = clean && !s->aborted, .fault = fault};
    if (!s->aborted) {
        end.code = (struct wt_code){.known = true, .value = s->own_code};
        end.reason = s->own_reason;
        end.reason_len = s->own_reason_len;
    }
    finish(s, WT_SESSION_GONE, &end);
}

static void close_timed_out(void *owner)
{
    struct wt_session *s = owner;
    if (s->request)
        h3_request_give_up(s->request, WT_SESSION_GONE);
    finish_own_close(s, false, FAULT_CLOSE_TIMEOUT);
}

/* The peer broke a rule on the CONNECT stream. */
static void finish_fault(struct wt_session *s, enum fault fault, uint64_t wire_code)
{
    if (s->request)
        h3_request_reset(s->request, wire_code);
    if (s->state == WT_CLOSING) {
        finish_own_close(s, false, fault);
        return;
    }
    finish(s, WT_SESSION_GONE, &(struct wt_end){.by = WT_BY_FAULT, .fault = fault});
}

void wt_session_violated(struct wt_session *s)
{
    if (s->state != WT_ENDED)
        finish_fault(s, FAULT_FLOW_CONTROL, WT_FLOW_CONTROL_ERROR);
}

/* The peer ended it in an orderly way: answered with FIN, and its streams go. */
static void finish_by_peer(struct wt_session *s, struct wt_code code, const char *reason,
                           size_t reason_len)
{
    if (s->state == WT_CLOSING) {
        if (LIST_FIRST(&s->conn->sessions) == s && !LIST_NEXT(s, entry)) /* no browser has two */
            conn_hold(h3_conn(s->conn->h3), CLOSE_HOLD_NS);
        finish_own_close(s, true, FAULT_NONE);
        return;
    }
    bool answered = s->state == WT_OPEN;
    if (s->request && answered)
        h3_request_end(s->request);
    else if (s->request)
        h3_request_reset(s->request, H3_REQUEST_CANCELLED);
    finish(s, WT_SESSION_GONE,
           &(struct wt_end){.by = WT_BY_CLIENT,
                            .clean = true,
                            .code = code,
                            .reason = reason,
                            .reason_len = reason_len});
}

/* Clients that know one session per connection end it with CONNECTION_CLOSE and the application's
 * code: mapped as those of streams (web-transport-quinn, when its capsule is not answered), or as
 * it is (wtransport). The latter we believe up to 255, where HTTP/3 has no codes but
 * H3_DATAGRAM_ERROR and the reserved ones. */
static struct wt_code code_of_connection(uint64_t code)
{
    bool reserved = code >= 0x21 && (code - 0x21) % 0x1f == 0; /* RFC 9114 section 8.1 */
    if (code <= 0xff && code != H3_DATAGRAM_ERROR && !reserved)
        return (struct wt_code){.known = true, .value = (uint32_t)code};
    return wt_code_from_wire(code);
}

static void read_peers_close(struct wt_end *to, const struct conn_end *end)
{
    to->by = WT_BY_CLIENT;
    if (end->application)
        to->code = code_of_connection(end->code);
    if (!to->code.known)
        return;
    to->fault = FAULT_NONE;
    if (capsule_is_reason(end->text, strlen(end->text))) {
        to->reason = end->text;
        to->reason_len = strlen(end->text);
    }
}

void wt_session_lost(struct wt_session *s, const struct conn_end *end)
{
    s->request = NULL;
    struct wt_end e = {.by = WT_BY_NETWORK, .fault = end->fault};
    if (end->by_peer)
        read_peers_close(&e, end);
    else if (end->fault == FAULT_NONE)
        e.by = WT_BY_LOCAL;
    else if (end->fault != FAULT_IDLE)
        e.by = WT_BY_FAULT;
    if (s->state == WT_CLOSING)
        finish_own_close(s, false, FAULT_NONE);
    else
        finish(s, WT_SESSION_GONE, &e);
}

/* ---- the beginning ---- */

static void deliver(void *owner)
{
    struct wt_session *s = owner;
    s->delivering = false;
    struct wt_stream *st, *next;
    for (st = TAILQ_FIRST(&s->streams); st && s->state == WT_OPEN; st = next) {
        next = TAILQ_NEXT(st, entry);
        if (st->held)
            wt_stream_deliver(st);
    }
    const uint8_t *data;
    size_t len;
    while (s->state == WT_OPEN && dgramq_peek(&s->early_datagrams, &data, &len)) {
        s->ops->datagram_received(s->user, data, len);
        dgramq_pop(&s->early_datagrams);
    }
    if (s->state == WT_OPEN && s->early_drain)
        s->ops->draining(s->user);
}

void wt_session_draining(struct wt_session *s)
{
    if (s->state == WT_OPEN)
        s->ops->draining(s->user);
    else
        s->early_drain = true;
}

struct wt_session *wt_session_new(struct wt_conn *c, enum wt_state state)
{
    struct wt_session *s = calloc(1, sizeof(*s));
    if (!s)
        abort();
    struct stats *stats = c->host->env->stats;
    s->conn = c;
    s->ops = c->host->ops;
    s->state = state;
    s->is_told = state == WT_CONNECTING;
    s->lane = h3_lane_new(c->h3, s);
    TAILQ_INIT(&s->streams);
    dgramq_init(&s->early_datagrams, EARLY_DATAGRAMS, EARLY_DATAGRAM_BYTES, &stats->datagrams,
                &stats->datagrams_dropped, conn_memory(h3_conn(c->h3)));
    turn_flush_init(&s->deliver, TURN_BACK, deliver, s);
    timer_init(&s->close_timer, close_timed_out, s);
    LIST_INSERT_HEAD(&c->sessions, s, entry);
    stats->sessions++;
    timer_stop(c->host->env->timers, &c->linger_timer);
    return s;
}

static void refuse_request(struct wt_conn *c, struct h3_request *r, enum fault fault, uint64_t code)
{
    report_refused(c, fault);
    h3_request_reset(r, code);
}

/* Those of other sessions that are still to come go round once, and so keep their order. */
static void take_early_datagrams(struct wt_session *s)
{
    struct dgramq *q = &s->conn->early_datagrams;
    const uint8_t *data;
    size_t len;
    for (size_t left = q->count; left > 0 && dgramq_peek(q, &data, &len); left--) {
        uint64_t id;
        uint8_t *copy = malloc(len);
        assert(copy && len >= sizeof(id));
        memcpy(copy, data, len);
        memcpy(&id, copy, sizeof(id));
        dgramq_pop(q);
        if (id == s->id)
            dgramq_push(&s->early_datagrams, copy + sizeof(id), len - sizeof(id));
        else
            dgramq_push(q, copy, len);
        free(copy);
    }
}

static size_t count_sessions(const struct wt_conn *c)
{
    const struct wt_session *s;
    size_t count = 0;
    LIST_FOREACH (s, &c->sessions, entry)
        count++;
    return count;
}

static bool has_header(const struct header *headers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (header_is(&headers[i], name))
            return true;
    return false;
}

void wt_session_requested(struct wt_conn *c, struct h3_request *r, const struct h3_head *head)
{
    c->host->env->stats->sessions_requested++;
    enum fault fault = h3_judge(c->h3);
    if (fault != FAULT_NONE) {
        refuse_request(c, r, fault, H3_MESSAGE_ERROR);
        return;
    }
    if (count_sessions(c) >= wt_flow_sessions(c)) {
        refuse_request(c, r, FAULT_SECOND_SESSION, H3_REQUEST_REJECTED);
        return;
    }
    struct wt_session *s = wt_session_new(c, WT_REQUESTED);
    s->request = r;
    s->id = h3_request_id(r);
    if (!wt_flow_begin(s)) {
        refuse_request(c, r, FAULT_MEMORY_SESSION, H3_REQUEST_REJECTED);
        finish(s, WT_BUFFERED_STREAM_REJECTED, &(struct wt_end){.by = WT_BY_LOCAL});
        return;
    }
    h3_request_set_user(r, s);
    wt_stream_adopt(s);
    if (s->state == WT_ENDED) /* its early streams were too many already */
        return;
    take_early_datagrams(s);
    struct wt_request request = {
        .scheme = head->scheme,
        .authority = head->authority,
        .path = head->path,
        .protocol = head->protocol,
        .headers = head->headers,
        .header_count = head->header_count,
        .session_id = s->id,
        .draft = h3_draft(c->h3),
    };
    conn_addresses(h3_conn(c->h3), &request.local, &request.remote);
    conn_tls_info(h3_conn(c->h3), &request.tls_version, &request.cipher_suite);
    s->wants_draft02 =
        has_header(head->headers, head->header_count, "sec-webtransport-http3-draft02");
    s->is_told = true;
    c->host->ops->requested(c->host->user, s, &request);
}

static void become_open(struct wt_session *s)
{
    move(s, WT_OPEN);
    conn_keep_alive(h3_conn(s->conn->h3), true);
    s->delivering = true;
    wt_flow_replenish(s);
    turn_touch(env_of(s)->turn, &s->deliver);
}

/* Section 3.1 of draft-ietf-webtrans-http3-02: a client that names its version is told ours. */
static void respond(struct wt_session *s, unsigned status, const struct header *headers,
                    size_t count)
{
    static const struct header draft02 = {(const uint8_t *)"sec-webtransport-http3-draft", 28,
                                          (const uint8_t *)"draft02", 7};
    if (!s->wants_draft02 || has_header(headers, count, "sec-webtransport-http3-draft")) {
        h3_request_respond(s->request, status, headers, count, false);
        return;
    }
    struct header *all = calloc(count + 1, sizeof(*all));
    if (!all)
        abort();
    all[0] = draft02;
    if (count > 0)
        memcpy(all + 1, headers, count * sizeof(*all));
    h3_request_respond(s->request, status, all, count + 1, false);
    free(all);
}

void wt_accept(struct wt_session *s, unsigned status, const struct header *headers, size_t count)
{
    assert(status >= 200 && status <= 299);
    if (s->state != WT_REQUESTED)
        return;
    env_of(s)->stats->sessions_accepted++;
    respond(s, status, headers, count);
    become_open(s);
    if (s->conn->host->draining)
        wt_drain(s);
}

void wt_refuse(struct wt_session *s, unsigned status, const struct header *headers, size_t count,
               const void *body, size_t len)
{
    assert(status >= 300 && status <= 599);
    if (s->state != WT_REQUESTED)
        return;
    env_of(s)->stats->sessions_refused++;
    h3_request_respond(s->request, status, headers, count, len == 0);
    if (len > 0) {
        h3_request_send(s->request, body, len);
        h3_request_end(s->request);
    }
    h3_request_stop(s->request, H3_NO_ERROR);
    finish(s, WT_BUFFERED_STREAM_REJECTED, &(struct wt_end){.by = WT_BY_LOCAL, .clean = true});
}

void wt_refuse_reset(struct wt_session *s)
{
    if (s->state != WT_REQUESTED)
        return;
    env_of(s)->stats->sessions_refused++;
    h3_request_reset(s->request, H3_REQUEST_REJECTED);
    finish(s, WT_BUFFERED_STREAM_REJECTED, &(struct wt_end){.by = WT_BY_LOCAL});
}

/* ---- client ---- */

void wt_session_ask(struct wt_session *s)
{
    struct wt_wish *w = s->wish;
    s->wish = NULL;
    bool has_room = wt_flow_begin(s);
    s->request = !has_room
                     ? NULL
                     : h3_request_open(s->conn->h3, w->authority, w->path, w->headers, w->count, s);
    wt_wish_free(w);
    if (!s->request) {
        finish(s, WT_SESSION_GONE, &(struct wt_end){.by = WT_BY_FAULT, .fault = FAULT_QUIC});
        return;
    }
    s->id = h3_request_id(s->request);
}

void wt_session_responded(struct wt_session *s, const struct h3_head *head)
{
    if (s->state != WT_CONNECTING)
        return;
    bool accepted = head->status >= 200 && head->status <= 299;
    if (accepted)
        become_open(s);
    s->ops->responded(s->user, head->status, head->headers, head->header_count);
    if (accepted || s->state == WT_ENDED)
        return;
    h3_request_end(s->request);
    finish(s, WT_SESSION_GONE, &(struct wt_end){.by = WT_BY_CLIENT, .clean = true});
}

/* ---- the CONNECT stream ---- */

/* The session is over whatever follows; but nothing may (section 6 of the draft). */
static void take_close(struct wt_session *s, const struct capsule *c, bool more)
{
    uint32_t code;
    const char *reason;
    size_t reason_len;
    if (!capsule_read_close(c, &code, &reason, &reason_len)) {
        finish_fault(s, FAULT_CAPSULE, H3_MESSAGE_ERROR);
        return;
    }
    finish_by_peer(s, (struct wt_code){.known = true, .value = code}, reason, reason_len);
    h3_request_seal(s->request, more);
}

static void take_flow(struct wt_session *s, enum wt_flow_result result)
{
    if (result == WT_FLOW_VIOLATED)
        wt_session_violated(s);
    else if (result == WT_FLOW_MALFORMED)
        finish_fault(s, FAULT_CAPSULE, H3_MESSAGE_ERROR);
}

static void take_capsule(struct wt_session *s, const struct capsule *c, bool more)
{
    switch (c->type) {
    case CAPSULE_CLOSE:
        take_close(s, c, more);
        break;
    case CAPSULE_DRAIN:
        wt_session_draining(s);
        break;
    case CAPSULE_DATAGRAM:
        wt_session_datagram(s, c->payload, c->len);
        break;
    default:
        take_flow(s, wt_flow_capsule(s, c));
        break;
    }
}

void wt_session_body(struct wt_session *s, const uint8_t *data, size_t len)
{
    struct capsule c;
    while (s->state != WT_ENDED) {
        enum capsule_result result = capsule_read(&s->capsules, &data, &len, &c);
        if (result == CAPSULE_BAD)
            finish_fault(s, FAULT_CAPSULE, H3_MESSAGE_ERROR);
        if (result != CAPSULE_WHOLE)
            return;
        take_capsule(s, &c, len > 0);
    }
}

void wt_session_body_ended(struct wt_session *s)
{
    if (s->state == WT_ENDED)
        return;
    if (capsule_is_partial(&s->capsules))
        finish_fault(s, FAULT_CAPSULE, H3_MESSAGE_ERROR);
    else /* FIN alone is close(0, "") */
        finish_by_peer(s, (struct wt_code){.known = true}, "", 0);
}

void wt_session_request_failed(struct wt_session *s, uint64_t code)
{
    (void)code;
    if (s->state == WT_ENDED)
        return;
    if (s->request)
        h3_request_reset(s->request, H3_REQUEST_CANCELLED);
    if (s->state == WT_CLOSING)
        finish_own_close(s, false, FAULT_NONE);
    else
        finish(s, WT_SESSION_GONE,
               &(struct wt_end){.by = WT_BY_CLIENT, .fault = FAULT_SESSION_RESET});
}

void wt_session_request_closed(struct wt_session *s)
{
    s->request = NULL;
    if (s->state == WT_CLOSING)
        finish_own_close(s, false, FAULT_NONE);
    else if (s->state != WT_ENDED)
        finish(s, WT_SESSION_GONE, &(struct wt_end){.by = WT_BY_CLIENT});
}

void wt_session_datagram(struct wt_session *s, const uint8_t *data, size_t len)
{
    if (s->state == WT_OPEN && !s->delivering)
        s->ops->datagram_received(s->user, data, len);
    else if (s->state < WT_CLOSING)
        dgramq_push(&s->early_datagrams, data, len);
}

/* ---- the holder's wishes ---- */

void wt_session_set_user(struct wt_session *s, void *user)
{
    s->user = user;
}

void wt_session_set_ops(struct wt_session *s, const struct wt_ops *ops)
{
    s->ops = ops;
}

static void start_closing(struct wt_session *s)
{
    struct timers *timers = env_of(s)->timers;
    move(s, WT_CLOSING);
    turn_untouch(env_of(s)->turn, &s->deliver);
    timer_set(timers, &s->close_timer, timers_now(timers) + s->conn->config.close_timeout_ns);
}

void wt_close(struct wt_session *s, uint32_t code, const char *reason, size_t reason_len)
{
    uint8_t bytes[CAPSULE_HEAD_MAX + 4 + WT_REASON_MAX];
    assert(reason_len <= WT_REASON_MAX);
    if (s->state != WT_OPEN)
        return;
    s->own_code = code;
    s->own_reason_len = reason_len;
    memcpy(s->own_reason, reason, reason_len);
    h3_request_send(s->request, bytes, capsule_write_close(bytes, code, reason, reason_len));
    h3_request_end(s->request);
    start_closing(s);
}

void wt_abort(struct wt_session *s)
{
    if (s->state != WT_OPEN && s->state != WT_CONNECTING)
        return;
    s->aborted = true;
    if (s->request)
        h3_request_reset(s->request, H3_REQUEST_CANCELLED);
    start_closing(s);
}

void wt_drain(struct wt_session *s)
{
    uint8_t bytes[CAPSULE_HEAD_MAX];
    if (s->conn->host->draining)
        h3_goaway(s->conn->h3);
    if (s->state != WT_OPEN || s->drained)
        return;
    s->drained = true; /* saying it again says nothing, and what is queued has no other bound */
    h3_request_send(s->request, bytes, capsule_write_drain(bytes));
}

bool wt_datagram_send(struct wt_session *s, const void *data, size_t len)
{
    return s->state != WT_OPEN || h3_datagram_send(s->request, data, len);
}

uint64_t wt_session_rtt(const struct wt_session *s)
{
    return conn_rtt(h3_conn(s->conn->h3));
}

size_t wt_datagram_max(const struct wt_session *s)
{
    return s->request ? h3_datagram_max(s->request) : 0;
}
