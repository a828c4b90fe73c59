/*
 * A session's life: from the request over the link and the application's answer to the end, and
 * what the end of either side means for the other. Owns struct session. Calls wt, link; the
 * other relay files do the work in between.
 *
 * A session has two sides, and each ends by one upcall: wt's closed() and link's closed(). It is
 * freed when both have come. Who ended it is decided once, by whichever end is processed first:
 *
 *      what happens              client is told               disconnect says
 *      application closes        close(code, reason)          by app, its code and reason back
 *      application rejects       its status                   by app, no code
 *      application aborts        reset                        by app, no code, not clean
 *      client closes             -                            by client, its code and reason
 *      idle timeout, loss        -                            by network, no code
 *      link lost                 502 / close(lost_code)       -
 *      no room there             503                          -
 *      protocol broken           502 / close(lost_code)       by proxy, the same code and reason
 *      no answer in time         504                          by proxy, no code
 *      stalled                   close(lost_code)             by proxy, the same code and reason
 *      shutdown                  503 / close(0)               by proxy, the same code and reason
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "relay_internal.h"

/* Acknowledged is not read: browsers throw away what the page has not read when a close arrives.
 * Closing right after the acknowledgement lost the bytes in half of the tries, 20 ms later in none
 * of 120 on a machine at rest, 50 ms later in 2 of 240 on a busy one. */
#define READING_TIME (200 * NS_PER_MS)

/* For the last words to an application when everything ends. */
#define HURRIED_TIME (100 * NS_PER_MS)

/* --- states --- */

#define TO(state) (1u << SESSION_##state)

static const unsigned moves[SESSION_STATES] = {
    [SESSION_CONNECTING] = TO(ASKED) | TO(OVER),
    [SESSION_ASKED] = TO(CONNECTING) | TO(OPEN) | TO(CLOSING) | TO(ENDING) | TO(OVER),
    [SESSION_OPEN] = TO(DELIVERING) | TO(CLOSING) | TO(ENDING) | TO(OVER),
    [SESSION_DELIVERING] = TO(DELIVERED) | TO(CLOSING) | TO(ENDING) | TO(OVER),
    [SESSION_DELIVERED] = TO(CLOSING) | TO(ENDING) | TO(OVER),
    [SESSION_CLOSING] = TO(ENDING) | TO(OVER),
    [SESSION_ENDING] = TO(OVER),
};

static uint64_t time_for(const struct session *s)
{
    switch (s->state) {
    case SESSION_ASKED:
        return s->route->accept_timeout_ns;
    case SESSION_DELIVERING:
    case SESSION_ENDING:
        return s->relay->in_a_hurry ? HURRIED_TIME : s->route->linger_timeout_ns;
    case SESSION_DELIVERED:
        return READING_TIME;
    case SESSION_OVER: /* the link has a linger_timeout of its own */
        return s->relay->in_a_hurry ? HURRIED_TIME : TIMERS_NEVER;
    default:
        return TIMERS_NEVER;
    }
}

void session_move(struct session *s, enum session_state to)
{
    struct timers *timers = s->relay->env->timers;
    assert(moves[s->state] & 1u << to);
    s->state = to;
    if (to == SESSION_OVER && !s->link)
        seat_leave(&s->seat);
    uint64_t time = time_for(s);
    timer_set(timers, &s->deadline,
              time == TIMERS_NEVER ? TIMERS_NEVER : timers_now(timers) + time);
    session_touch(s);
}

bool session_listens(const struct session *s)
{
    return s->state == SESSION_ASKED || s->state == SESSION_OPEN;
}

void session_touch(struct session *s)
{
    if (!s->buried)
        turn_touch(s->relay->env->turn, &s->flush);
}

/* --- the end --- */

static void free_session(void *owner)
{
    struct session *s = owner;
    free(s->end.reason);
    free(s->detail);
    free(s->scope);
    offer_free(&s->offer);
    free(s);
}

