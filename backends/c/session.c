/*
 * session.c - one session's state, and commands to Sluice. Owns the line. Calls line and the codec.
 */
#include "session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALL_FRAME = 512,  /* most commands fit; accept and reject with headers may not */
    LEAST_GRANT = 1024, /* less credit is not worth a message */
    EARLY = 16 << 20,   /* what the proxy may have written before it saw our first credit */
};

void session_init(struct sluice_session *s, struct sluice_app *app, int fd)
{
    *s = (struct sluice_session){.app = app, .next_id = {1, 3}, .client_next_id = {0, 2}};
    TAILQ_INIT(&s->ready);
    TAILQ_INIT(&s->work);
    line_open(&s->line, &app->loop, fd, s);
}

void session_stir(struct sluice_session *s)
{
    if (s->stirred || s->gone)
        return;
    s->stirred = true;
    TAILQ_INSERT_TAIL(&s->app->stirred, s, stirring);
}

static void write_u32(uint8_t *to, size_t value)
{
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
}

void session_say(struct sluice_session *s, const struct message *m)
{
    uint8_t small[4 + SMALL_FRAME], *frame = small;
    size_t len = message_encode(m, small + 4, SMALL_FRAME);
    if (len > SMALL_FRAME) {
        frame = malloc(4 + len);
        if (!frame)
            abort();
        len = message_encode(m, frame + 4, len);
    }
    write_u32(frame, len);
    line_put(&s->line, frame, 4 + len);
    if (frame != small)
        free(frame);
    session_stir(s);
}

void session_say_data(struct sluice_session *s, const struct message *m)
{
    uint8_t head[4 + SMALL_FRAME + 5];
    size_t len = message_encode_head(m, head + 4, SMALL_FRAME, NULL);
    assert(len <= SMALL_FRAME);
    head[4 + len] = 0xc6; /* bin 32 */
    write_u32(head + 4 + len + 1, m->data.len);
    len += 5;
    write_u32(head, len + m->data.len);
    line_put(&s->line, head, 4 + len);
    line_put(&s->line, m->data.at, m->data.len);
    session_stir(s);
}

size_t session_output_room(const struct sluice_session *s)
{
    size_t pending = line_pending(&s->line);
    return pending < OUTPUT_LIMIT ? OUTPUT_LIMIT - pending : 0;
}

bool session_received(struct sluice_session *s, size_t len)
{
    s->received += len;
    return s->received <= s->granted + EARLY;
}

/* An eighth of the limit at a time; or less, when streams that nobody reads leave little for the
 * others. */
void session_grant(struct sluice_session *s)
{
    uint64_t limit = s->received - s->inbox + SLUICE_RECEIVE_LIMIT;
    uint64_t more = limit - s->granted;
    bool is_much = more >= SLUICE_RECEIVE_LIMIT / 8;
    bool is_needed = more >= LEAST_GRANT && s->granted <= s->received + more;
    if (s->phase != SESSION_ACCEPTED || !(is_much || is_needed))
        return;
    s->granted = limit;
    session_say(s, &(struct message){.type = MESSAGE_CREDIT, .limit = {true, limit}});
}

/*
 * Credit comes in through the same socket as data, so reading must not wait for the application.
 * It need not: what may come is bounded by the credit that we give. It waits for the socket to take
 * what is written already, for which no credit is needed any more.
 */
void session_breathe(struct sluice_session *s)
{
    line_pause(&s->line, line_pending(&s->line) > OUTPUT_PAUSE);
}

static struct message_text text_of(const char *text)
{
    return (struct message_text){text, text ? strlen(text) : 0};
}

void sluice_accept(struct sluice_session *s, const struct sluice_acceptance *how)
{
    if (s->phase != SESSION_ASKED)
        return;
    struct message m = {.type = MESSAGE_ACCEPT, .receive_window = {true, SLUICE_RECEIVE_WINDOW}};
    if (how) {
        m.status = (struct message_uint){how->status != 0, how->status};
        m.headers = how->headers;
        m.header_count = how->header_count;
        m.subprotocol = text_of(how->subprotocol);
    }
    s->phase = SESSION_ACCEPTED;
    session_say(s, &m);
    session_grant(s);
}

void sluice_reject(struct sluice_session *s, unsigned status, const struct message_header *headers,
                   size_t header_count, const void *body, size_t len)
{
    if (s->phase != SESSION_ASKED)
        return;
    struct message m = {.type = MESSAGE_REJECT,
                        .status = {true, status},
                        .headers = headers,
                        .header_count = header_count,
                        .body = {body, len}};
    s->phase = SESSION_ENDED;
    session_say(s, &m);
}

void sluice_close(struct sluice_session *s, uint32_t code, const char *reason)
{
    if (s->phase != SESSION_ASKED && s->phase != SESSION_ACCEPTED)
        return;
    struct message m = {.type = MESSAGE_CLOSE, .code = {true, code}, .reason = text_of(reason)};
    s->phase = SESSION_ENDED;
    session_say(s, &m);
}

void sluice_finish(struct sluice_session *s, uint32_t code, const char *reason)
{
    if (s->phase != SESSION_ACCEPTED)
        return;
    s->phase = SESSION_ENDED;
    s->finishing = true;
    s->finish_code = code;
    s->finish_reason = reason ? strdup(reason) : NULL;
    session_stir(s);
}

void session_say_finish(struct sluice_session *s)
{
    session_say(s, &(struct message){.type = MESSAGE_CLOSE,
                                     .code = {true, s->finish_code},
                                     .reason = text_of(s->finish_reason),
                                     .after_delivery = true});
    s->finishing = false;
}

void sluice_abort(struct sluice_session *s)
{
    if (s->phase != SESSION_ASKED && s->phase != SESSION_ACCEPTED)
        return;
    s->phase = SESSION_ENDED;
    session_say(s, &(struct message){.type = MESSAGE_ABORT});
}

void sluice_drain(struct sluice_session *s)
{
    if (s->phase == SESSION_ACCEPTED)
        session_say(s, &(struct message){.type = MESSAGE_DRAIN});
}

void sluice_hang_up(struct sluice_session *s)
{
    s->phase = SESSION_ENDED;
    s->hanging_up = true;
    session_stir(s);
}

bool sluice_datagram_send(struct sluice_session *s, const void *data, size_t len)
{
    if (s->phase != SESSION_ACCEPTED || len > s->datagram_max || len > session_output_room(s))
        return false;
    session_say_data(s, &(struct message){.type = MESSAGE_DATAGRAM_SEND, .data = {data, len}});
    return true;
}

size_t sluice_datagram_max(const struct sluice_session *s)
{
    return s->datagram_max;
}

struct sluice_app *sluice_session_app(const struct sluice_session *s)
{
    return s->app;
}

void sluice_session_set_user(struct sluice_session *s, void *user)
{
    s->user = user;
}

void *sluice_session_user(const struct sluice_session *s)
{
    return s->user;
}
