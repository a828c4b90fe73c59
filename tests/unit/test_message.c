/*
 * message: every field refused for every reason, and what an absent one means. Bytes and their
 * meaning are in protocol/vectors, which test_vectors.py runs.
 */
#include "protocol/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- building frames ---- */

struct frame {
    uint8_t bytes[4096];
    size_t len;
};

static void add(struct frame *f, const void *bytes, size_t len)
{
    assert_true(f->len + len <= sizeof f->bytes);
    memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
}

static void add_text(struct frame *f, const char *text)
{
    assert_true(strlen(text) < 256);
    add(f, (uint8_t[]){0xd9, (uint8_t)strlen(text)}, 2);
    add(f, text, strlen(text));
}

static void add_field(struct frame *f, const char *key, const void *value, size_t len)
{
    add_text(f, key);
    add(f, value, len);
    f->bytes[0]++;
}

/* What a type requires, apart from the field that a row is about. */
static struct frame frame_of(const char *type, const char *key, const void *value, size_t len)
{
    static const char *const required[][3] = {
        {"webtransport.stream.send", "stream_id", "\x04"},
        {"webtransport.stream.receive", "stream_id", "\x04"},
        {"webtransport.stream.reset", "stream_id", "\x04"},
        {"webtransport.stream.stop", "stream_id", "\x04"},
        {"webtransport.stream.priority", "stream_id", "\x04"},
        {"webtransport.stream.priority", "send_order", "\x01"},
        {"webtransport.credit", "limit", "\x01"},
        {"webtransport.disconnect", "by",
         "\xa6"
         "client"},
        {"webtransport.error", "code",
         "\xa3"
         "bad"},
    };
    struct frame f = {.bytes = {0x80}, .len = 1};
    if (type != NULL) {
        add_text(&f, "type");
        add_text(&f, type);
        f.bytes[0]++;
    }
    for (size_t i = 0; type != NULL && i < sizeof required / sizeof *required; i++)
        if (strcmp(required[i][0], type) == 0 && strcmp(required[i][1], key) != 0)
            add_field(&f, required[i][1], required[i][2], strlen(required[i][2]));
    if (value != NULL)
        add_field(&f, key, value, len);
    return f;
}

/* ---- every field ---- */

#define APP    MESSAGE_FROM_APP
#define SLUICE MESSAGE_FROM_SLUICE
/* The versions of the formatter disagree about braces in macros. */
/* clang-format off */
#define UINT(value) {true, (value)}
/* clang-format on */
#define BYTES(text) (text), sizeof(text) - 1
#define ABSENT      NULL, 0
#define SLUICE      MESSAGE_FROM_SLUICE
#define REASON_1024 "\xda\x04\x00" X256 X256 X256 X256
#define REASON_1025 "\xda\x04\x01" X256 X256 X256 X256 "x"
#define X256        X64 X64 X64 X64
#define X64         X16 X16 X16 X16
#define X16         "xxxxxxxxxxxxxxxx"

