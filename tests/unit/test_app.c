/*
 * The C library against a Sluice that the test plays itself, over a real Unix socket and in one
 * thread: every step turns the app once and reads what has come.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "backends/c/sluice_app.h"

enum { STEPS = 20000, STREAM_WINDOW = 4096, SESSION_WINDOW = 16384, BIG = 3 << 20 };

/* --- the application: echoes, and does in session_asked what `on_asked` says --- */

struct heard {
    unsigned sessions, opened, closed, resets, stops, writables, drains, disconnects, datagrams;
    int64_t code;
    char reason[128];
    enum sluice_by by;
    bool clean;
    struct sluice_session *session;
    struct sluice_stream *last_stream;
};

static struct heard heard;
static void (*on_asked)(struct sluice_session *s);
static size_t take_at_most = SIZE_MAX;

static void app_session(struct sluice_session *s, const struct message_scope *scope)
{
    assert_int_equal(scope->path.len, 5);
    assert_memory_equal(scope->path.at, "/test", 5);
    heard.sessions++;
    heard.session = s;
    if (on_asked)
        on_asked(s);
    else
        sluice_accept(s, NULL);
}

static void app_opened(struct sluice_stream *st)
{
    heard.opened++;
    heard.last_stream = st;
}

static size_t app_data(struct sluice_stream *st, const uint8_t *data, size_t len, bool ended)
{
    if (take_at_most < len)
        return take_at_most;
    return sluice_stream_send(st, data, len, ended);
}

static void app_writable(struct sluice_stream *st)
{
    heard.writables++;
    sluice_stream_resume(st);
}

static void app_reset(struct sluice_stream *st, int64_t code)
{
    (void)st;
    heard.resets++;
    heard.code = code;
}

static void app_stopped(struct sluice_stream *st, int64_t code)
{
    (void)st;
    heard.stops++;
    heard.code = code;
}

static void app_closed(struct sluice_stream *st)
{
    if (heard.last_stream == st)
        heard.last_stream = NULL;
    heard.closed++;
}

static void app_datagram(struct sluice_session *s, const uint8_t *data, size_t len)
{
    heard.datagrams++;
    sluice_datagram_send(s, data, len);
}

static void app_draining(struct sluice_session *s, const char *reason, uint64_t deadline_ms)
{
    (void)s;
    heard.drains++;
    snprintf(heard.reason, sizeof(heard.reason), "%s %d", reason, (int)deadline_ms);
}

static void app_disconnected(struct sluice_session *s, const struct sluice_end *end)
{
    (void)s;
    heard.disconnects++;
    heard.code = end->code;
    heard.by = end->by;
    heard.clean = end->clean;
    heard.session = NULL;
    snprintf(heard.reason, sizeof(heard.reason), "%s", end->reason);
}

static const struct sluice_events events = {
    .session = app_session,
    .stream_opened = app_opened,
    .stream_data = app_data,
    .stream_reset = app_reset,
    .stream_stopped = app_stopped,
    .stream_writable = app_writable,
    .stream_closed = app_closed,
    .datagram = app_datagram,
    .draining = app_draining,
    .disconnected = app_disconnected,
};

/* --- Sluice, played --- */

struct fake {
    int fd;
    struct message_decoder *decoder;
    uint8_t *in, *out; /* both of BIG * 2 bytes */
    size_t in_len, out_len;
    struct message said; /* the last one taken with fake_next */
    uint8_t *taken;      /* and its bytes */
};

struct world {
    struct sluice_app *app;
    char directory[64], address[128];
    struct fake fakes[2];
};

static void fake_open(struct world *w, struct fake *f)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    snprintf(sun.sun_path, sizeof(sun.sun_path), "%.100s", w->address + strlen("unix:"));
    f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(f->fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    fcntl(f->fd, F_SETFL, O_NONBLOCK);
    f->decoder = message_decoder_new(MESSAGE_FROM_APP);
    f->in = malloc(2 * BIG);
    f->out = malloc(2 * BIG);
    f->in_len = f->out_len = 0;
    f->taken = NULL;
}

