/*
 * message: every field refused for every reason, round trips of every type, hostile frames refused
 * without memory being asked for, and every truncation and every changed byte of good frames.
 * Bytes and their meaning are in protocol/vectors, which test_vectors.py runs.
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

/* ---- counting what is allocated ---- */

static size_t allocated; /* bytes asked for */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

#ifndef SANITIZED /* sanitizers have their own malloc; there these tests see to the rest only */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
    allocated += size;
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    allocated += n * size;
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    allocated += size;
    return __libc_realloc(old, size);
}
#endif

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

#define BYTES(text) (text), sizeof(text) - 1
#define ABSENT      NULL, 0
#define APP         MESSAGE_FROM_APP
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

/* ---- round trips ---- */

#define TEXT(text)                                                                                 \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }
#define DATA(text)                                                                                 \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }
#define UINT(value)                                                                                \
    {                                                                                              \
        true, (value)                                                                              \
    }

static const struct message_header two_headers[] = {{DATA("set-cookie"), DATA("a=1")},
                                                    {DATA("set-cookie"), DATA("b=2")}};

static const struct message samples[] = {
    {.type = MESSAGE_ACCEPT, .status = UINT(200)},
    {.type = MESSAGE_ACCEPT,
     .status = UINT(202),
     .headers = two_headers,
     .header_count = 2,
     .subprotocol = TEXT("chat"),
     .receive_window = UINT(0)},
    {.type = MESSAGE_REJECT, .status = UINT(403)},
    {.type = MESSAGE_REJECT,
     .status = UINT(302),
     .headers = two_headers,
     .header_count = 1,
     .body = DATA("go away")},
    {.type = MESSAGE_STREAM_RECEIVE, .stream_id = UINT(0)},
    {.type = MESSAGE_STREAM_RECEIVE,
     .stream_id = UINT(4),
     .stream_ended = true,
     .data = DATA("hello")},
    {.type = MESSAGE_STREAM_SEND, .stream_id = UINT(1)},
    {.type = MESSAGE_STREAM_SEND,
     .stream_id = UINT(MESSAGE_MAX_UINT),
     .end_stream = true,
     .confirm = true,
     .data = DATA("hello\0world")},
    {.type = MESSAGE_STREAM_DELIVERED, .stream_id = UINT(3)},
    {.type = MESSAGE_STREAM_RESET, .stream_id = UINT(3), .code = UINT(0)},
    {.type = MESSAGE_STREAM_RESET, .stream_id = UINT(3), .code = UINT(UINT32_MAX)},
    {.type = MESSAGE_STREAM_STOP, .stream_id = UINT(2), .code = UINT(42)},
    {.type = MESSAGE_CREDIT, .limit = UINT(1 << 20)},
    {.type = MESSAGE_CREDIT, .stream_id = UINT(0), .limit = UINT(1 << 20)},
    {.type = MESSAGE_STREAM_PRIORITY, .stream_id = UINT(1), .send_order = -7},
    {.type = MESSAGE_STREAM_PRIORITY,
     .stream_id = UINT(1),
     .send_order = (int64_t)MESSAGE_MAX_UINT},
    {.type = MESSAGE_DATAGRAM_RECEIVE, .data = DATA("ping")},
    {.type = MESSAGE_DATAGRAM_RECEIVE},
    {.type = MESSAGE_DATAGRAM_SEND, .data = DATA("pong")},
    {.type = MESSAGE_DATAGRAM_LIMIT, .max_size = UINT(1200)},
    {.type = MESSAGE_DRAIN},
    {.type = MESSAGE_DRAIN, .reason = TEXT("shutdown"), .deadline_ms = UINT(30000)},
    {.type = MESSAGE_CLOSE, .code = UINT(0)},
    {.type = MESSAGE_CLOSE, .code = UINT(7), .reason = TEXT("b\xc3\xa4h"), .after_delivery = true},
    {.type = MESSAGE_ABORT},
    {.type = MESSAGE_DISCONNECT, .by = TEXT("network")},
    {.type = MESSAGE_DISCONNECT,
     .code = UINT(5),
     .reason = TEXT("done"),
     .clean = true,
     .by = TEXT("client")},
    {.type = MESSAGE_ERROR, .error_code = TEXT("unknown_type"), .error_text = TEXT("type: x")},
    {.type = MESSAGE_ERROR,
     .error_code = TEXT("no_such_half"),
     .error_text = TEXT("y"),
     .stream_id = UINT(2),
     .count = UINT(9)},
};
#define SAMPLES (sizeof samples / sizeof *samples)

