/*
 * scan: one row per way in which a frame can be wrong, then every truncation and every single byte
 * changed, which must never read beyond the frame (ASan sees to that) nor take what msgpack would
 * not.
 */
#include "protocol/scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct scan_limits limits = {8, 64, 1024};

#define BYTES(text) (text), sizeof(text) - 1

static const struct row {
    const char *what;
    const char *bytes;
    size_t len;
    enum scan_result result;
} rows[] = {
    {"an empty map", BYTES("\x80"), SCAN_OK},
    {"one key", BYTES("\x81\xa1k\x01"), SCAN_OK},
    {"map16, map32", BYTES("\xde\x00\x01\xa1k\xdf\x00\x00\x00\x00"), SCAN_OK},
    {"every number",
     BYTES("\x8b\xa1"
           "a\xcc\xff\xa1"
           "b\xcd\xff\xff\xa1"
           "c\xce\xff\xff\xff\xff\xa1"
           "d\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1"
           "e\xd0\xff\xa1"
           "f\xd1\xff\xff\xa1"
           "g\xd2\xff\xff\xff\xff\xa1"
           "h\xd3\xff\xff\xff\xff\xff\xff\xff\xff\xa1"
           "i\xca\x00\x00\x00\x00\xa1"
           "j\xcb\x00\x00\x00\x00\x00\x00\x00\x00\xa1"
           "k\xe0"),
     SCAN_OK},
    {"every length",
     BYTES("\x8b\xa1"
           "a\xc4\x01x\xa1"
           "b\xc5\x00\x01x\xa1"
           "c\xc6\x00\x00\x00\x01x\xa1"
           "d\xd9\x01x\xa1"
           "e\xda\x00\x01x\xa1"
           "f\xdb\x00\x00\x00\x01x\xa1"
           "g\xc7\x01\x05x\xa1"
           "h\xc8\x00\x01\x05x\xa1"
           "i\xc9\x00\x00\x00\x01\x05x\xa1"
           "j\xdc\x00\x01\xc0\xa1"
           "k\xdd\x00\x00\x00\x01\xc0"),
     SCAN_OK},
    {"every fixext",
     BYTES("\x85\xa1"
           "a\xd4\x01x\xa1"
           "b\xd5\x01xx\xa1"
           "c\xd6\x01xxxx\xa1"
           "d\xd7\x01xxxxxxxx\xa1"
           "e\xd8\x01xxxxxxxxxxxxxxxx"),
     SCAN_OK},
    {"depth 8", BYTES("\x81\xa1k\x91\x91\x91\x91\x91\x91\x91\x01"), SCAN_OK},
    {"keys of any kind further in", BYTES("\x81\xa1k\x82\x01\x02\x01\x02"), SCAN_OK},

    {"no byte", BYTES(""), SCAN_TRUNCATED},
    {"a map without its key", BYTES("\x81"), SCAN_TRUNCATED},
    {"a map without its value", BYTES("\x81\xa1k"), SCAN_TRUNCATED},
    {"a str cut off", BYTES("\x81\xa5type"), SCAN_TRUNCATED},
    {"a length cut off", BYTES("\x81\xa1k\xc6\x00\x00"), SCAN_TRUNCATED},
    {"a bin of 4 GiB", BYTES("\x81\xa1k\xc6\xff\xff\xff\xff"), SCAN_TRUNCATED},
    {"an ext of 4 GiB", BYTES("\x81\xa1k\xc9\xff\xff\xff\xff\x01"), SCAN_TRUNCATED},
    {"a number cut off", BYTES("\x81\xa1k\xcf\x00"), SCAN_TRUNCATED},
    {"a fixext cut off", BYTES("\x81\xa1k\xd8\x01x"), SCAN_TRUNCATED},
    {"c1", BYTES("\x81\xa1k\xc1"), SCAN_BAD_BYTE},
    {"c1 alone", BYTES("\xc1"), SCAN_BAD_BYTE},
    {"a second map", BYTES("\x80\x80"), SCAN_TRAILING},
    {"an array", BYTES("\x90"), SCAN_NOT_A_MAP},
    {"nil", BYTES("\xc0"), SCAN_NOT_A_MAP},
    {"a number", BYTES("\x05"), SCAN_NOT_A_MAP},
    {"a str", BYTES("\xa1k"), SCAN_NOT_A_MAP},
    {"depth 9", BYTES("\x81\xa1k\x91\x91\x91\x91\x91\x91\x91\x91\x01"), SCAN_TOO_DEEP},
    {"an array of 16 million", BYTES("\x81\xa1k\xdd\x01\x00\x00\x00"), SCAN_TOO_MANY},
    {"a map of 4 billion", BYTES("\xdf\xff\xff\xff\xff\xc0"), SCAN_TOO_MANY},
    {"65 keys", BYTES("\xde\x00\x41\xa1k\x01"), SCAN_TOO_MANY},
    {"a number as key", BYTES("\x81\x01\x02"), SCAN_KEY_NOT_TEXT},
    {"a bin as key", BYTES("\x81\xc4\x01k\x02"), SCAN_KEY_NOT_TEXT},
    {"a map as key", BYTES("\x81\x80\x02"), SCAN_KEY_NOT_TEXT},
    {"a key twice", BYTES("\x82\xa1k\x01\xa1k\x02"), SCAN_DUPLICATE_KEY},
    {"a key twice, encoded differently", BYTES("\x82\xa1k\x01\xd9\x01k\x02"), SCAN_DUPLICATE_KEY},
    {"the empty key twice", BYTES("\x82\xa0\x01\xa0\x02"), SCAN_DUPLICATE_KEY},
};