static void fake_close(struct fake *f)
{
    if (!f->in)
        return;
    close(f->fd);
    message_decoder_free(f->decoder);
    free(f->in);
    free(f->out);
    free(f->taken);
    *f = (struct fake){0};
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char error[256];
    heard = (struct heard){0};
    on_asked = NULL;
    take_at_most = SIZE_MAX;
    strcpy(w->directory, "/tmp/sluice-app-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    snprintf(w->address, sizeof(w->address), "unix:%s/app.sock", w->directory);
    w->app = sluice_app_new(&events, NULL);
    assert_true(sluice_app_listen(w->app, w->address, error, sizeof(error)));
    fake_open(w, &w->fakes[0]);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    sluice_app_free(w->app);
    fake_close(&w->fakes[0]);
    fake_close(&w->fakes[1]);
    assert_int_equal(heard.disconnects, heard.sessions);
    assert_int_equal(rmdir(w->directory), 0);
    free(w);
    return 0;
}

/* Moves bytes as far as they go now, both ways. */
static void fake_step(struct fake *f)
{
    ssize_t n = send(f->fd, f->out, f->out_len, MSG_NOSIGNAL);
    if (n > 0) {
        memmove(f->out, f->out + n, f->out_len - (size_t)n);
        f->out_len -= (size_t)n;
    }
    n = recv(f->fd, f->in + f->in_len, 2 * BIG - f->in_len, 0);
    if (n > 0)
        f->in_len += (size_t)n;
}

static void step(struct world *w)
{
    for (int i = 0; i < 2; i++)
        if (w->fakes[i].in)
            fake_step(&w->fakes[i]);
    sluice_app_turn(w->app, 0);
}

static void fake_put(struct fake *f, const void *data, size_t len)
{
    assert_true(f->out_len + len <= 2 * BIG);
    memcpy(f->out + f->out_len, data, len);
    f->out_len += len;
}

static void fake_frame(struct fake *f, const uint8_t *body, size_t len)
{
    uint8_t length[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                         (uint8_t)len};
    fake_put(f, length, 4);
    fake_put(f, body, len);
}

static void fake_say(struct fake *f, struct message m)
{
    size_t cap = 1024 + m.data.len;
    uint8_t *body = malloc(cap);
    fake_frame(f, body, message_encode(&m, body, cap));
    free(body);
}

static struct message_text text(const char *at)
{
    return (struct message_text){at, strlen(at)};
}

static void fake_scope(struct fake *f)
{
    struct message_scope scope = {
        .path = text("/test"),
        .raw_path = {(const uint8_t *)"/test", 5},
        .root_path = text(""),
        .server_host = text("example.org"),
        .client_host = text("192.0.2.1"),
        .server_port = 443,
        .client_port = 5000,
        .tls_version = 0x0304,
        .cipher_suite = 0x1301,
        .max_datagram_size = 1200,
        .stream_window = STREAM_WINDOW,
        .session_window = SESSION_WINDOW,
        .max_pending_streams = 100,
        .connect_protocol = text("webtransport"),
        .session = text("s1"),
        .draft = text("draft02"),
        .route = text("default"),
        .max_frame = MESSAGE_MAX_FRAME,
    };
    uint8_t body[2048];
    size_t len = message_encode_scope(&scope, body, sizeof(body));
    assert_true(len <= sizeof(body));
    fake_frame(f, body, len);
}

static void fake_receive(struct fake *f, uint64_t id, const void *data, size_t len, bool ended)
{
    fake_say(f, (struct message){.type = MESSAGE_STREAM_RECEIVE,
                                 .stream_id = {true, id},
                                 .stream_ended = ended,
                                 .data = {data, len}});
}

static void fake_credit(struct fake *f, bool of_stream, uint64_t id, uint64_t limit)
{
    fake_say(f, (struct message){
                    .type = MESSAGE_CREDIT, .stream_id = {of_stream, id}, .limit = {true, limit}});
}

/* Takes one frame that is there; false if none is. */
static bool fake_take(struct fake *f)
{
    struct message_fault fault;
    if (f->in_len < 4)
        return false;
    size_t len = (size_t)f->in[0] << 24 | (size_t)f->in[1] << 16 | (size_t)f->in[2] << 8 | f->in[3];
    assert_true(len > 0 && len <= MESSAGE_MAX_FRAME);
    if (f->in_len < 4 + len)
        return false;
    free(f->taken);
    f->taken = malloc(len);
    memcpy(f->taken, f->in + 4, len);
    memmove(f->in, f->in + 4 + len, f->in_len - 4 - len);
    f->in_len -= 4 + len;
    if (!message_decode(f->decoder, f->taken, len, &f->said, &fault))
        fail_msg("the library wrote a bad frame: %s", fault.text);
    return true;
}

/* Waits for the next message of this type, credit for the client set aside. */
static const struct message *fake_next(struct world *w, struct fake *f, enum message_type type)
{
    for (int i = 0; i < STEPS; i++) {
        while (fake_take(f)) {
            if (f->said.type == type)
                return &f->said;
            if (f->said.type != MESSAGE_CREDIT)
                fail_msg("%s instead of %s", message_type_name(f->said.type),
                         message_type_name(type));
        }
        step(w);
    }
    fail_msg("no %s came", message_type_name(type));
    return NULL;
}

static void settle(struct world *w)
{
    for (int i = 0; i < 50; i++)
        step(w);
}

static void assert_quiet(struct world *w, struct fake *f)
{
    settle(w);
    while (fake_take(f))
        if (f->said.type != MESSAGE_CREDIT)
            fail_msg("%s, and nothing was expected", message_type_name(f->said.type));
}

static struct fake *begin(struct world *w)
{
    struct fake *f = &w->fakes[0];
    fake_scope(f);
    fake_next(w, f, MESSAGE_ACCEPT);
    return f;
}

/* --- the tests --- */

static void test_echo(void **state)
{
    struct world *w = *state;
    struct fake *f = begin(w);
    fake_receive(f, 0, "", 0, false);
    fake_receive(f, 0, "hello", 5, false);
    fake_receive(f, 0, " world", 6, true);
    const struct message *m = fake_next(w, f, MESSAGE_STREAM_SEND);
    assert_int_equal(m->stream_id.value, 0);
    assert_int_equal(m->data.len, 5);
    assert_memory_equal(m->data.at, "hello", 5);
    assert_false(m->end_stream);
    m = fake_next(w, f, MESSAGE_STREAM_SEND);
    assert_int_equal(m->data.len, 6);
    assert_true(m->end_stream);
    settle(w);
    assert_int_equal(heard.opened, 1);
    assert_int_equal(heard.closed, 1);
}

static void test_byte_by_byte(void **state)
{
    struct world *w = *state;
    struct fake *f = &w->fakes[0];
    fake_scope(f);
    fake_receive(f, 0, "abc", 3, true);
    size_t len = f->out_len;
    uint8_t *all = malloc(len);
    memcpy(all, f->out, len);
    f->out_len = 0;
    for (size_t i = 0; i < len; i++) {
        fake_put(f, all + i, 1);
        step(w);
    }
    free(all);
    fake_next(w, f, MESSAGE_ACCEPT);
    assert_memory_equal(fake_next(w, f, MESSAGE_STREAM_SEND)->data.at, "abc", 3);
}

static void fill(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
}

/* Three megabytes come back through a window of 4096 bytes, never more than it allows. */
static void test_echo_honours_credit(void **state)
{
    struct world *w = *state;
    struct fake *f = begin(w);
    uint8_t *data = malloc(BIG);
    fill(data, BIG);
    size_t given = 0, back = 0, granted = STREAM_WINDOW, may_send = SLUICE_RECEIVE_WINDOW;
    for (int i = 0; back < BIG && i < STEPS; i++) {
        if (given < BIG && given < may_send && f->out_len < BIG) {
            size_t n = BIG - given < 100000 ? BIG - given : 100000;
            n = n < may_send - given ? n : may_send - given;
            fake_receive(f, 0, data + given, n, given + n == BIG);
            given += n;
        }
        step(w);
        while (fake_take(f)) {
            if (f->said.type == MESSAGE_CREDIT) {
                may_send = f->said.limit.value;
                continue;
            }
            assert_int_equal(f->said.type, MESSAGE_STREAM_SEND);
            assert_memory_equal(f->said.data.at, data + back, f->said.data.len);
            back += f->said.data.len;
            assert_true(back <= granted);
            assert_int_equal(f->said.end_stream, back == BIG);
        }
        if (back == granted) {
            granted += STREAM_WINDOW;
            fake_credit(f, true, 0, granted);
            fake_credit(f, false, 0, granted + SESSION_WINDOW);
        }
    }
    assert_int_equal(back, BIG);
    assert_true(heard.writables > 0);
    free(data);
}

/* A client that does not read one stream is held up on that stream alone. */
static void test_stuck_stream_holds_up_no_other(void **state)
{
    struct world *w = *state;
    struct fake *f = begin(w);
    uint8_t *data = calloc(1, SLUICE_RECEIVE_WINDOW);
    fake_receive(f, 0, data, SLUICE_RECEIVE_WINDOW / 2, false);
    fake_receive(f, 0, data, SLUICE_RECEIVE_WINDOW / 2, false);
    assert_int_equal(fake_next(w, f, MESSAGE_STREAM_SEND)->data.len, STREAM_WINDOW);
    assert_quiet(w, f);
    fake_receive(f, 4, "other", 5, true);
    assert_memory_equal(fake_next(w, f, MESSAGE_STREAM_SEND)->data.at, "other", 5);
    /* Its credit goes on where it stopped. */
    fake_credit(f, true, 0, STREAM_WINDOW + 10);
    assert_int_equal(fake_next(w, f, MESSAGE_STREAM_SEND)->data.len, 10);
    free(data);
}

/* A proxy that ignores the receive window, and never gives credit: the library stops reading. */
static void test_input_is_bounded(void **state)
{
    struct world *w = *state;
    struct fake *f = begin(w);
    uint8_t *data = calloc(1, 1 << 19);
    size_t total = 0;
    for (int i = 0; i < 400; i++) {
        if (f->out_len == 0) {
            fake_receive(f, 0, data, 1 << 19, false);
            total += 1 << 19;
        }
        step(w);
        f->in_len = 0 /* read and forgotten */;
    }
    /* 16 MiB of input, and then credit is not waited for: all that is read is written again. */
    assert_true(total > 32 << 20);
    for (int i = 0; i < 400; i++) {
        if (f->out_len == 0)
            fake_receive(f, 0, data, 1 << 19, false);
        ssize_t n = send(f->fd, f->out, f->out_len, MSG_NOSIGNAL);
        if (n > 0) {
            memmove(f->out, f->out + n, f->out_len - (size_t)n);
            f->out_len -= (size_t)n;
        }
        sluice_app_turn(w->app, 0);
    }
    assert_true(f->out_len > 0);
    free(data);
}

static void test_what_is_not_taken_comes_again(void **state)
{
    struct world *w = *state;
    struct fake *f = begin(w);
    take_at_most = 2;
    fake_receive(f, 0, "abcdef", 6, true);
    assert_quiet(w, f);
    take_at_most = SIZE_MAX;
    sluice_stream_resume(heard.last_stream);
    const struct message *m = fake_next(w, f, MESSAGE_STREAM_SEND);
    assert_int_equal(m->data.len, 4);
    assert_memory_equal(m->data.at, "cdef", 4);
    assert_true(m->end_stream);
}

static void reject_418(struct sluice_session *s)
{
    struct message_header header = {{(const uint8_t *)"x-why", 5}, {(const uint8_t *)"tea", 3}};
    sluice_reject(s, 418, &header, 1, "short", 5);
    sluice_reject(s, 500, NULL, 0, NULL, 0);
    sluice_accept(s, NULL);
    assert_null(sluice_stream_open(s, true));
}

static void test_reject(void **state)
{
    struct world *w = *state;
    struct fake *f = &w->fakes[0];
    on_asked = reject_418;
    fake_scope(f);
    const struct message *m = fake_next(w, f, MESSAGE_REJECT);
    assert_int_equal(m->status.value, 418);
    assert_int_equal(m->header_count, 1);
    assert_memory_equal(m->body.at, "short", 5);
    assert_quiet(w, f);
    fake_say(f, (struct message){.type = MESSAGE_DISCONNECT, .clean = true, .by = text("app")});
    settle(w);
    assert_int_equal(heard.disconnects, 1);
    assert_int_equal(heard.code, SLUICE_NO_CODE);
    assert_int_equal(heard.by, SLUICE_BY_APP);
    assert_true(heard.clean);
}

static void greet_and_close(struct sluice_session *s)
{
    sluice_accept(s, &(struct sluice_acceptance){.status = 201, .subprotocol = "chat"});
    struct sluice_stream *uni = sluice_stream_open(s, true), *bidi = sluice_stream_open(s, false);
    assert_int_equal(sluice_stream_id(uni), 3);
    assert_int_equal(sluice_stream_id(bidi), 1);
    assert_int_equal(sluice_stream_send(uni, "hi", 2, false), 2);
    sluice_stream_send(uni, NULL, 0, true); /* the end alone */
    sluice_stream_stop(bidi, 9);
    sluice_stream_reset(bidi, 8);
    assert_true(sluice_datagram_send(s, "dg", 2));
    assert_false(sluice_datagram_send(s, "dg", 1201));
    sluice_close(s, 7, "bye");
    assert_false(sluice_datagram_send(s, "dg", 2));
}

/* Everything of one turn, in order and in one piece. */
static void test_one_flight(void **state)
{
    struct world *w = *state;
    struct fake *f = &w->fakes[0];
    on_asked = greet_and_close;
    fake_scope(f);
    const struct message *m = fake_next(w, f, MESSAGE_ACCEPT);
    assert_int_equal(m->status.value, 201);
    assert_memory_equal(m->subprotocol.at, "chat", 4);
    static const enum message_type rest[] = {
        MESSAGE_STREAM_SEND, MESSAGE_STREAM_SEND,  MESSAGE_STREAM_SEND,   MESSAGE_STREAM_SEND,
        MESSAGE_STREAM_STOP, MESSAGE_STREAM_RESET, MESSAGE_DATAGRAM_SEND, MESSAGE_CLOSE};
    for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++) {
        assert_true(fake_take(f));
        assert_int_equal(f->said.type, rest[i]);
    }
    assert_int_equal(f->said.code.value, 7);
    assert_memory_equal(f->said.reason.at, "bye", 3);
    settle(w);
    assert_int_equal(heard.closed, 2);
}