static void assert_bytes_equal(const void *a, size_t a_len, const void *b, size_t b_len)
{
    assert_int_equal(a_len, b_len);
    if (a_len > 0)
        assert_memory_equal(a, b, a_len);
}

static void assert_uint_equal(struct message_uint a, struct message_uint b)
{
    assert_int_equal(a.set, b.set);
    if (a.set)
        assert_true(a.value == b.value);
}

static void assert_messages_equal(const struct message *a, const struct message *b)
{
    assert_int_equal(a->type, b->type);
    assert_uint_equal(a->stream_id, b->stream_id);
    assert_uint_equal(a->code, b->code);
    assert_uint_equal(a->limit, b->limit);
    assert_uint_equal(a->max_size, b->max_size);
    assert_uint_equal(a->deadline_ms, b->deadline_ms);
    assert_uint_equal(a->count, b->count);
    assert_uint_equal(a->status, b->status);
    assert_uint_equal(a->receive_window, b->receive_window);
    assert_true(a->send_order == b->send_order);
    assert_int_equal(a->stream_ended, b->stream_ended);
    assert_int_equal(a->end_stream, b->end_stream);
    assert_int_equal(a->confirm, b->confirm);
    assert_int_equal(a->after_delivery, b->after_delivery);
    assert_int_equal(a->clean, b->clean);
    assert_bytes_equal(a->data.at, a->data.len, b->data.at, b->data.len);
    assert_bytes_equal(a->body.at, a->body.len, b->body.at, b->body.len);
    assert_bytes_equal(a->reason.at, a->reason.len, b->reason.at, b->reason.len);
    assert_bytes_equal(a->by.at, a->by.len, b->by.at, b->by.len);
    assert_bytes_equal(a->error_code.at, a->error_code.len, b->error_code.at, b->error_code.len);
    assert_bytes_equal(a->error_text.at, a->error_text.len, b->error_text.at, b->error_text.len);
    assert_bytes_equal(a->subprotocol.at, a->subprotocol.len, b->subprotocol.at,
                       b->subprotocol.len);
    assert_int_equal(a->header_count, b->header_count);
    for (size_t i = 0; i < a->header_count; i++) {
        const struct message_header *x = &a->headers[i], *y = &b->headers[i];
        assert_bytes_equal(x->name.at, x->name.len, y->name.at, y->name.len);
        assert_bytes_equal(x->value.at, x->value.len, y->value.at, y->value.len);
    }
}

/* Both sides' decoders; the one that knows the type is the one that counts. */
struct decoders {
    struct message_decoder *of[2];
};

static struct decoders decoders_new(void)
{
    return (struct decoders){{message_decoder_new(APP), message_decoder_new(SLUICE)}};
}

static void decoders_free(struct decoders *d)
{
    message_decoder_free(d->of[0]);
    message_decoder_free(d->of[1]);
}

static void every_type_goes_round(void **state)
{
    (void)state;
    struct decoders d = decoders_new();
    bool seen[MESSAGE_TYPES] = {0};
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t bytes[512];
        size_t len = message_encode(&samples[i], bytes, sizeof bytes);
        assert_true(len <= sizeof bytes);
        unsigned known = 0;
        for (unsigned side = 0; side < 2; side++) {
            struct message m;
            struct message_fault fault;
            assert_true(message_decode(d.of[side], bytes, len, &m, &fault));
            const char *name = message_type_name(samples[i].type);
            assert_bytes_equal(m.type_name.at, m.type_name.len, name, strlen(name));
            if (m.type == MESSAGE_UNKNOWN)
                continue;
            assert_messages_equal(&m, &samples[i]);
            known++;
        }
        assert_true(known > 0);
        seen[samples[i].type] = true;
    }
    for (enum message_type type = MESSAGE_SCOPE + 1; type < MESSAGE_TYPES; type++)
        assert_true(seen[type]);
    decoders_free(&d);
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
    struct decoders d = decoders_new();
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct message m;
        struct message_fault fault;
        struct frame f = frame_of(expected[i].type, "", ABSENT);
        assert_true(message_decode(d.of[expected[i].from], f.bytes, f.len, &m, &fault));
        assert_uint_equal(m.code, expected[i].code);
        assert_uint_equal(m.status, expected[i].status);
        assert_int_equal(m.data.len + m.reason.len + m.header_count, 0);
    }
    decoders_free(&d);
}