static void free_when_both_ended(struct session *s)
{
    struct relay *r = s->relay;
    if (s->state != SESSION_OVER || s->wt || s->link || s->buried)
        return;
    s->buried = true;
    streams_free(s);
    dgramq_fini(&s->datagrams);
    timer_stop(r->env->timers, &s->deadline);
    timer_stop(r->env->timers, &s->stall);
    timer_stop(r->env->timers, &s->error_due);
    timer_stop(r->env->timers, &s->drain_due);
    turn_untouch(r->env->turn, &s->flush);
    window_fini(&s->account.window);
    budget_release(&s->memory, SESSION_COST + s->excess);
    budget_fini(&s->memory);
    LIST_REMOVE(s, entry);
    r->count--;
    visit_end(&s->visit);
    turn_bury(r->env->turn, &s->grave, free_session, s);
}

/* The first to say so is right. */
void session_decide(struct session *s, const char *by, struct message_uint code, const char *reason,
                    size_t reason_len, bool clean, enum fault fault)
{
    if (s->end.by)
        return;
    s->rules.phase = RULES_ENDED;
    s->end = (struct session_end){.by = by, .code = code, .clean = clean, .fault = fault};
    if (reason_len == 0)
        return;
    s->end.reason = malloc(reason_len);
    assert(s->end.reason);
    memcpy(s->end.reason, reason, reason_len);
    s->end.reason_len = reason_len;
}

const struct message_uint session_no_code = {false, 0};

/* From here on only wt's closed() is to come from the client's side. */
static void close_client(struct session *s, uint32_t code, const char *reason, size_t reason_len)
{
    if (!s->wt || s->wt_closing)
        return;
    s->wt_closing = true;
    wt_close(s->wt, code, reason, reason_len);
    streams_forget_wt(s);
}

static void refuse_client(struct session *s, unsigned status)
{
    if (!s->wt || s->wt_closing)
        return;
    s->wt_closing = true;
    s->status = status;
    if (s->end.fault == FAULT_BACKEND_FULL)
        session_refuse_for_now(s);
    else
        wt_refuse(s->wt, status, NULL, 0, NULL, 0);
}

void session_begin_closing(struct session *s)
{
    if (s->link)
        link_allow_eof(s->link);
    session_move(s, SESSION_CLOSING);
}

void session_close_now(struct session *s)
{
    session_begin_closing(s);
    close_client(s, (uint32_t)s->end.code.value, s->end.reason ? s->end.reason : "",
                 s->end.reason_len);
}

/* Sluice itself ends it; text is for the client, too. The application is told at once, for it need
 * not wait for the client's answer. */
static void end_by_proxy(struct session *s, enum fault fault, unsigned status, uint32_t code,
                         const char *text)
{
    struct message_uint told = s->accepted ? (struct message_uint){true, code} : session_no_code;
    bool asked = s->state != SESSION_CONNECTING && s->link;
    session_decide(s, "proxy", told, text, s->accepted ? strlen(text) : 0, false, fault);
    if (s->state == SESSION_DELIVERING || s->state == SESSION_DELIVERED)
        session_close_now(s);
    if (s->state >= SESSION_CLOSING)
        return;
    session_move(s, asked ? SESSION_ENDING : SESSION_OVER);
    if (s->link && !asked)
        link_close(s->link);
    if (s->accepted)
        close_client(s, code, text, strlen(text));
    else
        refuse_client(s, status);
}

void session_fail(struct session *s, enum fault fault, unsigned status)
{
    report_count(s->relay->env, fault);
    end_by_proxy(s, fault, status, s->route->lost_code, fault_sentence(fault));
}

void session_break(struct session *s, const struct message_fault *fault)
{
    news_error(s, fault, true);
    session_explain(s, fault->text);
    seat_failed(&s->seat, FAULT_BACKEND_PROTOCOL);
    end_by_proxy(s, FAULT_BACKEND_PROTOCOL, 502, s->route->lost_code,
                 fault_sentence(FAULT_BACKEND_PROTOCOL));
}