static const struct row {
    enum message_side from;
    const char *type, *key;
    const char *value;
    size_t len;
    const char *code; /* "" is good */
} rows[] = {
    {APP, NULL, "other", BYTES("\x01"), "missing_field"},
    {APP, NULL, "type", BYTES("\xc0"), "missing_field"},
    {APP, NULL, "type", BYTES("\x01"), "wrong_type"},
    {APP, NULL, "type", BYTES("\xc4\x12webtransport.abort"), "wrong_type"},
    {APP, NULL, "type", BYTES("\xa1\xff"), "bad_utf8"},

    /* stream_id: every form of integer, and what is none */
    {APP, "webtransport.stream.send", "stream_id", ABSENT, "missing_field"},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\xc0"), "missing_field"},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\x7f"), ""},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\xcc\x04"), ""},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\xd3\0\0\0\0\0\0\0\x04"), ""},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\xcf\0\x1f\xff\xff\xff\xff\xff\xff"), ""},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\xcf\0\x20\0\0\0\0\0\0"), "out_of_range"},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\xff"), "out_of_range"},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\xca\x40\x80\0\0"), "wrong_type"},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\xc3"), "wrong_type"},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\xa1\x34"), "wrong_type"},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\x91\x04"), "wrong_type"},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\x80"), "wrong_type"},
    {APP, "webtransport.stream.send", "stream_id", BYTES("\xd4\x01\x04"), "wrong_type"},
    {APP, "webtransport.stream.reset", "stream_id", ABSENT, "missing_field"},
    {APP, "webtransport.stream.stop", "stream_id", ABSENT, "missing_field"},
    {APP, "webtransport.stream.priority", "stream_id", ABSENT, "missing_field"},
    {APP, "webtransport.credit", "stream_id", ABSENT, ""},
    {APP, "webtransport.credit", "stream_id", BYTES("\xc2"), "wrong_type"},

    /* bool */
    {APP, "webtransport.stream.send", "end_stream", BYTES("\xc3"), ""},
    {APP, "webtransport.stream.send", "end_stream", BYTES("\xc0"), ""},
    {APP, "webtransport.stream.send", "end_stream", BYTES("\x01"), "wrong_type"},
    {APP, "webtransport.stream.send", "confirm", BYTES("\xa4true"), "wrong_type"},
    {APP, "webtransport.close", "after_delivery", BYTES("\x00"), "wrong_type"},

    /* bytes */
    {APP, "webtransport.stream.send", "data", ABSENT, ""},
    {APP, "webtransport.stream.send", "data", BYTES("\xc4\x01x"), ""},
    {APP, "webtransport.stream.send", "data", BYTES("\xa1x"), ""},
    {APP, "webtransport.stream.send", "data", BYTES("\xa1\xff"), ""},
    {APP, "webtransport.stream.send", "data", BYTES("\x01"), "wrong_type"},
    {APP, "webtransport.stream.send", "data", BYTES("\x91\x01"), "wrong_type"},
    {APP, "webtransport.datagram.send", "data", BYTES("\x80"), "wrong_type"},
    {APP, "webtransport.reject", "body", BYTES("\xc3"), "wrong_type"},

    /* codes */
    {APP, "webtransport.stream.reset", "code", BYTES("\xce\xff\xff\xff\xff"), ""},
    {APP, "webtransport.stream.reset", "code", BYTES("\xcf\0\0\0\1\0\0\0\0"), "out_of_range"},
    {APP, "webtransport.stream.stop", "code", BYTES("\xcf\0\0\0\1\0\0\0\0"), "out_of_range"},
    {APP, "webtransport.stream.stop", "code", BYTES("\xff"), "out_of_range"},
    {APP, "webtransport.close", "code", BYTES("\xcf\0\0\0\1\0\0\0\0"), "out_of_range"},
    {APP, "webtransport.close", "code", BYTES("\xa1\x30"), "wrong_type"},
    {SLUICE, "webtransport.stream.reset", "code", BYTES("\xc0"), ""},
    {SLUICE, "webtransport.disconnect", "code", BYTES("\xc0"), ""},

    /* numbers */
    {APP, "webtransport.credit", "limit", ABSENT, "missing_field"},
    {APP, "webtransport.credit", "limit", BYTES("\xca\0\0\0\0"), "wrong_type"},
    {APP, "webtransport.credit", "limit", BYTES("\xcf\0\x20\0\0\0\0\0\0"), "out_of_range"},
    {APP, "webtransport.stream.priority", "send_order", ABSENT, "missing_field"},
    {APP, "webtransport.stream.priority", "send_order", BYTES("\xff"), ""},
    {APP, "webtransport.stream.priority", "send_order", BYTES("\xd3\xff\xe0\0\0\0\0\0\1"), ""},
    {APP, "webtransport.stream.priority", "send_order", BYTES("\xd3\xff\xe0\0\0\0\0\0\0"),
     "out_of_range"},
    {APP, "webtransport.stream.priority", "send_order", BYTES("\xd3\x80\0\0\0\0\0\0\0"),
     "out_of_range"},
    {APP, "webtransport.stream.priority", "send_order", BYTES("\xcf\0\x20\0\0\0\0\0\0"),
     "out_of_range"},
    {APP, "webtransport.stream.priority", "send_order",
     BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), "out_of_range"},
    {APP, "webtransport.stream.priority", "send_order", BYTES("\xc2"), "wrong_type"},

    /* texts */
    {APP, "webtransport.close", "reason", BYTES("\xa2\xc3\xa4"), ""},
    {APP, "webtransport.close", "reason", BYTES(REASON_1024), ""},
    {APP, "webtransport.close", "reason", BYTES(REASON_1025), "out_of_range"},
    {APP, "webtransport.close", "reason", BYTES("\xa1\xc3"), "bad_utf8"},
    {APP, "webtransport.close", "reason", BYTES("\xa2\xc0\x80"), "bad_utf8"},
    {APP, "webtransport.close", "reason", BYTES("\xa3\xed\xa0\x80"), "bad_utf8"},
    {APP, "webtransport.close", "reason", BYTES("\xc4\x01x"), "wrong_type"},
    {APP, "webtransport.accept", "subprotocol", BYTES("\xa1\xff"), "bad_utf8"},
    {APP, "webtransport.accept", "subprotocol", BYTES("\x91\xa1x"), "wrong_type"},

    /* status */
    {APP, "webtransport.accept", "status", BYTES("\xcc\xc8"), ""},
    {APP, "webtransport.accept", "status", BYTES("\xcd\x01\x2b"), ""},
    {APP, "webtransport.accept", "status", BYTES("\xcd\x01\x2c"), "out_of_range"},
    {APP, "webtransport.accept", "status", BYTES("\xcc\xc7"), "out_of_range"},
    {APP, "webtransport.accept", "status",
     BYTES("\xa3"
           "200"),
     "wrong_type"},
    {APP, "webtransport.reject", "status", BYTES("\xcd\x01\x2c"), ""},
    {APP, "webtransport.reject", "status", BYTES("\xcd\x02\x57"), ""},
    {APP, "webtransport.reject", "status", BYTES("\xcd\x02\x58"), "out_of_range"},
    {APP, "webtransport.reject", "status", BYTES("\xcd\x01\x2b"), "out_of_range"},
    {APP, "webtransport.accept", "receive_window", BYTES("\xff"), "out_of_range"},
    {APP, "webtransport.accept", "receive_window", BYTES("\xa1x"), "wrong_type"},

    /* headers */
    {APP, "webtransport.accept", "headers", BYTES("\xc0"), ""},
    {APP, "webtransport.accept", "headers", BYTES("\x90"), ""},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xc4\x01k\xc4\x01v"), ""},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xa1k\xa1v"), ""},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xa1k\xa0"), ""},
    {APP, "webtransport.accept", "headers",
     BYTES("\x91\x92\xa1k\xa3"
           "a\tb"),
     ""},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xa1k\xa2\xe4\xff"), ""},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xa1k\x01"), "wrong_type"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\x01\xa1v"), "wrong_type"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x91\xa1k"), "wrong_type"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x93\xa1k\xa1v\xa1v"), "wrong_type"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\xa1k"), "wrong_type"},
    {APP, "webtransport.accept", "headers", BYTES("\x81\xa1k\xa1v"), "wrong_type"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xa0\xa1v"), "bad_header"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xa1K\xa1v"), "bad_header"},
    {APP, "webtransport.accept", "headers",
     BYTES("\x91\x92\xa3"
           "a b\xa1v"),
     "bad_header"},
    {APP, "webtransport.accept", "headers",
     BYTES("\x91\x92\xa2"
           "k:\xa1v"),
     "bad_header"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xa2k\0\xa1v"), "bad_header"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xa2\xc3\xa4\xa1v"), "bad_header"},
    {APP, "webtransport.accept", "headers",
     BYTES("\x91\x92\xa7:status\xa3"
           "200"),
     "bad_header"},
    {APP, "webtransport.accept", "headers",
     BYTES("\x91\x92\xaa"
           "connection\xa1v"),
     "bad_header"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xaakeep-alive\xa1v"), "bad_header"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xb0proxy-connection\xa1v"),
     "bad_header"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xb1transfer-encoding\xa1v"),
     "bad_header"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xa7upgrade\xa1v"), "bad_header"},
    {APP, "webtransport.accept", "headers", BYTES("\x91\x92\xa2te\xa1v"), "bad_header"},
    {APP, "webtransport.reject", "headers",
     BYTES("\x91\x92\xae"
           "content-length\xa1"
           "5"),
     "bad_header"},
    {APP, "webtransport.reject", "headers",
     BYTES("\x91\x92\xa1k\xa3"
           "a\nb"),
     "bad_header"},
    {APP, "webtransport.reject", "headers", BYTES("\x91\x92\xa1k\xa1\0"), "bad_header"},
    {APP, "webtransport.reject", "headers", BYTES("\x91\x92\xa1k\xa1\x7f"), "bad_header"},
    {APP, "webtransport.reject", "headers", BYTES("\x91\x92\xa1k\xa2 v"), "bad_header"},
    {APP, "webtransport.reject", "headers", BYTES("\x91\x92\xa1k\xa2v\t"), "bad_header"},
    {APP, "webtransport.reject", "headers", BYTES("\x92\x92\xa1k\xa1v\x92\xa7upgrade\xa1v"),
     "bad_header"},

    /* what only Sluice sends */
    {SLUICE, "webtransport.disconnect", "by", ABSENT, "missing_field"},
    {SLUICE, "webtransport.disconnect", "clean", BYTES("\x01"), "wrong_type"},
    {SLUICE, "webtransport.error", "code", ABSENT, "missing_field"},
    {SLUICE, "webtransport.error", "count", BYTES("\xa1x"), "wrong_type"},
    {SLUICE, "webtransport.datagram.limit", "max_size", ABSENT, "missing_field"},
    {SLUICE, "webtransport.drain", "deadline_ms", BYTES("\xff"), "out_of_range"},
    {SLUICE, "webtransport.stream.receive", "stream_ended", BYTES("\x01"), "wrong_type"},
    {SLUICE, "webtransport.stream.delivered", "stream_id", ABSENT, "missing_field"},

    /* unknown keys are not looked at, nor the fields of types that one does not know */
    {APP, "webtransport.abort", "other", BYTES("\x91\xd4\x01\x02"), ""},
    {APP, "webtransport.later", "stream_id", BYTES("\xa1x"), ""},
    {APP, "webtransport.disconnect", "clean", BYTES("\x01"), ""},
};