/* The close waits behind what waits for credit, and only for streams that end. */
static void test_finish_waits_for_queues(void **state)
{
    struct world *w = *state;
    struct fake *f = begin(w);
    uint8_t data[STREAM_WINDOW + 100] = {0};
    struct sluice_stream *ends = sluice_stream_open(heard.session, true);
    struct sluice_stream *stays = sluice_stream_open(heard.session, true);
    sluice_stream_send(ends, data, sizeof(data), true);
    sluice_stream_send(stays, data, sizeof(data), false);
    sluice_finish(heard.session, 5, "all said");
    for (int i = 0; i < 4; i++)
        fake_next(w, f, MESSAGE_STREAM_SEND);
    assert_quiet(w, f);
    fake_credit(f, true, 3, sizeof(data));
    assert_true(fake_next(w, f, MESSAGE_STREAM_SEND)->end_stream);
    const struct message *m = fake_next(w, f, MESSAGE_CLOSE);
    assert_true(m->after_delivery);
    assert_int_equal(m->code.value, 5);
}

static void test_reset_stop_datagram_drain(void **state)
{
    struct world *w = *state;
    struct fake *f = begin(w);
    fake_receive(f, 0, "", 0, false);
    fake_say(f, (struct message){
                    .type = MESSAGE_STREAM_RESET, .stream_id = {true, 0}, .code = {true, 11}});
    settle(w);
    assert_int_equal(heard.resets, 1);
    assert_int_equal(heard.code, 11);
    fake_say(f, (struct message){.type = MESSAGE_STREAM_STOP, .stream_id = {true, 0}});
    settle(w);
    assert_int_equal(heard.stops, 1);
    assert_int_equal(heard.closed, 1);
    fake_say(f, (struct message){.type = MESSAGE_DATAGRAM_RECEIVE, .data = {(uint8_t *)"d", 1}});
    assert_int_equal(fake_next(w, f, MESSAGE_DATAGRAM_SEND)->data.len, 1);
    fake_say(f, (struct message){
                    .type = MESSAGE_DRAIN, .reason = text("shutdown"), .deadline_ms = {true, 5}});
    settle(w);
    assert_string_equal(heard.reason, "shutdown 5");
    /* Late messages for a stream that has closed are nothing. */
    fake_receive(f, 0, "late", 4, false);
    assert_quiet(w, f);
}

