/*
 * What the application says of the session itself: accept, reject, close, abort. Calls wt.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "relay_internal.h"

/* --- the answer --- */

/* The message's headers, but for what the route does to them, and wt-protocol if a subprotocol was
 * chosen. *quoted is to be freed after use. */
static struct header *answer_headers(const struct session *s, const struct message *m,
                                     size_t *count, char **quoted)
{
    const struct relay_headers *rule = &s->route->to_client;
    struct header *headers = calloc(m->header_count + rule->add_count + 1, sizeof *headers);
    assert(headers);
    *count = 0;
    for (size_t i = 0; i < m->header_count; i++) {
        const struct message_header *h = &m->headers[i];
        struct header given = {h->name.at, h->name.len, h->value.at, h->value.len};
        if (!session_strips(rule, &given))
            headers[(*count)++] = given;
    }
    for (size_t i = 0; i < rule->add_count; i++)
        headers[(*count)++] = rule->add[i];
    *quoted = NULL;
    if (!m->subprotocol.at)
        return headers;
    size_t len;
    *quoted = offer_answer(&s->offer, &m->subprotocol, &len);
    headers[(*count)++] = (struct header){(const uint8_t *)"wt-protocol", strlen("wt-protocol"),
                                          (const uint8_t *)*quoted, len};
    return headers;
}

static void forget_offered(struct session *s)
{
    offer_free(&s->offer);
    s->rules.offered = NULL;
    s->rules.offered_count = 0;
}

/* From now on no other address will do. */
static void answered(struct session *s)
{
    seat_answered(&s->seat);
    free(s->scope);
    free(s->detail); /* of the addresses that were tried before */
    s->scope = NULL;
    s->detail = NULL;
}

void session_accept(struct session *s, const struct message *m)
{
    size_t count;
    char *quoted;
    struct header *headers = answer_headers(s, m, &count, &quoted);
    s->accepted = true;
    answered(s);
    s->rules.phase = RULES_OPEN;
    if (m->receive_window.set)
        s->receive_window = m->receive_window.value;
    session_move(s, SESSION_OPEN);
    visit_tell_opened(&s->visit, seat_address(&s->seat), (unsigned)m->status.value);
    wt_accept(s->wt, (unsigned)m->status.value, headers, count);
    free(headers);
    free(quoted);
    forget_offered(s);
}

void session_reject(struct session *s, const struct message *m)
{
    size_t count;
    char *quoted;
    struct header *headers = answer_headers(s, m, &count, &quoted);
    answered(s);
    report_count(s->relay->env, FAULT_REJECTED);
    session_decide(s, "app", session_no_code, "", 0, true, FAULT_REJECTED);
    session_begin_closing(s);
    s->wt_closing = true;
    s->status = (unsigned)m->status.value;
    wt_refuse(s->wt, s->status, headers, count, m->body.at, m->body.len);
    free(headers);
    free(quoted);
}

/* --- the end --- */

void session_close(struct session *s, const struct message *m)
{
    if (!s->accepted) {
        struct message reject = {.type = MESSAGE_REJECT, .status = {true, 403}};
        session_reject(s, &reject);
        return;
    }
    session_decide(s, "app", (struct message_uint){true, m->code.value}, m->reason.at,
                   m->reason.len, false, FAULT_NONE);
    s->end.closed = true;
    if (!m->after_delivery) {
        session_close_now(s);
        return;
    }
    link_allow_eof(s->link);
    session_move(s, SESSION_DELIVERING);
}

void session_abort(struct session *s)
{
    enum fault fault = s->accepted ? FAULT_NONE : FAULT_REJECTED;
    if (fault != FAULT_NONE)
        report_count(s->relay->env, fault);
    session_decide(s, "app", session_no_code, "", 0, false, fault);
    session_begin_closing(s);
    s->wt_closing = true;
    if (s->accepted) {
        wt_abort(s->wt);
        streams_forget_wt(s);
    } else {
        wt_refuse_reset(s->wt);
    }
}
