/*
 * inbound.c - frames from Sluice. Owns nothing. Calls stream, session and the application's events.
 */
#include "inbound.h"

#include <stdio.h>
#include <string.h>

#include "stream.h"

static void finish(struct sluice_session *s, const struct sluice_end *end)
{
    bool is_known = s->phase != SESSION_CONNECTED;
    s->phase = SESSION_ENDED;
    s->gone = true;
    streams_close_all(s);
    if (is_known && s->app->events.disconnected)
        s->app->events.disconnected(s, end);
}

void inbound_lost(struct sluice_session *s, const char *text)
{
    finish(s, &(struct sluice_end){.code = SLUICE_NO_CODE, .reason = text, .by = SLUICE_BY_NOBODY});
}

static bool refuse(struct sluice_session *s, const struct message_fault *fault)
{
    char text[256];
    snprintf(text, sizeof(text), "not the backend protocol: %s", fault->text);
    inbound_lost(s, text);
    return false;
}

static bool take_scope(struct sluice_session *s, const uint8_t *body, size_t len)
{
    struct message_scope scope;
    struct message_fault fault;
    if (!message_decode_scope(s->app->decoder, body, len, &scope, &fault))
        return refuse(s, &fault);
    s->limit = scope.session_window;
    s->stream_window = scope.stream_window;
    s->datagram_max = scope.max_datagram_size;
    uint64_t frame = scope.max_frame;
    if (frame > MESSAGE_MAX_FRAME)
        frame = MESSAGE_MAX_FRAME;
    s->frame_payload = frame > 2048 ? frame - 1024 : 1024;
    if (s->frame_payload > FRAME_PAYLOAD)
        s->frame_payload = FRAME_PAYLOAD;
    s->phase = SESSION_ASKED;
    s->app->events.session(s, &scope);
    return true;
}

static int64_t code_of(const struct message *m)
{
    return m->code.set ? (int64_t)m->code.value : SLUICE_NO_CODE;
}

/* The stream a message is about. A client's next id opens it; an id that was never opened can only
 * be a mistake of the proxy's, one that was is a stream that has been closed: nobody waits for it.
 */
static struct sluice_stream *stream_of(struct sluice_session *s, const struct message *m)
{
    uint64_t id = m->stream_id.value;
    struct sluice_stream *st = stream_find(s, id);
    if (st || m->type != MESSAGE_STREAM_RECEIVE || (id & 1) || id != s->client_next_id[id >> 1 & 1])
        return st;
    s->client_next_id[id >> 1 & 1] += 4;
    st = stream_new(s, id);
    if (s->phase == SESSION_ACCEPTED && s->app->events.stream_opened)
        s->app->events.stream_opened(st);
    return st;
}

static void take_credit(struct sluice_session *s, const struct message *m)
{
    if (m->stream_id.set) {
        struct sluice_stream *st = stream_find(s, m->stream_id.value);
        if (st)
            stream_credited(st, m->limit.value);
    } else if (m->limit.value > s->limit) {
        s->limit = m->limit.value;
        session_stir(s);
    }
}

static bool take_data(struct sluice_session *s, const struct message *m)
{
    struct sluice_stream *st = stream_of(s, m);
    if (session_received(s, m->data.len) &&
        (!st || stream_received(st, m->data.at, m->data.len, m->stream_ended)))
        return true;
    return refuse(s, &(struct message_fault){.text = "more bytes of a stream than were allowed"});
}

static void take_stream_end(struct sluice_session *s, const struct message *m)
{
    struct sluice_stream *st = stream_of(s, m);
    if (!st)
        return;
    if (m->type == MESSAGE_STREAM_RESET)
        stream_was_reset(st, code_of(m));
    else
        stream_was_stopped(st, code_of(m));
}

static void copy_text(char *to, size_t size, struct message_text text)
{
    size_t len = text.len < size ? text.len : size - 1;
    if (len > 0)
        memcpy(to, text.at, len);
    to[len] = '\0';
}

static void take_problem(struct sluice_session *s, const struct message *m)
{
    char text[512], code[64];
    copy_text(text, sizeof(text), m->error_text);
    copy_text(code, sizeof(code), m->error_code);
    if (s->app->events.problem)
        s->app->events.problem(s, text[0] ? text : code);
    struct sluice_stream *st = m->stream_id.set ? stream_find(s, m->stream_id.value) : NULL;
    if (st && strcmp(code, "too_many_streams") == 0)
        stream_was_refused(st);
}

static void take_drain(struct sluice_session *s, const struct message *m)
{
    char reason[32];
    copy_text(reason, sizeof(reason), m->reason);
    if (s->phase == SESSION_ACCEPTED && s->app->events.draining)
        s->app->events.draining(s, reason, m->deadline_ms.set ? m->deadline_ms.value : 0);
}

static enum sluice_by by_of(struct message_text by)
{
    static const char *const names[] = {"client", "app", "proxy", "network"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (by.len == strlen(names[i]) && memcmp(by.at, names[i], by.len) == 0)
            return (enum sluice_by)i;
    return SLUICE_BY_PROXY;
}

static bool take_disconnect(struct sluice_session *s, const struct message *m)
{
    char reason[MESSAGE_REASON_MAX + 1];
    copy_text(reason, sizeof(reason), m->reason);
    finish(s, &(struct sluice_end){
                  .code = code_of(m), .reason = reason, .clean = m->clean, .by = by_of(m->by)});
    return false;
}

bool inbound_frame(void *session, const uint8_t *body, size_t len)
{
    struct sluice_session *s = session;
    struct message m;
    struct message_fault fault;
    if (s->phase == SESSION_CONNECTED)
        return take_scope(s, body, len);
    if (!message_decode(s->app->decoder, body, len, &m, &fault))
        return refuse(s, &fault);
    switch (m.type) {
    case MESSAGE_DISCONNECT:
        return take_disconnect(s, &m);
    case MESSAGE_STREAM_RECEIVE:
        return take_data(s, &m);
    case MESSAGE_STREAM_RESET:
    case MESSAGE_STREAM_STOP:
        take_stream_end(s, &m);
        break;
    case MESSAGE_CREDIT:
        take_credit(s, &m);
        break;
    case MESSAGE_DATAGRAM_RECEIVE:
        if (s->phase == SESSION_ACCEPTED && s->app->events.datagram)
            s->app->events.datagram(s, m.data.at, m.data.len);
        break;
    case MESSAGE_DATAGRAM_LIMIT:
        s->datagram_max = m.max_size.value;
        break;
    case MESSAGE_DRAIN:
        take_drain(s, &m);
        break;
    case MESSAGE_ERROR:
        take_problem(s, &m);
        break;
    default: /* of a later version, or without interest: confirmations that were not asked for */
        break;
    }
    return true;
}
