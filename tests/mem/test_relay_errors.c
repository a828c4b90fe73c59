/*
 * Everything that an application can do wrong, row by row: what it is answered, what becomes of its
 * session, and that a second session on the same worker goes on undisturbed.
 *
 * When a row's bytes are sent, the session has: client's streams 0 (bidi, open) and 2 (uni, ended);
 * application's streams 1 (bidi, open), 3 (uni, delivered) and 7 (uni, open). Rows "before accept"
 * have only the scope.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/cmocka_all.h"
#include "mem/relay_world.h"

enum result { SILENT, GOES_ON, FATAL };
enum phase { OPEN, ASKED };

struct row {
    const char *name;
    enum phase phase;
    const char *bytes; /* of one frame's body; or NULL and: */
    size_t len;
    void (*send)(struct app_conn *c);
    enum result result;
    const char *code;  /* of webtransport.error */
    const char *field; /* named in its text */
};

/* msgpack, by hand */
#define TYPE(len_byte, name) "\xa4type" len_byte name
#define ACCEPT               TYPE("\xb3", "webtransport.accept")
#define REJECT               TYPE("\xb3", "webtransport.reject")
#define SEND                 TYPE("\xb8", "webtransport.stream.send")
#define RESET                TYPE("\xb9", "webtransport.stream.reset")
#define STOP                 TYPE("\xb8", "webtransport.stream.stop")
#define PRIORITY             TYPE("\xbc", "webtransport.stream.priority")
#define CREDIT               TYPE("\xb3", "webtransport.credit")
#define DATAGRAM             TYPE("\xba", "webtransport.datagram.send")
#define CLOSE                TYPE("\xb2", "webtransport.close")
#define DRAIN                TYPE("\xb2", "webtransport.drain")
#define ID                   "\xa9stream_id"
#define DATA(len_byte, text)                                                                       \
    "\xa4"                                                                                         \
    "data\xc4" len_byte text
#define HEADERS      "\xa7headers"
#define BODY(text)   text, sizeof(text) - 1, NULL
#define BY(function) NULL, 0, function

/* --- rows that are too long to write down --- */

static void length_zero(struct app_conn *c)
{
    app_raw(c, "\0\0\0\0", 4);
}

static void length_huge(struct app_conn *c)
{
    app_raw(c,
            "\xff\xff\xff\xff"
            "abc",
            7);
}

static void length_one_too_many(struct app_conn *c)
{
    app_raw(c, "\x00\x10\x00\x01", 4);
}

static void send_filled(struct app_conn *c, const void *head, size_t head_len, int fill, size_t len)
{
    uint8_t *body = malloc(head_len + len);
    memcpy(body, head, head_len);
    memset(body + head_len, fill, len);
    app_frame(c, body, head_len + len);
    free(body);
}

static void megabyte_of_nils(struct app_conn *c)
{
    send_filled(c, "\x80", 1, 0xc0, (1 << 20) - 1);
}

static void array_of_nils(struct app_conn *c)
{
    static const char head[] = "\x82" DRAIN "\xa1x\xdd\x00\x0f\x00\x00";
    send_filled(c, head, sizeof head - 1, 0xc0, 0xf0000);
}

static void nine_deep(struct app_conn *c)
{
    static const char head[] = "\x82" DRAIN "\xa1x\x91\x91\x91\x91\x91\x91\x91\x91\xc0";
    app_frame(c, head, sizeof head - 1);
}

static void very_deep(struct app_conn *c)
{
    static const char head[] = "\x82" DRAIN "\xa1x";
    send_filled(c, head, sizeof head - 1, 0x91, 1 << 19);
}

static void long_reason(struct app_conn *c)
{
    static const char head[] = "\x82" CLOSE "\xa6reason\xda\x04\x01";
    send_filled(c, head, sizeof head - 1, 'r', 1025);
}

static void datagram_too_large(struct app_conn *c)
{
    static const char head[] = "\x82" DATAGRAM "\xa4"
                               "data\xc5\x40\x00";
    send_filled(c, head, sizeof head - 1, 'd', 0x4000);
}