void session_explain(struct session *s, const char *detail)
{
    free(s->detail);
    s->detail = strdup(detail);
    assert(s->detail);
}

/* --- the client's side --- */

static void tell_end(const struct session *s)
{
    const struct session_end *end = &s->end;
    const struct visit_end told = {.accepted = s->accepted,
                                   .status = s->status,
                                   .by = end->by,
                                   .has_code = end->code.set,
                                   .code = end->code.value,
                                   .reason = end->reason,
                                   .reason_len = end->reason_len,
                                   .clean = end->clean,
                                   .address = seat_address(&s->seat),
                                   .detail = s->detail,
                                   .fault = end->fault};
    visit_tell_end(&s->visit, &told);
}

static void decide_by_client(struct session *s, const struct wt_end *end)
{
    enum fault fault = end->fault;
    if (fault == FAULT_NONE && !s->end.by && !s->accepted) {
        fault = FAULT_WITHDRAWN;
        report_count(s->relay->env, fault);
    }
    session_decide(s, wt_by_name(end->by), (struct message_uint){end->code.known, end->code.value},
                   end->reason, end->reason_len, end->clean, fault);
    if (s->end.fault == FAULT_NONE)
        s->end.fault = fault;
}

static void wt_closed(void *user, const struct wt_end *end)
{
    struct session *s = user;
    s->wt = NULL;
    visit_linger(&s->visit);
    streams_forget_wt(s);
    decide_by_client(s, end);
    if (s->end.closed)
        s->end.clean = end->clean;
    tell_end(s);
    switch (s->state) {
    case SESSION_CONNECTING:
        if (s->link)
            link_close(s->link);
        session_move(s, SESSION_OVER);
        break;
    case SESSION_ASKED:
    case SESSION_OPEN:
    case SESSION_DELIVERING:
    case SESSION_DELIVERED:
    case SESSION_CLOSING:
        if (s->link)
            link_allow_eof(s->link);
        session_move(s, s->link ? SESSION_ENDING : SESSION_OVER);
        break;
    default:
        break;
    }
    free_when_both_ended(s);
}

static void wt_streams_available(void *user, bool unidirectional)
{
    struct session *s = user;
    if (!s->wt_closing)
        down_open_pending(s, unidirectional);
}

static void wt_datagram_max_changed(void *user, size_t max)
{
    struct session *s = user;
    (void)max;
    s->news |= NEWS_DATAGRAM_LIMIT;
    session_touch(s);
}

static void wt_draining(void *user)
{
    struct session *s = user;
    s->news |= NEWS_DRAIN_CLIENT;
    session_touch(s);
}

/* --- the application's side --- */

static void link_opened(void *user)
{
    struct session *s = user;
    if (s->state != SESSION_CONNECTING)
        return;
    if (link_room(s->link) <
        s->scope_len + 4) { /* a stage is large enough, but there is no memory */
        session_fail(s, FAULT_MEMORY_SESSION, 503);
        return;
    }
    link_send(s->link, s->scope, s->scope_len);
    session_move(s, SESSION_ASKED);
}

static void link_writable(void *user)
{
    session_touch(user);
}

/* Nobody is left to be told anything. */
static void forget_news(struct session *s)
{
    struct stream *st, *next;
    HASH_ITER (hh, s->streams, st, next) {
        st->unwritten = 0;
        st->news = 0;
        stream_owe_nothing(st);
        stream_drop_up(st);
        stream_settle(st);
    }
    dgramq_fini(&s->datagrams);
    s->news = 0;
    s->error_count = 0;
}

