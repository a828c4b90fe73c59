/*
 * The C library against a Sluice that the test plays itself. (What it does with credit for the
 * client is in test_app_credit.c.)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "app_world.h"

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

static int setup(void **state)
{
    heard = (struct heard){0};
    on_asked = NULL;
    take_at_most = SIZE_MAX;
    *state = world_new(&events);
    return 0;
}

static int teardown(void **state)
{
    world_free(*state);
    assert_int_equal(heard.disconnects, heard.sessions);
    return 0;
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
                if (f->said.stream_id.set)
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
        MESSAGE_CREDIT,       MESSAGE_STREAM_SEND,   MESSAGE_STREAM_SEND,
        MESSAGE_STREAM_SEND,  MESSAGE_STREAM_SEND,   MESSAGE_STREAM_STOP,
        MESSAGE_STREAM_RESET, MESSAGE_DATAGRAM_SEND, MESSAGE_CLOSE};
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