/* Each kind of garbage ends its own session, with words, and no other. */
static void test_garbage(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\0\0\0\0", 4},                     /* a frame of no length */
        {"\xff\xff\xff\xff", 4},             /* one of 4 GiB */
        {"\0\0\0\1\xc0", 5},                 /* no map */
        {"\0\0\0\5\xdf\xff\xff\xff\xff", 9}, /* a map of 2^32-1 pairs */
        {"\0\0\0\7\x81\xa4type\1", 11},      /* the type is a number */
    };
    begin(w);
    struct fake *f = &w->fakes[1];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fake_open(w, f);
        fake_scope(f);
        fake_next(w, f, MESSAGE_ACCEPT);
        fake_put(f, rows[i].bytes, rows[i].len);
        settle(w);
        assert_int_equal(heard.disconnects, i + 1);
        assert_int_equal(heard.by, SLUICE_BY_NOBODY);
        assert_non_null(strstr(heard.reason, "not the backend protocol"));
        fake_close(f);
    }
    fake_receive(&w->fakes[0], 0, "still here", 10, true);
    fake_next(w, &w->fakes[0], MESSAGE_STREAM_SEND);
}

static void test_health_check_is_nothing(void **state)
{
    struct world *w = *state;
    settle(w);
    fake_close(&w->fakes[0]);
    settle(w);
    assert_int_equal(heard.sessions + heard.disconnects, 0);
}