static void link_closed(void *user, const struct link_end *end)
{
    struct session *s = user;
    s->link = NULL;
    switch (s->state) {
    case SESSION_CONNECTING:
    case SESSION_ASKED:
    case SESSION_OPEN:
        if (session_change_seat(s, end))
            return;
        session_explain(s, end->text);
        session_fail(s, end->fault, end->fault == FAULT_BACKEND_FULL ? 503 : 502);
        break;
    case SESSION_ENDING:
        session_move(s, SESSION_OVER);
        break;
    default:
        break;
    }
    seat_leave(&s->seat);
    forget_news(s);
    free_when_both_ended(s);
}

void session_told(struct session *s)
{
    session_move(s, SESSION_OVER);
    link_finish(s->link);
    forget_news(s);
}

/* --- what is due --- */

static void deadline_fired(void *owner)
{
    struct session *s = owner;
    switch (s->state) {
    case SESSION_ASKED:
        seat_failed(&s->seat, FAULT_BACKEND_ACCEPT_TIMEOUT);
        session_fail(s, FAULT_BACKEND_ACCEPT_TIMEOUT, 504);
        break;
    case SESSION_DELIVERING:
    case SESSION_DELIVERED:
        session_close_now(s);
        break;
    case SESSION_ENDING: /* it does not read: what is left is not told */
        if (news_disconnect(s)) {
            session_told(s);
        } else {
            session_move(s, SESSION_OVER);
            link_close(s->link);
        }
        break;
    case SESSION_OVER:
        if (s->link)
            link_close(s->link);
        break;
    default:
        break;
    }
}

static void stall_fired(void *owner)
{
    struct session *s = owner;
    if (session_listens(s))
        session_fail(s, FAULT_BACKEND_STALLED, 502);
}

static void drain_due(void *owner)
{
    struct session *s = owner;
    uint64_t now = timers_now(s->relay->env->timers), closes = s->relay->closes_ns;
    if (s->state >= SESSION_CLOSING)
        return;
    s->news |= NEWS_DRAIN_SHUTDOWN;
    s->drain_deadline_ms = closes > now ? (closes - now) / NS_PER_MS : 0;
    if (s->wt && !s->wt_closing)
        wt_drain(s->wt);
    session_touch(s);
}

static void flush(void *owner)
{
    struct session *s = owner;
    session_watch_credit(s);
    if (s->state == SESSION_DELIVERING && s->undelivered == 0 && account_held(&s->account) == 0)
        session_move(s, SESSION_DELIVERED);
    bool told = news_pump(s);
    if (told)
        up_pump(s);
    if (s->state == SESSION_ENDING && told && TAILQ_EMPTY(&s->ready) && s->datagrams.count == 0 &&
        news_disconnect(s))
        session_told(s);
}

/* --- the beginning --- */

const struct link_ops session_link_ops = {
    .opened = link_opened,
    .frame_received = down_frame_received,
    .frame_refused = down_frame_refused,
    .written = up_written,
    .writable = link_writable,
    .closed = link_closed,
};

/* What it costs, and the first window of the application. NULL if there is no memory left for it.
 */
static struct session *new_session(struct relay *r, const struct visit *visit,
                                   struct wt_session *wt)
{
    const struct relay_route *route = visit->route->relay;
    struct session *s = calloc(1, sizeof *s);
    assert(s);
    budget_init(&s->memory, r->env->memory,
                route->session_memory ? route->session_memory : UINT64_MAX, NULL);
    account_init(&s->account, FIRST_SESSION_WINDOW, route->session_window, &s->memory);
    if (!budget_reserve(&s->memory, SESSION_COST + s->account.window.size, BUDGET_NEWCOMER)) {
        free(s);
        return NULL;
    }
    s->relay = r;
    s->visit = *visit;
    s->route = route;
    s->wt = wt;
    s->receive_window = s->up_limit = UINT64_MAX;
    TAILQ_INIT(&s->ready);
    TAILQ_INIT(&s->owed);
    TAILQ_INIT(&s->pending[0]);
    TAILQ_INIT(&s->pending[1]);
    dgramq_init(&s->datagrams, route->datagram_queue, dgramq_bytes_for(route->datagram_queue),
                &r->env->stats->datagrams, &r->env->stats->datagrams_dropped, &s->memory);
    dgramq_set_ttl(&s->datagrams, r->env->timers, route->datagram_ttl_ns,
                   &r->env->stats->datagrams_expired);
    timer_init(&s->deadline, deadline_fired, s);
    timer_init(&s->stall, stall_fired, s);
    timer_init(&s->error_due, news_error_due, s);
    timer_init(&s->drain_due, drain_due, s);
    turn_flush_init(&s->flush, TURN_BACK, flush, s);
    LIST_INSERT_HEAD(&r->sessions, s, entry);
    r->count++;
    return s;
}