static void every_field(void **state)
{
    (void)state;
    struct message m;
    struct message_fault fault;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct message_decoder *d = message_decoder_new(row->from);
        struct frame f = frame_of(row->type, row->key, row->value, row->len);
        bool good = message_decode(d, f.bytes, f.len, &m, &fault);
        if (good != (row->code[0] == 0) || strcmp(fault.code, row->code) != 0)
            fail_msg("row %zu (%s, %s): \"%s\" (%s), expected \"%s\"", i,
                     row->type ? row->type : "no type", row->key, fault.code, fault.text,
                     row->code);
        if (!good) {
            const char *field = row->type == NULL ? "type" : row->key;
            assert_string_equal(fault.field, field);
            assert_memory_equal(fault.text, field, strlen(field));
        }
        message_decoder_free(d);
    }
}

static void fault_names_the_stream(void **state)
{
    (void)state;
    struct message_decoder *d = message_decoder_new(APP);
    struct message m;
    struct message_fault fault;
    struct frame f = frame_of("webtransport.stream.send", "data", BYTES("\x01"));
    assert_false(message_decode(d, f.bytes, f.len, &m, &fault));
    assert_true(fault.stream_id.set);
    assert_int_equal(fault.stream_id.value, 4);
    f = frame_of("webtransport.close", "code", BYTES("\xff"));
    assert_false(message_decode(d, f.bytes, f.len, &m, &fault));
    assert_false(fault.stream_id.set);
    message_decoder_free(d);
}