static void too_small_a_buffer_is_never_overrun(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t needed = message_encode(&samples[i], NULL, 0);
        for (size_t cap = 0; cap <= needed; cap++) {
            uint8_t *exact = malloc(cap > 0 ? cap : 1);
            assert_int_equal(message_encode(&samples[i], exact, cap), needed);
            free(exact);
        }
    }
}

static void head_ends_before_the_value_of_data(void **state)
{
    (void)state;
    struct decoders d = decoders_new();
    for (size_t i = 0; i < SAMPLES; i++) {
        enum message_type type = samples[i].type;
        if (type != MESSAGE_STREAM_RECEIVE && type != MESSAGE_STREAM_SEND &&
            type != MESSAGE_DATAGRAM_RECEIVE && type != MESSAGE_DATAGRAM_SEND)
            continue;
        struct message m = samples[i], back;
        struct message_fault fault;
        m.data = (struct message_bytes)DATA("bytes");
        uint8_t bytes[512];
        size_t flag_at;
        size_t len = message_encode_head(&m, bytes, sizeof bytes, &flag_at);
        assert_memory_equal(bytes + len - 5,
                            "\xa4"
                            "data",
                            5);
        memcpy(bytes + len, "\xc6\0\0\0\5bytes", 10);
        unsigned side = type == MESSAGE_STREAM_SEND || type == MESSAGE_DATAGRAM_SEND ? APP : SLUICE;
        assert_true(message_decode(d.of[side], bytes, len + 10, &back, &fault));
        assert_messages_equal(&back, &m);
        assert_ptr_equal(back.data.at, bytes + len + 5);
        if (type != MESSAGE_STREAM_RECEIVE && type != MESSAGE_STREAM_SEND)
            continue;
        bytes[flag_at] = bytes[flag_at] == MESSAGE_TRUE ? MESSAGE_FALSE : MESSAGE_TRUE;
        m.stream_ended = type == MESSAGE_STREAM_RECEIVE && !m.stream_ended;
        m.end_stream = type == MESSAGE_STREAM_SEND && !m.end_stream;
        assert_true(message_decode(d.of[side], bytes, len + 10, &back, &fault));
        assert_messages_equal(&back, &m);
    }
    decoders_free(&d);
}

/* ---- the scope ---- */

static const struct message_text offered[] = {TEXT("chat"), TEXT("game")};
static const struct message_scope scope = {
    .path = TEXT("/a b"),
    .raw_path = DATA("/a%20b"),
    .query_string = DATA("x=1"),
    .root_path = TEXT(""),
    .headers = two_headers,
    .header_count = 2,
    .server_host = TEXT("127.0.0.1"),
    .server_port = 4433,
    .client_host = TEXT("::1"),
    .client_port = 50000,
    .session_id = 4,
    .subprotocols = offered,
    .subprotocol_count = 2,
    .tls_version = 0x0304,
    .cipher_suite = 0x1301,
    .max_datagram_size = 1200,
    .stream_window = 262144,
    .session_window = 1048576,
    .max_pending_streams = 100,
    .connect_protocol = TEXT("webtransport"),
    .session = TEXT("0-1"),
    .draft = TEXT("draft15"),
    .route = TEXT("default"),
    .max_frame = MESSAGE_MAX_FRAME,
};

static void scope_goes_round(void **state)
{
    (void)state;
    struct message_decoder *d = message_decoder_new(SLUICE);
    uint8_t bytes[2048];
    size_t len = message_encode_scope(&scope, bytes, sizeof bytes);
    struct message_scope s;
    struct message_fault fault;
    assert_true(message_decode_scope(d, bytes, len, &s, &fault));
    assert_bytes_equal(s.path.at, s.path.len, "/a b", 4);
    assert_bytes_equal(s.raw_path.at, s.raw_path.len, "/a%20b", 6);
    assert_bytes_equal(s.query_string.at, s.query_string.len, "x=1", 3);
    assert_int_equal(s.header_count, 2);
    assert_bytes_equal(s.headers[1].value.at, s.headers[1].value.len, "b=2", 3);
    assert_bytes_equal(s.server_host.at, s.server_host.len, "127.0.0.1", 9);
    assert_bytes_equal(s.client_host.at, s.client_host.len, "::1", 3);
    assert_int_equal(s.server_port, 4433);
    assert_int_equal(s.client_port, 50000);
    assert_int_equal(s.session_id, 4);
    assert_int_equal(s.subprotocol_count, 2);
    assert_bytes_equal(s.subprotocols[1].at, s.subprotocols[1].len, "game", 4);
    assert_int_equal(s.tls_version, 0x0304);
    assert_int_equal(s.cipher_suite, 0x1301);
    assert_int_equal(s.max_datagram_size, 1200);
    assert_int_equal(s.stream_window, 262144);
    assert_int_equal(s.session_window, 1048576);
    assert_int_equal(s.max_pending_streams, 100);
    assert_bytes_equal(s.connect_protocol.at, s.connect_protocol.len, "webtransport", 12);
    assert_bytes_equal(s.session.at, s.session.len, "0-1", 3);
    assert_bytes_equal(s.draft.at, s.draft.len, "draft15", 7);
    assert_bytes_equal(s.route.at, s.route.len, "default", 7);
    assert_int_equal(s.max_frame, MESSAGE_MAX_FRAME);
    /* For message_decode it is a message without fields. */
    struct message m;
    assert_true(message_decode(d, bytes, len, &m, &fault));
    assert_int_equal(m.type, MESSAGE_SCOPE);
    message_decoder_free(d);
}

