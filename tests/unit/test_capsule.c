/*
 * Tests of capsule, wt_code and h3_settings: bytes in and out, however they are cut.
 */
#include <stdio.h>
#include <string.h>

#include "base/varint.h"
#include "cmocka_all.h"
#include "front/capsule.h"
#include "front/h3_settings.h"
#include "front/wt_code.h"

static size_t unhex(const char *hex, uint8_t *to)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++)
        sscanf(hex + 2 * i, "%2hhx", &to[i]);
    return n;
}

/* Feeds hex in pieces of step bytes; returns the number of whole capsules, -1 for a bad one. The
 * last whole one is described in out. */
static int read_all(const char *hex, size_t step, struct capsule *out)
{
    struct capsule_reader reader = {0};
    uint8_t bytes[4096];
    size_t len = unhex(hex, bytes);
    int whole = 0;
    for (size_t at = 0; at < len; at += step) {
        const uint8_t *data = bytes + at;
        size_t left = at + step <= len ? step : len - at;
        for (;;) {
            enum capsule_result r = capsule_read(&reader, &data, &left, out);
            if (r == CAPSULE_BAD)
                return -1;
            if (r == CAPSULE_NONE)
                break;
            whole++;
        }
    }
    return capsule_is_partial(&reader) ? -2 : whole;
}

static void close_comes_whole_however_cut(void **state)
{
    (void)state;
    for (size_t step = 1; step <= 11; step++) {
        static struct capsule_reader reader;
        memset(&reader, 0, sizeof(reader));
        uint8_t bytes[32];
        size_t len = unhex("68430700000007627965", bytes);
        struct capsule c;
        uint32_t code = 0;
        const char *reason = NULL;
        size_t reason_len = 0;
        int whole = 0;
        for (size_t at = 0; at < len; at += step) {
            const uint8_t *data = bytes + at;
            size_t left = at + step <= len ? step : len - at;
            if (capsule_read(&reader, &data, &left, &c) == CAPSULE_WHOLE) {
                whole++;
                assert_true(capsule_read_close(&c, &code, &reason, &reason_len));
                assert_int_equal(code, 7);
                assert_int_equal(reason_len, 3);
                assert_memory_equal(reason, "bye", 3);
            }
        }
        assert_int_equal(whole, 1);
    }
}

static void unknown_and_grease_are_skipped(void **state)
{
    (void)state;
    struct capsule c;
    for (size_t step = 1; step < 20; step++) {
        /* GREASE 0x40, GREASE 0x17 with three bytes, one above those of flow control, DRAIN,
         * CLOSE(0, "") */
        assert_int_equal(read_all("404000"
                                  "1703616263"
                                  "990b4d450480800000"
                                  "800078ae00"
                                  "68430400000000",
                                  step, &c),
                         2);
        assert_int_equal(c.type, CAPSULE_CLOSE);
    }
}