static const struct row rows[] = {
    /* class c: frames */
    {"length 0", OPEN, BY(length_zero), FATAL, "bad_length", "length"},
    {"length 2^32-1", OPEN, BY(length_huge), FATAL, "bad_length", "length"},
    {"length max_frame + 1", ASKED, BY(length_one_too_many), FATAL, "bad_length", "length"},
    {"garbage", OPEN, BODY("\xc1\xff\xfe garbage"), FATAL, "bad_encoding", ""},
    {"cut short", OPEN,
     BODY("\x82" DRAIN "\xa6reason\xa9"
          "cut"),
     FATAL, "bad_encoding", ""},
    {"bytes behind the map", OPEN, BODY("\x81" DRAIN "\xc0"), FATAL, "bad_encoding", ""},
    {"not a map", OPEN, BODY("\x93\x01\x02\x03"), FATAL, "not_a_map", ""},
    {"nil", ASKED, BODY("\xc0"), FATAL, "not_a_map", ""},
    {"map of 16 million", OPEN, BODY("\xdf\x00\xff\xff\xff"), FATAL, NULL, ""},
    {"array of 4 billion", OPEN, BODY("\x82" DRAIN "\xa1x\xdd\xff\xff\xff\xff"), FATAL, NULL, ""},
    {"bin of 4 billion", OPEN, BODY("\x82" DRAIN "\xa1x\xc6\xff\xff\xff\xff"), FATAL, NULL, ""},
    {"megabyte of nils", OPEN, BY(megabyte_of_nils), FATAL, NULL, ""},
    {"array of a million nils", OPEN, BY(array_of_nils), FATAL, "too_many_elements", ""},
    {"nested too deep", OPEN, BY(nine_deep), FATAL, "too_deep", ""},
    {"nested 500,000 deep", ASKED, BY(very_deep), FATAL, "too_deep", ""},
    {"key twice", OPEN, BODY("\x83" SEND ID "\x01" ID "\x01"), FATAL, "duplicate_key", "stream_id"},
    {"key is no text", OPEN, BODY("\x82" DRAIN "\x01\x01"), FATAL, "bad_key", ""},
    /* class c: fields */
    {"empty map", OPEN, BODY("\x80"), FATAL, "missing_field", "type"},
    {"type is a number", OPEN, BODY("\x81\xa4type\x05"), FATAL, "wrong_type", "type"},
    {"no stream_id", OPEN, BODY("\x81" SEND), FATAL, "missing_field", "stream_id"},
    {"stream_id nil", OPEN, BODY("\x82" SEND ID "\xc0"), FATAL, "missing_field", "stream_id"},
    {"stream_id text", OPEN,
     BODY("\x82" SEND ID "\xa1"
          "1"),
     FATAL, "wrong_type", "stream_id"},
    {"stream_id -1", OPEN, BODY("\x82" SEND ID "\xff"), FATAL, NULL, "stream_id"},
    {"stream_id 1.0", OPEN, BODY("\x82" SEND ID "\xca\x3f\x80\x00\x00"), FATAL, "wrong_type",
     "stream_id"},
    {"stream_id 2^53", OPEN, BODY("\x82" SEND ID "\xcf\x00\x20\x00\x00\x00\x00\x00\x00"), FATAL,
     "out_of_range", "stream_id"},
    {"data is a number", OPEN,
     BODY("\x83" SEND ID "\x01\xa4"
          "data\x07"),
     FATAL, "wrong_type", "data"},
    {"end_stream is a number", OPEN,
     BODY("\x83" SEND ID "\x01\xaa"
          "end_stream\x01"),
     FATAL, "wrong_type", "end_stream"},
    {"code over 32 bits", OPEN,
     BODY("\x83" RESET ID "\x01\xa4"
          "code\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
     FATAL, "out_of_range", "code"},
    {"reason is no UTF-8", OPEN, BODY("\x82" CLOSE "\xa6reason\xa2\xc3\x28"), FATAL, "bad_utf8",
     "reason"},
    {"reason over 1024 bytes", OPEN, BY(long_reason), FATAL, "out_of_range", "reason"},
    {"no limit in credit", OPEN, BODY("\x81" CREDIT), FATAL, "missing_field", "limit"},
    /* class c: answers */
    {"accept with 404", ASKED, BODY("\x82" ACCEPT "\xa6status\xcd\x01\x94"), FATAL, "out_of_range",
     "status"},
    {"reject with 200", ASKED, BODY("\x82" REJECT "\xa6status\xcc\xc8"), FATAL, "out_of_range",
     "status"},
    {"headers no array", ASKED, BODY("\x82" ACCEPT HEADERS "\x01"), FATAL, "wrong_type", "headers"},
    {"header no pair", ASKED,
     BODY("\x82" ACCEPT HEADERS "\x91\x91\xa1"
          "a"),
     FATAL, "wrong_type", "headers"},
    {"header in capitals", ASKED,
     BODY("\x82" ACCEPT HEADERS "\x91\x92\xa1"
          "A\xa1"
          "b"),
     FATAL, "bad_header", "headers"},
    {"pseudo-header", ASKED,
     BODY("\x82" ACCEPT HEADERS "\x91\x92\xa7:status\xa3"
          "200"),
     FATAL, "bad_header", "headers"},
    {"content-length", ASKED,
     BODY("\x82" ACCEPT HEADERS "\x91\x92\xae"
          "content-length\xa1"
          "0"),
     FATAL, "bad_header", "headers"},
    {"connection", ASKED,
     BODY("\x82" REJECT HEADERS "\x91\x92\xaa"
          "connection\xa5"
          "close"),
     FATAL, "bad_header", "headers"},
    {"line break in a header", ASKED,
     BODY("\x82" ACCEPT HEADERS "\x91\x92\xa1"
          "a\xa3"
          "b\r\n"),
     FATAL, "bad_header", "headers"},
    {"subprotocol not offered", ASKED,
     BODY("\x82" ACCEPT "\xab"
          "subprotocol\xa1"
          "z"),
     FATAL, "bad_subprotocol", "subprotocol"},
    {"send before accept", ASKED, BODY("\x82" SEND ID "\x01"), FATAL, "not_accepted", "type"},
    {"datagram before accept", ASKED, BODY("\x81" DATAGRAM), FATAL, "not_accepted", "type"},
    {"unknown before accept", ASKED, BODY("\x81" TYPE("\xa1", "x")), FATAL, "not_accepted", "type"},
    {"second accept", OPEN, BODY("\x81" ACCEPT), FATAL, "already_accepted", "type"},
    {"reject after accept", OPEN, BODY("\x81" REJECT), FATAL, "already_accepted", "type"},
    /* class c: ids */
    {"id that skips one", OPEN, BODY("\x82" SEND ID "\x09"), FATAL, "bad_id", "stream_id"},
    {"reset never opened", OPEN, BODY("\x82" RESET ID "\x05"), FATAL, "bad_id", "stream_id"},
    {"client's id not there", OPEN, BODY("\x82" SEND ID "\x04"), FATAL, "bad_id", "stream_id"},
    {"stop of client's id not there", OPEN, BODY("\x82" STOP ID "\x06"), FATAL, "bad_id",
     "stream_id"},
    /* class b */
    {"unknown type", OPEN, BODY("\x81" TYPE("\xae", "webtransport.x")), GOES_ON, "unknown_type",
     "type"},
    {"Sluice's own type", OPEN, BODY("\x82" TYPE("\xbb", "webtransport.stream.receive") ID "\x00"),
     GOES_ON, "unknown_type", "type"},
    {"datagram too large", OPEN, BY(datagram_too_large), GOES_ON, "datagram_too_large", "data"},
    {"send on the client's uni", OPEN, BODY("\x83" SEND ID "\x02" DATA("\x01", "x")), GOES_ON,
     "no_such_half", "stream_id"},
    {"reset of the client's uni", OPEN, BODY("\x82" RESET ID "\x02"), GOES_ON, "no_such_half",
     "stream_id"},
    {"stop of an own uni", OPEN, BODY("\x82" STOP ID "\x07"), GOES_ON, "no_such_half", "stream_id"},
    {"credit for an own uni", OPEN, BODY("\x83" CREDIT ID "\x07\xa5limit\x09"), GOES_ON,
     "no_such_half", "stream_id"},
    /* class a and what is no error at all */
    {"send after end_stream", OPEN, BODY("\x83" SEND ID "\x03" DATA("\x01", "x")), SILENT, "", ""},
    {"reset after delivery", OPEN, BODY("\x82" RESET ID "\x03"), SILENT, "", ""},
    {"priority after delivery", OPEN, BODY("\x83" PRIORITY ID "\x03\xaasend_order\xff"), SILENT, "",
     ""},
    {"stop after the end", OPEN, BODY("\x82" STOP ID "\x02"), SILENT, "", ""},
    {"credit for what needs none", OPEN, BODY("\x83" CREDIT ID "\x00\xa5limit\x01"), SILENT, "",
     ""},
    {"unknown keys", OPEN, BODY("\x83" DRAIN "\xa1x\x93\x01\xc0\x80\xa1y\xc3"), SILENT, "", ""},
    {"text for bytes", OPEN,
     BODY("\x83" SEND ID "\x01\xa4"
          "data\xa2hi"),
     SILENT, "", ""},
    {"nil for absent", OPEN,
     BODY("\x84" SEND ID "\x01\xaa"
          "end_stream\xc0\xa4"
          "data\xc0"),
     SILENT, "", ""},
    {"no data", OPEN, BODY("\x82" SEND ID "\x01"), SILENT, "", ""},
};

/* --- the run --- */

struct two {
    struct rworld *w;
    struct peer_session *client, *other_client;
    struct app_conn *app, *other;
};

static struct two begin(enum phase phase)
{
    struct rworld_config config = rworld_defaults();
    struct two t = {.w = rworld_new(1, false, &config)};
    t.other_client = rworld_connect(t.w, "/other", NULL, 0);
    until(t.w, (t.other = rworld_app(t.w, 0)));
    app_accept(t.other);
    t.client = rworld_connect(t.w, "/", NULL, 0);
    until(t.w, (t.app = rworld_app(t.w, 1)));
    if (phase == ASKED)
        return t;
    app_accept(t.app);
    until(t.w, t.client->responded && t.other_client->responded);
    peer_send(peer_open(t.client, false), "open", 4, 0, false);
    until(t.w, app_received(t.app, 0, NULL, 0) == 4);
    peer_send(peer_open(t.client, true), "over", 4, 0, true);
    until(t.w, app_ended(t.app, 2));
    app_stream(t.app, 1, "", 0, false);
    app_send(t.app, &(struct message){.type = MESSAGE_STREAM_SEND,
                                      .stream_id = {true, 3},
                                      .end_stream = true,
                                      .confirm = true});
    app_stream(t.app, 7, "", 0, false);
    until(t.w, app_count(t.app, MESSAGE_STREAM_DELIVERED, 3) && t.client->stream_count == 5);
    return t;
}

static void assert_undisturbed(struct rworld *w, struct peer_session *client, struct app_conn *app,
                               uint64_t id)
{
    peer_send(peer_open(client, false), "still", 5, 0, true);
    until(w, app_ended(app, id));
    app_stream(app, id, "here", 4, true);
    struct peer_stream *st = client->streams[client->stream_count - 1];
    until(w, st->fin);
    assert_int_equal(st->len, 4);
    assert_int_equal(app_count(app, MESSAGE_ERROR, APP_ANY), 0);
}

static void check_error(const struct row *row, const struct app_conn *app)
{
    assert_int_equal(app_count(app, MESSAGE_ERROR, APP_ANY), 1);
    const struct message *m = app_last(app, MESSAGE_ERROR, APP_ANY);
    if (row->code && !text_is(m->error_code, row->code))
        fail_msg("%s: %.*s, expected %s", row->name, (int)m->error_code.len, m->error_code.at,
                 row->code);
    if (!memmem(m->error_text.at, m->error_text.len, row->field, strlen(row->field)))
        fail_msg("%s: \"%.*s\" does not name %s", row->name, (int)m->error_text.len,
                 m->error_text.at, row->field);
}

static void check_fatal(const struct row *row, struct two *t)
{
    until(t->w, t->client->closed && t->app->eof);
    check_error(row, t->app);
    const struct message *m = app_last(t->app, MESSAGE_DISCONNECT, APP_ANY);
    assert_non_null(m);
    assert_true(text_is(m->by, "proxy"));
    assert_false(m->clean);
    if (row->phase == ASKED) {
        assert_int_equal(t->client->status, 502);
        assert_false(m->code.set);
    } else {
        assert_int_equal(t->client->end.code.value, 0x1234);
        assert_int_equal(m->code.value, 0x1234);
        assert_true(text_is(m->reason, t->client->reason));
    }
    assert_int_equal(rworld_stats(t->w)->faults[FAULT_BACKEND_PROTOCOL], 1);
}

static void run_row(const struct row *row)
{
    struct two t = begin(row->phase);
    if (row->send)
        row->send(t.app);
    else
        app_frame(t.app, row->bytes, row->len);
    if (row->result == FATAL) {
        check_fatal(row, &t);
    } else {
        app_stream(t.app, 1, "after", 5, false); /* behind it, so that its answer is there */
        until(t.w,
              t.client->streams[2]->len + t.client->streams[3]->len + t.client->streams[4]->len >=
                  5);
        if (row->result == GOES_ON)
            check_error(row, t.app);
        else
            assert_int_equal(app_count(t.app, MESSAGE_ERROR, APP_ANY), 0);
        rworld_run_for(t.w, NS_PER_S);
        assert_false(t.client->closed || t.app->eof);
    }
    assert_undisturbed(t.w, t.other_client, t.other, 0);
    rworld_free(t.w);
}

static void every_error_has_its_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        print_message("# %s\n", rows[i].name);
        run_row(&rows[i]);
    }
}