/* From memory of exactly that size, so that reading one byte more is seen. */
static enum scan_result scan_copy(const void *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    if (len > 0)
        memcpy(copy, bytes, len);
    struct scan_report report;
    enum scan_result result = scan_frame(copy, len, &limits, &report);
    assert_true(report.offset <= len);
    free(copy);
    return result;
}

static void every_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum scan_result result = scan_copy(rows[i].bytes, rows[i].len);
        if (result != rows[i].result)
            fail_msg("%s: result %d, expected %d", rows[i].what, result, rows[i].result);
    }
}

static void every_truncation(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t len = 0; rows[i].result == SCAN_OK && len < rows[i].len; len++)
            assert_int_equal(scan_copy(rows[i].bytes, len), SCAN_TRUNCATED);
}

static void every_byte_changed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t at = 0; at < rows[i].len; at++)
            for (unsigned value = 0; value < 256; value++) {
                char bytes[256];
                memcpy(bytes, rows[i].bytes, rows[i].len);
                bytes[at] = (char)value;
                scan_copy(bytes, rows[i].len);
            }
}

static void elements_are_counted_over_all_levels(void **state)
{
    (void)state;
    /* {"k": [[...], [...]]}: 2 + 2 + 510 + 510 elements are 1,024; then one more. */
    uint8_t frame[4 + 3 + 510 + 3 + 511] = "\x81\xa1k\x92\xdc\x01\xfe";
    uint8_t *second = frame + 7 + 510;
    memcpy(second, "\xdc\x01\xfe", 3);
    assert_int_equal(scan_copy(frame, sizeof frame - 1), SCAN_OK);
    memcpy(second, "\xdc\x01\xff", 3);
    assert_int_equal(scan_copy(frame, sizeof frame), SCAN_TOO_MANY);
}

static void many_keys_are_taken(void **state)
{
    (void)state;
    uint8_t frame[3 + 64 * 3] = "\xde\x00\x40";
    for (unsigned i = 0; i < 64; i++)
        memcpy(frame + 3 + 3 * i, (uint8_t[]){0xa1, (uint8_t)(' ' + i), 0xc0}, 3);
    assert_int_equal(scan_copy(frame, sizeof frame), SCAN_OK);
    frame[4 + 3 * 63] = ' ';
    assert_int_equal(scan_copy(frame, sizeof frame), SCAN_DUPLICATE_KEY);
}

static void bombs_are_refused_at_once(void **state)
{
    (void)state;
    size_t len = 1 << 20;
    uint8_t *frame = malloc(len);
    struct scan_report report;
    memset(frame, 0x91, len);
    frame[0] = 0x81;
    frame[1] = 0xa0;
    assert_int_equal(scan_frame(frame, len, &limits, &report), SCAN_TOO_DEEP);
    assert_true(report.offset < 16);
    memset(frame, 0xc0, len);
    memcpy(frame, "\x81\xa0\xdd\x00\x0f\xff\xf9", 7);
    assert_int_equal(scan_frame(frame, len, &limits, &report), SCAN_TOO_MANY);
    assert_true(report.offset < 16);
    free(frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(every_byte_changed),
        cmocka_unit_test(elements_are_counted_over_all_levels),
        cmocka_unit_test(many_keys_are_taken),
        cmocka_unit_test(bombs_are_refused_at_once),
    };
    return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