static void largest_scope_is_taken(void **state)
{
    (void)state;
    struct message_header *headers = calloc(MESSAGE_MAX_SCOPE_HEADERS, sizeof *headers);
    struct message_text *texts = calloc(MESSAGE_MAX_SCOPE_SUBPROTOCOLS, sizeof *texts);
    for (size_t i = 0; i < MESSAGE_MAX_SCOPE_HEADERS; i++)
        headers[i] = two_headers[0];
    for (size_t i = 0; i < MESSAGE_MAX_SCOPE_SUBPROTOCOLS; i++)
        texts[i] = offered[0];
    struct message_scope s = scope, back;
    s.headers = headers;
    s.header_count = MESSAGE_MAX_SCOPE_HEADERS;
    s.subprotocols = texts;
    s.subprotocol_count = MESSAGE_MAX_SCOPE_SUBPROTOCOLS;
    size_t len = message_encode_scope(&s, NULL, 0);
    assert_true(len < MESSAGE_MAX_FRAME);
    uint8_t *bytes = malloc(len);
    message_encode_scope(&s, bytes, len);
    struct message_decoder *d = message_decoder_new(SLUICE);
    struct message_fault fault;
    assert_true(message_decode_scope(d, bytes, len, &back, &fault));
    assert_int_equal(back.header_count, MESSAGE_MAX_SCOPE_HEADERS);
    message_decoder_free(d);
    free(bytes);
    free(texts);
    free(headers);
}

static void path_is_decoded_and_repaired(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *path;
    } paths[] = {
        {"", ""},
        {"/", "/"},
        {"/a%20b", "/a b"},
        {"/%c3%A4", "/\xc3\xa4"},
        {"/\xc3\xa4", "/\xc3\xa4"},
        {"/%ff%fe", "/\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xff\xff\xff\xff", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"/%", "/%"},
        {"/%4", "/%4"},
        {"/%zz%2f", "/%zz/"},
        {"%e2%82%ac%f0%9f%98%80", "\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"/%ed%a0%80", NULL}, /* a surrogate: as many replacements as there may be */
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        size_t raw_len = strlen(paths[i].raw);
        char *to = malloc(3 * raw_len + 1);
        size_t len = message_scope_path((const uint8_t *)paths[i].raw, raw_len, to);
        assert_true(len <= 3 * raw_len);
        if (paths[i].path != NULL)
            assert_bytes_equal(to, len, paths[i].path, strlen(paths[i].path));
        free(to);
    }
}

/* ---- hostile frames ---- */

/* Decodes from memory of exactly that size, so that reading one byte more is seen. */
static bool decode_copy(struct decoders *d, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, bytes, len);
    struct message m;
    struct message_scope s;
    struct message_fault fault;
    bool good = true;
    for (unsigned side = 0; side < 2; side++) {
        bool taken = message_decode(d->of[side], copy, len, &m, &fault);
        assert_int_equal(taken, fault.code[0] == 0);
        good &= taken;
    }
    message_decode_scope(d->of[SLUICE], copy, len, &s, &fault);
    free(copy);
    return good;
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct decoders d = decoders_new();
    uint8_t bytes[2048];
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t len = message_encode(&samples[i], bytes, sizeof bytes);
        for (size_t cut = 0; cut < len; cut++)
            assert_false(decode_copy(&d, bytes, cut));
        bytes[len] = 0xc0;
        assert_false(decode_copy(&d, bytes, len + 1));
    }
    size_t len = message_encode_scope(&scope, bytes, sizeof bytes);
    for (size_t cut = 0; cut < len; cut++)
        assert_false(decode_copy(&d, bytes, cut));
    decoders_free(&d);
}

