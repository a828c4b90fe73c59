/*
 * The verdicts: one table of what each command needs of the stream that it names, and the few rules
 * of a session's phases. Pure. Calls nobody.
 */
#include "protocol/rules.h"

#include "protocol/message_fields.h"

#include <inttypes.h>
#include <string.h>

#define BY_APP         1u
#define UNIDIRECTIONAL 2u

void rules_init(struct rules *r, const struct message_text *offered, size_t count)
{
    *r = (struct rules){
        .phase = RULES_BEFORE_ACCEPT,
        .offered = offered,
        .offered_count = count,
        .next_client_id = {0, UNIDIRECTIONAL},
        .next_app_id = {BY_APP, BY_APP | UNIDIRECTIONAL},
    };
}

uint64_t rules_client_opened(struct rules *r, bool unidirectional)
{
    uint64_t id = r->next_client_id[unidirectional];
    r->next_client_id[unidirectional] += 4;
    return id;
}

void rules_app_opened(struct rules *r, bool unidirectional)
{
    r->next_app_id[unidirectional] += 4;
}

/* Which half of a stream a command speaks of, and when that half can still take it. */
enum half { NO_STREAM, SENDING, SENT, RECEIVING };

static enum half half_of(const struct message *m)
{
    switch (m->type) {
    case MESSAGE_STREAM_SEND:
        return SENDING;
    case MESSAGE_STREAM_RESET:
    case MESSAGE_STREAM_PRIORITY:
        return SENT;
    case MESSAGE_STREAM_STOP:
        return RECEIVING;
    case MESSAGE_CREDIT:
        return m->stream_id.set ? RECEIVING : NO_STREAM;
    default:
        return NO_STREAM;
    }
}

static bool is_open(enum half half, const struct rules_stream *stream)
{
    if (stream == NULL)
        return false;
    return half == SENDING ? stream->can_send : half == SENT ? stream->can_reset : stream->can_stop;
}

static enum rules_verdict refuse(enum rules_verdict verdict, struct message_fault *fault,
                                 const char *code, const char *field, const char *text)
{
    message_refuse(fault, code, field, "%s", text);
    return verdict;
}

static enum rules_verdict judge_stream(const struct rules *r, const struct message *m,
                                       enum half half, const struct rules_stream *stream,
                                       struct message_fault *fault)
{
    uint64_t id = m->stream_id.value;
    bool by_app = id & BY_APP;
    bool unidirectional = id & UNIDIRECTIONAL;
    if (unidirectional && by_app == (half == RECEIVING))
        return refuse(RULES_ERROR, fault, "no_such_half", "stream_id",
                      by_app ? "stream_id: the application receives nothing on a unidirectional "
                               "stream of its own"
                             : "stream_id: the application sends nothing on a unidirectional "
                               "stream of the client");
    uint64_t next = by_app ? r->next_app_id[unidirectional] : r->next_client_id[unidirectional];
    if (id < next)
        return is_open(half, stream) ? RULES_APPLY : RULES_SILENT;
    if (by_app && id == next && m->type == MESSAGE_STREAM_SEND)
        return RULES_OPENS;
    message_refuse(fault, "bad_id", "stream_id",
                   by_app ? "stream_id: %" PRIu64 " was never opened; only a send opens, and the "
                            "next id is %" PRIu64
                          : "stream_id: %" PRIu64 " was never opened; the client's next id is "
                            "%" PRIu64,
                   id, next);
    return RULES_FATAL;
}

static bool is_offered(const struct rules *r, const struct message_text *chosen)
{
    for (size_t i = 0; i < r->offered_count; i++)
        if (r->offered[i].len == chosen->len &&
            memcmp(r->offered[i].at, chosen->at, chosen->len) == 0)
            return true;
    return false;
}

static bool has_header(const struct message *m, const char *name)
{
    for (size_t i = 0; i < m->header_count; i++)
        if (m->headers[i].name.len == strlen(name) &&
            memcmp(m->headers[i].name.at, name, strlen(name)) == 0)
            return true;
    return false;
}

static enum rules_verdict judge_accept(const struct rules *r, const struct message *m,
                                       struct message_fault *fault)
{
    if (m->subprotocol.at == NULL)
        return RULES_APPLY;
    if (!is_offered(r, &m->subprotocol))
        return refuse(RULES_FATAL, fault, "bad_subprotocol", "subprotocol",
                      "subprotocol: was not offered; expected one of scope.subprotocols");
    if (has_header(m, "wt-protocol"))
        return refuse(RULES_FATAL, fault, "bad_subprotocol", "subprotocol",
                      "subprotocol: a header wt-protocol says it already; expected one of both");
    return RULES_APPLY;
}

static enum rules_verdict judge_unanswered(const struct rules *r, const struct message *m,
                                           struct message_fault *fault)
{
    switch (m->type) {
    case MESSAGE_ACCEPT:
        return judge_accept(r, m, fault);
    case MESSAGE_REJECT:
    case MESSAGE_CLOSE:
    case MESSAGE_ABORT:
        return RULES_APPLY;
    default:
        return refuse(RULES_FATAL, fault, "not_accepted", "type",
                      "type: expected webtransport.accept, reject, close or abort first");
    }
}

static enum rules_verdict judge_open(const struct rules *r, const struct message *m,
                                     const struct rules_stream *stream, struct message_fault *fault)
{
    if (m->type == MESSAGE_ACCEPT || m->type == MESSAGE_REJECT)
        return refuse(RULES_FATAL, fault, "already_accepted", "type",
                      "type: the session has been accepted already");
    if (!message_type_from(m->type, MESSAGE_FROM_APP))
        return refuse(RULES_ERROR, fault, "unknown_type", "type",
                      "type: not a message that an application may send");
    enum half half = half_of(m);
    return half == NO_STREAM ? RULES_APPLY : judge_stream(r, m, half, stream, fault);
}

enum rules_verdict rules_judge(const struct rules *r, const struct message *m,
                               const struct rules_stream *stream, struct message_fault *fault)
{
    *fault = (struct message_fault){.code = "", .field = "", .stream_id = m->stream_id};
    switch (r->phase) {
    case RULES_BEFORE_ACCEPT:
        return judge_unanswered(r, m, fault);
    case RULES_OPEN:
        return judge_open(r, m, stream, fault);
    case RULES_ENDED:
        break;
    }
    return RULES_SILENT;
}
