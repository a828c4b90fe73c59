/*
 * What the log says of sessions: one line when one has been accepted, one at its end. Of those that
 * were accepted both lines are always there; refusals may come as a flood, and of those that have
 * the same reason not all are told (base/report.h). Calls log and report.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hostport.h"
#include "base/log.h"
#include "base/report.h"
#include "relay_internal.h"

#define TEXT_IN_LOG 256

void session_describe(struct session *s, const struct wt_request *r)
{
    hostport_print(s->client, (const struct sockaddr *)&r->remote);
    s->draft = r->draft;
    s->path = strndup(r->path, TEXT_IN_LOG);
    assert(s->path);
}

void session_explain(struct session *s, const char *detail)
{
    free(s->detail);
    s->detail = strdup(detail);
    assert(s->detail);
}

/* Of the application; the last one if it was sought at several. */
static struct log_field address_of(const struct session *s)
{
    const char *address = seat_address(&s->seat);
    return log_text("address", address[0] ? address : NULL);
}

void session_tell_opened(const struct session *s, unsigned status)
{
    LOG(s->relay->env->log, INFO, "session.opened", log_text("session", s->id),
        log_text("client", s->client), log_text("path", s->path), log_text("route", s->route->name),
        log_text("draft", s->draft), address_of(s), log_uint("status", status));
}

/* What goes wrong at the application's side is for whoever runs both. */
static enum log_level level_of(enum fault fault)
{
    return fault_reach(fault) == FAULT_OF_BACKEND ? LOG_WARN : LOG_INFO;
}

void session_tell_end(const struct session *s)
{
    const struct session_end *end = &s->end;
    struct env *env = s->relay->env;
    enum log_level level = level_of(end->fault);
    char code[24];
    snprintf(code, sizeof code, "%" PRIu64, end->code.value);
    const struct log_field fields[] = {
        log_text("session", s->id),
        log_text("client", s->client),
        address_of(s),
        s->accepted ? log_text("path", NULL) : log_text("path", s->path),
        s->accepted ? log_text("route", NULL) : log_text("route", s->route->name),
        s->accepted ? log_text("draft", NULL) : log_text("draft", s->draft),
        s->status ? log_uint("status", s->status) : log_text("status", NULL),
        log_text("by", end->by),
        log_text("code", end->code.set ? code : NULL),
        log_bytes("reason", end->reason ? end->reason : "", end->reason_len),
        log_text("clean", end->clean ? "yes" : "no"),
        log_text("detail", s->detail),
        log_text("fault", end->fault ? fault_name(end->fault) : NULL),
        log_text("why", end->fault ? fault_sentence(end->fault) : NULL)};
    size_t count = sizeof fields / sizeof *fields;
    if (s->accepted)
        log_write(env->log, level, "session.closed", fields, count);
    else if (end->fault == FAULT_NONE)
        log_write(env->log, level, "session.refused", fields, count);
    else
        report_line(env, level, "session.refused", end->fault, fields, count - 2);
}

/* Of several the first. */
static struct log_field origin_of(const struct wt_request *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        const struct header *h = &request->headers[i];
        if (header_is(h, "origin"))
            return log_bytes("origin", h->value,
                             h->value_len < TEXT_IN_LOG ? h->value_len : TEXT_IN_LOG);
    }
    return log_text("origin", NULL);
}

static struct log_field short_text(const char *key, const char *text)
{
    return log_bytes(key, text, strnlen(text, TEXT_IN_LOG));
}

void session_tell_refused(struct relay *r, const struct wt_request *request,
                          const struct relay_route *route, unsigned status, enum fault fault)
{
    char client[HOSTPORT_TEXT_SIZE];
    hostport_print(client, (const struct sockaddr *)&request->remote);
    REPORT(r->env, INFO, "session.refused", fault, log_text("client", client),
           short_text("path", request->path), log_text("route", route ? route->name : NULL),
           log_text("draft", request->draft), log_uint("status", status),
           short_text("host", request->authority), origin_of(request));
}