static void flow_control_is_read_and_written(void **state)
{
    static const struct {
        const char *hex;
        uint64_t type, number;
    } rows[] = {
        {"990b4d3d0480800000", CAPSULE_MAX_DATA, 8 << 20},
        {"990b4d3d08ffffffffffffffff", CAPSULE_MAX_DATA, VARINT_MAX},
        {"990b4d3f024064", CAPSULE_MAX_STREAMS_BIDI, 100},
        {"990b4d40024064", CAPSULE_MAX_STREAMS_UNI, 100},
        {"990b4d3f08d000000000000000", CAPSULE_MAX_STREAMS_BIDI, UINT64_C(1) << 60},
        {"990b4d410100", CAPSULE_DATA_BLOCKED, 0},
        {"990b4d430100", CAPSULE_STREAMS_BLOCKED_BIDI, 0},
        {"990b4d440100", CAPSULE_STREAMS_BLOCKED_UNI, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t to[CAPSULE_HEAD_MAX + 8], want[64];
        struct capsule c;
        uint64_t number;
        for (size_t step = 1; step < 16; step++) {
            assert_int_equal(read_all(rows[i].hex, step, &c), 1);
            assert_int_equal(c.type, rows[i].type);
        }
        size_t len = unhex(rows[i].hex, want);
        c.payload = want + 5;
        assert_true(capsule_is_flow(c.type));
        assert_true(capsule_read_number(&c, &number));
        assert_int_equal(number, rows[i].number);
        c.len--; /* cut, or nothing at all */
        assert_false(capsule_read_number(&c, &number));
        c.len += 2; /* something after it */
        assert_false(capsule_read_number(&c, &number));
        assert_int_equal(capsule_write_number(to, rows[i].type, rows[i].number), len);
        assert_memory_equal(to, want, len);
    }
    assert_false(capsule_is_flow(CAPSULE_CLOSE));
    assert_false(capsule_is_flow(0x190b4d3c));
    assert_false(capsule_is_flow(0x190b4d45));
}

static void illegal_lengths_are_refused(void **state)
{
    (void)state;
    struct capsule c;
    assert_int_equal(read_all("684303000000", 1, &c), -1); /* CLOSE of 3 bytes */
    assert_int_equal(read_all("68434405", 1, &c), -1);     /* CLOSE with a reason of 1025 */
    assert_int_equal(read_all("800078ae0100", 1, &c), -1); /* DRAIN with a payload */
    assert_int_equal(read_all("6843ffffffffffffffff", 1, &c), -1);
    assert_int_equal(read_all("990b4d3d11", 1, &c), -1);   /* MAX_DATA of 17 bytes */
    assert_int_equal(read_all("684304000000", 1, &c), -2); /* cut */
}

static void reason_must_be_utf8(void **state)
{
    (void)state;
    uint8_t payload[] = {0, 0, 0, 1, 0xff};
    struct capsule c = {.type = CAPSULE_CLOSE, .payload = payload, .len = sizeof(payload)};
    uint32_t code;
    const char *reason;
    size_t len;
    assert_false(capsule_read_close(&c, &code, &reason, &len));
}

static void writes_what_the_vectors_say(void **state)
{
    (void)state;
    uint8_t to[64], want[64];
    size_t n = capsule_write_close(to, 0xffffffff, "\xc3\xa9", 2);
    assert_int_equal(n, unhex("684306ffffffffc3a9", want));
    assert_memory_equal(to, want, n);
    n = capsule_write_drain(to);
    assert_int_equal(n, unhex("800078ae00", want));
    assert_memory_equal(to, want, n);
}

static void codes_map_as_the_draft_says(void **state)
{
    (void)state;
    static const struct {
        uint32_t code;
        uint64_t wire;
    } rows[] = {
        {0x0, 0x52e4a40fa8db},        {0x1, 0x52e4a40fa8dc},        {0x1c, 0x52e4a40fa8f7},
        {0x1d, 0x52e4a40fa8f8},       {0x1e, 0x52e4a40fa8fa},       {0x1f, 0x52e4a40fa8fb},
        {0x3b, 0x52e4a40fa917},       {0x3c, 0x52e4a40fa919},       {0x3d, 0x52e4a40fa91a},
        {0xfe, 0x52e4a40fa9e1},       {0xff, 0x52e4a40fa9e2},       {0x100, 0x52e4a40fa9e3},
        {0x2a, 0x52e4a40fa906},       {0xffff, 0x52e4a410b162},     {0x7fffffff, 0x52e52853ed1e},
        {0x80000000, 0x52e52853ed1f}, {0xfffffffe, 0x52e5ac983161}, {0xffffffff, 0x52e5ac983162},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(wt_code_to_wire(rows[i].code), rows[i].wire);
        struct wt_code back = wt_code_from_wire(rows[i].wire);
        assert_true(back.known);
        assert_int_equal(back.value, rows[i].code);
    }
    static const uint64_t none[] = {0x52e4a40fa8da, 0x52e4a40fa8f9, 0x52e4a40fa918,
                                    0x52e4a40fa937, 0x52e5ac983163, 0,
                                    0x170d7b68};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_false(wt_code_from_wire(none[i]).known);
}

static enum h3_settings_state read_settings(const char *hex, size_t step, struct h3_settings *out)
{
    static struct h3_settings_reader reader;
    uint8_t bytes[512];
    size_t len = unhex(hex, bytes);
    enum h3_settings_state state = H3_SETTINGS_MORE;
    memset(&reader, 0, sizeof(reader));
    for (size_t at = 1; at < len; at += step) /* the stream type has been taken off */
        state = h3_settings_read(&reader, bytes + at, at + step <= len ? step : len - at, out);
    return state;
}

static void settings_of_every_client_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *name, *hex;
        struct h3_settings want;
    } rows[] = {
        {"Chrome",
         "00041901800100000680004000074064330180ffd27701ab60374201",
         {.datagrams = true, .wt_draft02 = true}},
        {"pywebtransport",
         "000423018001000006800100000710080133016b6180a000006b6440646b654064ac7cf00001",
         {.datagrams = true,
          .wt_draft15 = true,
          .connect_protocol = true,
          .wt_max_data = 10 << 20,
          .wt_max_streams = {100, 100}}},
        {"Chrome 114",
         "00042501800100000680004000074064330180ffd27701ab60374201c000000108fab0e19b197a7b",
         {.datagrams = true, .wt_draft02 = true}},
        {"Firefox",
         "00041501800100000714ab6037420180ffd2770133010801",
         {.datagrams = true, .wt_draft02 = true, .connect_protocol = true}},
        {"Safari 26.4",
         "00042d017fff0740643301c000001d1e6bb27c00c0000000c671706a0194e9cd29016b61808000006b6440646"
         "b654064",
         {.datagrams = true,
          .wt_draft07 = true,
          .wt_draft14 = true,
          .wt_max_data = 8 << 20,
          .wt_max_streams = {100, 100}}},
        {"webtransport-go 0.12", "0004073301ac7cf00001", {.datagrams = true, .wt_draft15 = true}},
        {"wtransport",
         "0004160100070008013301ab60374201c0000000c671706a01",
         {.datagrams = true, .wt_draft02 = true, .wt_draft07 = true, .connect_protocol = true}},
        {"aioquic",
         "0004100150000710080121013301ab60374201",
         {.datagrams = true, .wt_draft02 = true, .connect_protocol = true}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t step = 1; step < 64; step += 7) {
            struct h3_settings got = {0};
            assert_int_equal(read_settings(rows[i].hex, step, &got), H3_SETTINGS_WHOLE);
            assert_memory_equal(&got, &rows[i].want, sizeof(got));
        }
    }
}

