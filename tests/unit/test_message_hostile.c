/*
 * message: hostile frames are refused without memory being asked for, and every truncation and
 * every changed byte of good frames is survived.
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

#define BYTES(text) (text), sizeof(text) - 1

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
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_changed_byte_is_survived),
        cmocka_unit_test(bombs_cost_nothing),
        cmocka_unit_test(a_megabyte_of_nils_costs_nothing),
        cmocka_unit_test(ordinary_messages_ask_for_no_memory),
    };
    return cmocka_run_group_tests_name("message_hostile", tests, NULL, NULL);
}
