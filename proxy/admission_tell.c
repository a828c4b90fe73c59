/*
 * What the log says of visits. Owns nothing. Calls log and report.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "admission_internal.h"
#include "base/header.h"
#include "base/hostport.h"
#include "base/log.h"
#include "base/report.h"
#include "front/wt.h"

#define TEXT_IN_LOG 256

static struct log_field address_field(const char *address)
{
    return log_text("address", address && address[0] ? address : NULL);
}

void visit_tell_opened(const struct visit *v, const char *address, unsigned status)
{
    LOG(v->admission->env->log, INFO, "session.opened", log_text("session", v->id),
        log_text("client", v->from), log_text("path", v->path), log_text("route", v->route->name),
        log_text("draft", v->draft), address_field(address), log_uint("status", status));
}

/* What goes wrong at the backend's side is for whoever runs both. */
static enum log_level level_of(enum fault fault)
{
    return fault_reach(fault) == FAULT_OF_BACKEND ? LOG_WARN : LOG_INFO;
}

void visit_tell_end(const struct visit *v, const struct visit_end *end)
{
    struct env *env = v->admission->env;
    enum log_level level = level_of(end->fault);
    char code[24];
    snprintf(code, sizeof code, "%" PRIu64, end->code);
    const struct log_field fields[] = {
        log_text("session", v->id),
        log_text("client", v->from),
        address_field(end->address),
        log_text("path", end->accepted ? NULL : v->path),
        log_text("route", end->accepted ? NULL : v->route->name),
        log_text("draft", end->accepted ? NULL : v->draft),
        end->status ? log_uint("status", end->status) : log_text("status", NULL),
        log_text("by", end->by),
        log_text("code", end->has_code ? code : NULL),
        log_bytes("reason", end->reason ? end->reason : "", end->reason_len),
        log_text("clean", end->clean ? "yes" : "no"),
        log_text("detail", end->detail),
        log_text("fault", end->fault ? fault_name(end->fault) : NULL),
        log_text("why", end->fault ? fault_sentence(end->fault) : NULL)};
    size_t count = sizeof fields / sizeof *fields;
    if (end->accepted)
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

void admission_tell_refused(struct admission *a, const struct wt_request *request,
                            const struct admission_route *route, unsigned status, enum fault fault)
{
    char client[HOSTPORT_TEXT_SIZE];
    hostport_print(client, (const struct sockaddr *)&request->remote);
    REPORT(a->env, INFO, "session.refused", fault, log_text("client", client),
           short_text("path", request->path), log_text("route", route ? route->name : NULL),
           log_text("draft", request->draft), log_uint("status", status),
           short_text("host", request->authority), origin_of(request));
}