static void every_changed_byte_is_survived(void **state)
{
    (void)state;
    struct decoders d = decoders_new();
    uint8_t bytes[2048];
    for (size_t i = 0; i < SAMPLES + 1; i++) {
        size_t len = i < SAMPLES ? message_encode(&samples[i], bytes, sizeof bytes)
                                 : message_encode_scope(&scope, bytes, sizeof bytes);
        for (size_t at = 0; at < len; at++) {
            uint8_t before = bytes[at];
            for (unsigned bit = 0; bit < 8; bit++) {
                bytes[at] = (uint8_t)(before ^ 1u << bit);
                decode_copy(&d, bytes, len);
            }
            bytes[at] = before;
        }
    }
    decoders_free(&d);
}

static const struct {
    const char *what, *bytes;
    size_t len;
    const char *code;
} bombs[] = {
    {"16 million elements", BYTES("\x81\xa1k\xdd\x01\0\0\0"), "too_many_elements"},
    {"4 billion pairs", BYTES("\xdf\xff\xff\xff\xff\xc0"), "too_many_elements"},
    {"an array of 16 million", BYTES("\xdd\x01\0\0\0\xc0"), "not_a_map"},
    {"a bin of 4 GiB", BYTES("\x81\xa1k\xc6\xff\xff\xff\xff"), "bad_encoding"},
    {"a str of 4 GiB", BYTES("\x81\xa1k\xdb\xff\xff\xff\xff"), "bad_encoding"},
    {"a key of 4 GiB", BYTES("\x81\xdb\xff\xff\xff\xff"), "bad_encoding"},
    {"an ext of 4 GiB", BYTES("\x81\xa1k\xc9\xff\xff\xff\xff\x01"), "bad_encoding"},
    {"deep", BYTES("\x81\xa1k\x91\x91\x91\x91\x91\x91\x91\x91\xc0"), "too_deep"},
    {"garbage", BYTES("GET / HTTP/1.1\r\n\r\n"), "not_a_map"},
};

static void bombs_cost_nothing(void **state)
{
    (void)state;
    struct message_decoder *d = message_decoder_new(APP);
    struct message m;
    struct message_fault fault;
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        size_t before = allocated;
        bool good = message_decode(d, (const uint8_t *)bombs[i].bytes, bombs[i].len, &m, &fault);
        assert_int_equal(allocated, before);
        assert_false(good);
        assert_string_equal(fault.code, bombs[i].code);
    }
    message_decoder_free(d);
}

static void a_megabyte_of_nils_costs_nothing(void **state)
{
    (void)state;
    struct message_decoder *d = message_decoder_new(APP);
    struct message m;
    struct message_fault fault;
    uint8_t *bytes = malloc(MESSAGE_MAX_FRAME);
    memset(bytes, 0xc0, MESSAGE_MAX_FRAME);
    memcpy(bytes, "\x81\xa1k\xdd\x00\x0f\xff\xf8", 8);
    size_t before = allocated;
    assert_false(message_decode(d, bytes, MESSAGE_MAX_FRAME, &m, &fault));
    assert_int_equal(allocated, before);
    assert_string_equal(fault.code, "too_many_elements");
    free(bytes);
    message_decoder_free(d);
}

static void ordinary_messages_ask_for_no_memory(void **state)
{
    (void)state;
    struct message_decoder *d = message_decoder_new(APP);
    uint8_t bytes[512];
    size_t before = allocated;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct message m;
        struct message_fault fault;
        size_t len = message_encode(&samples[i], bytes, sizeof bytes);
        assert_true(message_decode(d, bytes, len, &m, &fault));
    }
    assert_int_equal(allocated, before);
#ifndef SANITIZED
    free(malloc(1));
    assert_true(allocated > before); /* the counter does count */
#endif
    message_decoder_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field),
        cmocka_unit_test(fault_names_the_stream),
        cmocka_unit_test(every_type_goes_round),
        cmocka_unit_test(absent_fields_get_their_defaults),
        cmocka_unit_test(too_small_a_buffer_is_never_overrun),
        cmocka_unit_test(head_ends_before_the_value_of_data),
        cmocka_unit_test(scope_goes_round),
        cmocka_unit_test(largest_scope_is_taken),
        cmocka_unit_test(path_is_decoded_and_repaired),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_changed_byte_is_survived),
        cmocka_unit_test(bombs_cost_nothing),
        cmocka_unit_test(a_megabyte_of_nils_costs_nothing),
        cmocka_unit_test(ordinary_messages_ask_for_no_memory),
    };
    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