static void bad_settings_are_refused(void **state)
{
    (void)state;
    struct h3_settings got;
    assert_int_equal(read_settings("00040433013301", 1, &got), H3_SETTINGS_BAD); /* twice */
    assert_int_equal(read_settings("0004020200", 1, &got), H3_SETTINGS_BAD);     /* HTTP/2's */
    assert_int_equal(read_settings("000405ac7cf00002", 1, &got), H3_SETTINGS_BAD);
    assert_int_equal(read_settings("0004023302", 1, &got), H3_SETTINGS_BAD);
    assert_int_equal(read_settings("00040133", 1, &got),
                     H3_SETTINGS_CUT); /* an id without a value */
    assert_int_equal(read_settings("0004ffffffffffffffff", 1, &got), H3_SETTINGS_BAD);
    assert_int_equal(read_settings("00070100", 1, &got), H3_SETTINGS_MISSING); /* GOAWAY first */
    assert_int_equal(read_settings("000407330180", 1, &got), H3_SETTINGS_MORE);
}

static void writes_settings(const struct h3_settings_own *own, const char *hex)
{
    uint8_t to[H3_SETTINGS_STREAM_MAX], want[H3_SETTINGS_STREAM_MAX];
    size_t n = h3_settings_write(to, own);
    assert_int_equal(n, unhex(hex, want));
    assert_memory_equal(to, want, n);
}

static void server_settings_are_as_the_vectors_say(void **state)
{
    (void)state;
    writes_settings(&(struct h3_settings_own){.is_server = true}, /* profile A */
                    "00041d0150000740640801330180ffd27701ab60374201c0000000c671706a01");
    writes_settings(&(struct h3_settings_own){.is_server = true, .wt_draft15 = true}, /* A+ */
                    "0004220150000740640801330180ffd27701ab60374201c0000000c671706a01ac7cf00001");
    writes_settings(&(struct h3_settings_own){.is_server = true, /* and limits of sessions */
                                              .wt_draft15 = true,
                                              .wt_max_data = 131072,
                                              .wt_max_streams = {1000, 1001}},
                    "0004300150000740640801330180ffd27701ab60374201c0000000c671706a01ac7cf00001"
                    "6b61800200006b6443e96b6543e8");
    struct h3_settings_own most = {true, true, VARINT_MAX, {VARINT_MAX, VARINT_MAX}};
    uint8_t to[H3_SETTINGS_STREAM_MAX];
    assert_in_range(h3_settings_write(to, &most), 1, sizeof(to));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_comes_whole_however_cut),
        cmocka_unit_test(unknown_and_grease_are_skipped),
        cmocka_unit_test(flow_control_is_read_and_written),
        cmocka_unit_test(illegal_lengths_are_refused),
        cmocka_unit_test(reason_must_be_utf8),
        cmocka_unit_test(writes_what_the_vectors_say),
        cmocka_unit_test(codes_map_as_the_draft_says),
        cmocka_unit_test(settings_of_every_client_are_read),
        cmocka_unit_test(bad_settings_are_refused),
        cmocka_unit_test(server_settings_are_as_the_vectors_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