static void a_flood_of_bad_commands_is_counted_not_answered(void **state)
{
    (void)state;
    struct two t = begin(OPEN);
    static const char bad[] = "\x81" TYPE("\xa1", "x");
    for (int i = 0; i < 5000; i++)
        app_frame(t.app, bad, sizeof bad - 1);
    until(t.w, t.app->out_len == 0);
    for (int i = 0; i < 20; i++) { /* and some of which each has a turn of its own */
        app_frame(t.app, bad, sizeof bad - 1);
        rworld_pump(t.w);
    }
    assert_true(app_count(t.app, MESSAGE_ERROR, APP_ANY) <= 4);
    rworld_run_for(t.w, 2 * NS_PER_S);
    size_t answers = app_count(t.app, MESSAGE_ERROR, APP_ANY);
    assert_true(answers >= 1 && answers <= 8);
    uint64_t told = 0;
    for (size_t i = 0; i < t.app->event_count; i++)
        if (t.app->events[i].m.type == MESSAGE_ERROR)
            told += t.app->events[i].m.count.set ? t.app->events[i].m.count.value : 1;
    assert_int_equal(told, 5020);
    assert_int_equal(rworld_stats(t.w)->faults[FAULT_BACKEND_COMMAND], 5020);
    assert_false(t.client->closed);
    rworld_free(t.w);
}

