/*
 * What the session itself has to tell its application: errors (a few a second, the rest counted),
 * credit, limits, drain, and at last disconnect. Kept as flags until the link has room. Calls link
 * and protocol.
 */
#include <assert.h>
#include <string.h>

#include "base/report.h"
#include "relay_internal.h"

#define ERRORS_A_SECOND 4
#define MESSAGE_ROOM    2048 /* the largest here: disconnect with its reason */

struct message_text news_text(const char *text)
{
    return (struct message_text){text, strlen(text)};
}

bool news_send(struct session *s, const struct message *m)
{
    uint8_t frame[MESSAGE_ROOM];
    size_t len = message_encode(m, frame, sizeof frame);
    assert(len <= sizeof frame);
    if (!s->link || link_room(s->link) < len + 4)
        return false;
    link_send(s->link, frame, len);
    return true;
}

/* --- errors --- */

void news_error_due(void *owner)
{
    session_touch(owner);
}

void news_error(struct session *s, const struct message_fault *fault, bool fatal)
{
    report_count(s->relay->env, fatal ? FAULT_BACKEND_PROTOCOL : FAULT_BACKEND_COMMAND);
    if (s->error_count == 0 || fatal)
        s->error = *fault;
    s->error_fatal |= fatal;
    s->error_count++;
    session_touch(s);
}

/* A flood of bad commands must not make a flood of answers. */
static bool may_tell_error(struct session *s)
{
    struct timers *timers = s->relay->env->timers;
    uint64_t now = timers_now(timers);
    if (now - s->error_second_ns >= NS_PER_S) {
        s->error_second_ns = now;
        s->errors_told = 0;
    }
    if (s->errors_told < ERRORS_A_SECOND || s->error_fatal)
        return true;
    timer_set(timers, &s->error_due, s->error_second_ns + NS_PER_S);
    return false;
}

static bool tell_error(struct session *s)
{
    if (s->error_count == 0 || !may_tell_error(s))
        return true;
    struct message m = {.type = MESSAGE_ERROR,
                        .error_code = news_text(s->error.code),
                        .error_text = news_text(s->error.text),
                        .stream_id = s->error.stream_id};
    if (s->error_count > 1)
        m.count = (struct message_uint){true, s->error_count};
    if (!news_send(s, &m))
        return false;
    if (!s->error_fatal) /* else the line of its end says so */
        REPORT_LINE(s->relay->env, WARN, "backend.error", FAULT_BACKEND_COMMAND,
                    log_text("session", s->visit.id), log_text("code", s->error.code),
                    log_text("detail", s->error.text), log_uint("count", s->error_count));
    s->errors_told++;
    s->error_count = 0;
    return true;
}

/* --- flags --- */

static bool tell_drain(struct session *s, unsigned flag, const char *reason, uint64_t deadline_ms)
{
    struct message m = {.type = MESSAGE_DRAIN, .reason = news_text(reason)};
    if (deadline_ms)
        m.deadline_ms = (struct message_uint){true, deadline_ms};
    if (!(s->news & flag))
        return true;
    if (!news_send(s, &m))
        return false;
    s->news &= ~flag;
    return true;
}

static bool tell_datagram_limit(struct session *s)
{
    if (!(s->news & NEWS_DATAGRAM_LIMIT) || !s->wt)
        return true;
    struct message m = {.type = MESSAGE_DATAGRAM_LIMIT, .max_size = {true, wt_datagram_max(s->wt)}};
    if (!news_send(s, &m))
        return false;
    s->news &= ~(unsigned)NEWS_DATAGRAM_LIMIT;
    return true;
}

static bool tell_credit(struct session *s)
{
    if (!(s->news & NEWS_SESSION_CREDIT))
        return true;
    uint64_t limit = s->account.released + s->account.window.size;
    struct message m = {.type = MESSAGE_CREDIT, .limit = {true, limit}};
    if (!news_send(s, &m))
        return false;
    s->account.announced = limit;
    s->news &= ~(unsigned)NEWS_SESSION_CREDIT;
    return true;
}

/* Before the accept and after the end an application hears of nothing but its mistakes. */
bool news_pump(struct session *s)
{
    if (!tell_error(s))
        return false;
    if (s->state != SESSION_OPEN)
        return true;
    return tell_drain(s, NEWS_DRAIN_CLIENT, "client", 0) &&
           tell_drain(s, NEWS_DRAIN_SHUTDOWN, "shutdown", s->drain_deadline_ms) &&
           tell_datagram_limit(s) && tell_credit(s);
}

bool news_disconnect(struct session *s)
{
    const struct session_end *end = &s->end;
    struct message m = {.type = MESSAGE_DISCONNECT,
                        .code = end->code,
                        .reason = {end->reason ? end->reason : "", end->reason_len},
                        .clean = end->clean,
                        .by = news_text(end->by)};
    return news_send(s, &m);
}