static void test_lost_proxy(void **state)
{
    struct world *w = *state;
    struct fake *f = begin(w);
    fake_receive(f, 0, "x", 1, false);
    fake_next(w, f, MESSAGE_STREAM_SEND);
    fake_close(f);
    settle(w);
    assert_int_equal(heard.closed, 1);
    assert_int_equal(heard.by, SLUICE_BY_NOBODY);
}

/* Sends to another session from a callback of this one; both arrive, in order. */
static void test_two_sessions_in_one_turn(void **state)
{
    struct world *w = *state;
    begin(w);
    struct sluice_session *first = heard.session;
    fake_open(w, &w->fakes[1]);
    fake_scope(&w->fakes[1]);
    fake_next(w, &w->fakes[1], MESSAGE_ACCEPT);
    for (int i = 0; i < 3; i++) {
        sluice_datagram_send(first, "to one", 6);
        sluice_datagram_send(heard.session, "to two", 6);
    }
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(fake_next(w, &w->fakes[0], MESSAGE_DATAGRAM_SEND)->data.at, "to one",
                            6);
        assert_memory_equal(fake_next(w, &w->fakes[1], MESSAGE_DATAGRAM_SEND)->data.at, "to two",
                            6);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_echo),
        CASE(test_byte_by_byte),
        CASE(test_echo_honours_credit),
        CASE(test_stuck_stream_holds_up_no_other),
        CASE(test_input_is_bounded),
        CASE(test_what_is_not_taken_comes_again),
        CASE(test_reject),
        CASE(test_one_flight),
        CASE(test_finish_waits_for_queues),
        CASE(test_reset_stop_datagram_drain),
        CASE(test_garbage),
        CASE(test_health_check_is_nothing),
        CASE(test_lost_proxy),
        CASE(test_two_sessions_in_one_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
