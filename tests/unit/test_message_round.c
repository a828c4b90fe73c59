/*
 * message: what is encoded is decoded to the same, for every type and for the scope.
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

#include "message_samples.h"

static void assert_bytes_equal(const void *a, size_t a_len, const void *b, size_t b_len)
{
    assert_int_equal(a_len, b_len);
    if (a_len > 0)
        assert_memory_equal(a, b, a_len);
}

static void assert_same_uint(struct message_uint a, struct message_uint b)
{
    assert_int_equal(a.set, b.set);
    if (a.set)
        assert_true(a.value == b.value);
}

static void assert_messages_equal(const struct message *a, const struct message *b)
{
    assert_int_equal(a->type, b->type);
    assert_same_uint(a->stream_id, b->stream_id);
    assert_same_uint(a->code, b->code);
    assert_same_uint(a->limit, b->limit);
    assert_same_uint(a->max_size, b->max_size);
    assert_same_uint(a->deadline_ms, b->deadline_ms);
    assert_same_uint(a->count, b->count);
    assert_same_uint(a->status, b->status);
    assert_same_uint(a->receive_window, b->receive_window);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_goes_round),
        cmocka_unit_test(too_small_a_buffer_is_never_overrun),
        cmocka_unit_test(head_ends_before_the_value_of_data),
        cmocka_unit_test(scope_goes_round),
        cmocka_unit_test(largest_scope_is_taken),
        cmocka_unit_test(path_is_decoded_and_repaired),
    };
    return cmocka_run_group_tests_name("message_round", tests, NULL, NULL);
}