static void assert_same_uint(struct message_uint a, struct message_uint b)
{
    assert_int_equal(a.set, b.set);
    if (a.set)
        assert_true(a.value == b.value);
}

static void absent_fields_get_their_defaults(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        enum message_side from;
        struct message_uint code, status;
    } expected[] = {
        {"webtransport.accept", APP, {0}, UINT(200)},
        {"webtransport.reject", APP, {0}, UINT(403)},
        {"webtransport.close", APP, UINT(0), {0}},
        {"webtransport.stream.reset", APP, UINT(0), {0}},
        {"webtransport.stream.stop", APP, UINT(0), {0}},
        {"webtransport.stream.reset", SLUICE, {0}, {0}},
        {"webtransport.stream.stop", SLUICE, {0}, {0}},
        {"webtransport.disconnect", SLUICE, {0}, {0}},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct message_decoder *d = message_decoder_new(expected[i].from);
        struct message m;
        struct message_fault fault;
        struct frame f = frame_of(expected[i].type, "", ABSENT);
        assert_true(message_decode(d, f.bytes, f.len, &m, &fault));
        assert_same_uint(m.code, expected[i].code);
        assert_same_uint(m.status, expected[i].status);
        assert_int_equal(m.data.len + m.reason.len + m.header_count, 0);
        message_decoder_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field),
        cmocka_unit_test(fault_names_the_stream),
        cmocka_unit_test(absent_fields_get_their_defaults),
    };
    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