static const struct wt_ops ops_of_wt = {
    .stream_opened = up_stream_opened,
    .stream_received = up_stream_received,
    .stream_reset = up_stream_reset,
    .stream_stopped = up_stream_stopped,
    .stream_acked = up_stream_acked,
    .streams_available = wt_streams_available,
    .datagram_received = up_datagram_received,
    .datagram_max_changed = wt_datagram_max_changed,
    .draining = wt_draining,
    .closed = wt_closed,
};

enum fault relay_take(struct relay *r, struct wt_session *wt, const struct wt_request *request,
                      const struct visit *visit)
{
    struct session *s = new_session(r, visit, wt);
    if (!s)
        return FAULT_MEMORY_SESSION;
    wt_session_set_ops(wt, &ops_of_wt);
    wt_session_set_user(wt, s);
    if (!scope_build(s, request)) {
        session_move(s, SESSION_OVER);
        report_count(r->env, FAULT_HEADERS_TOO_LARGE);
        session_decide(s, "proxy", session_no_code, "", 0, false, FAULT_HEADERS_TOO_LARGE);
        refuse_client(s, 431);
        return FAULT_NONE;
    }
    rules_init(&s->rules, s->offer.items, s->offer.count);
    session_take_seat(s, request);
    return FAULT_NONE;
}

struct relay *relay_new(struct env *env)
{
    struct relay *r = calloc(1, sizeof *r);
    assert(r);
    r->env = env;
    r->decoder = message_decoder_new(MESSAGE_FROM_APP);
    LIST_INIT(&r->sessions);
    return r;
}

void relay_drain(struct relay *r, uint64_t time_ns, uint64_t spread_ns)
{
    struct env *env = r->env;
    struct session *s;
    uint64_t now = timers_now(env->timers);
    r->closes_ns = now + time_ns;
    LIST_FOREACH (s, &r->sessions, entry)
        timer_set(env->timers, &s->drain_due, now + random_below(&env->random, spread_ns + 1));
}

void relay_hurry(struct relay *r)
{
    struct timers *timers = r->env->timers;
    struct session *s;
    r->in_a_hurry = true;
    LIST_FOREACH (s, &r->sessions, entry)
        if (s->state == SESSION_DELIVERING || s->state >= SESSION_ENDING)
            timer_set(timers, &s->deadline, timers_now(timers) + HURRIED_TIME);
}

void relay_close_all(struct relay *r)
{
    struct session *s, *next;
    enum fault fault;
    for (s = LIST_FIRST(&r->sessions); s; s = next) {
        next = LIST_NEXT(s, entry);
        fault = s->accepted ? FAULT_SHUTDOWN : FAULT_DRAINING;
        if (!s->end.by)
            report_count(r->env, fault);
        end_by_proxy(s, fault, 503, 0, "the server is shutting down");
    }
}

size_t relay_count(const struct relay *r)
{
    return r->count;
}

void relay_free(struct relay *r)
{
    assert(r->count == 0);
    message_decoder_free(r->decoder);
    free(r);
}