/* The frame begins well and is cut anywhere: the session ends, nothing else happens. */
static void a_frame_may_be_cut_anywhere(void **state)
{
    (void)state;
    static const char body[] = "\x84" SEND ID "\x01\xaa"
                               "end_stream\xc3" DATA("\x03", "abc");
    for (size_t len = 1; len < sizeof body - 1; len += 3) {
        struct two t = begin(OPEN);
        app_frame(t.app, body, len);
        until(t.w, t.app->eof);
        assert_int_equal(app_count(t.app, MESSAGE_ERROR, APP_ANY), 1);
        rworld_free(t.w);
    }
}

static void commands_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct two t = begin(OPEN);
    static const char body[] = "\x84" SEND ID "\x01\xaa"
                               "end_stream\xc3" DATA("\x03", "abc");
    const uint8_t length[4] = {0, 0, 0, sizeof body - 1};
    for (size_t i = 0; i < sizeof body + 3; i++) {
        app_raw(t.app, i < 4 ? (const char *)length + i : body + (i - 4), 1);
        rworld_pump(t.w);
    }
    struct peer_stream *st = NULL;
    for (size_t i = 0; i < t.client->stream_count; i++)
        if (!t.client->streams[i]->local && !t.client->streams[i]->unidirectional)
            st = t.client->streams[i];
    until(t.w, st->fin);
    assert_int_equal(st->len, 3);
    rworld_free(t.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_its_answer),
        cmocka_unit_test(a_flood_of_bad_commands_is_counted_not_answered),
        cmocka_unit_test(a_frame_may_be_cut_anywhere),
        cmocka_unit_test(commands_may_come_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
