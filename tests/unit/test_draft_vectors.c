/*
 * Bytes of WebTransport over HTTP/3 as the drafts have them and as clients send them, against the
 * small codecs of the front. What needs a connection is in tests/wire/test_draft_vectors.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/varint.h"
#include "cmocka_all.h"
#include "front/capsule.h"
#include "front/h3_settings.h"
#include "front/wt_code.h"

#define SIZE 2048

static size_t unhex(const char *hex, uint8_t *to)
{
    size_t n = strlen(hex) / 2;
    assert_true(n <= SIZE);
    for (size_t i = 0; i < n; i++)
        sscanf(hex + 2 * i, "%2hhx", &to[i]);
    return n;
}

/* All of hex is this integer, in as few bytes as can be. */
static void check_varint(uint64_t value, const char *hex)
{
    uint8_t bytes[SIZE], to[VARINT_SIZE_MAX];
    size_t len = unhex(hex, bytes);
    uint64_t got;
    assert_int_equal(varint_read(&got, bytes, len), len);
    assert_int_equal(got, value);
    assert_int_equal(varint_write(to, value), len);
    assert_memory_equal(to, bytes, len);
}

static void varints(void **state)
{
    (void)state;
    static const struct {
        uint64_t value;
        const char *hex;
    } rows[] = {
        {0x0, "00"},
        {0x33, "33"},
        {0x41, "4041"},
        {0x54, "4054"},
        {0x2b61, "6b61"},
        {0x2b64, "6b64"},
        {0x2b65, "6b65"},
        {0x2843, "6843"},
        {0x78ae, "800078ae"},
        {0xffd277, "80ffd277"},
        {0x2b603742, "ab603742"},
        {0x2b603743, "ab603743"},
        {0x14e9cd29, "94e9cd29"},
        {0x2c7cf000, "ac7cf000"},
        {0x3c48d522, "bc48d522"},
        {0xc671706a, "c0000000c671706a"},
        {0x190b4d3d, "990b4d3d"},
        {0x190b4d3f, "990b4d3f"},
        {0x190b4d40, "990b4d40"},
        {0x190b4d41, "990b4d41"},
        {0x190b4d43, "990b4d43"},
        {0x190b4d44, "990b4d44"},
        {0x1d, "1d"},
        {0x17f7586d2cb571, "c017f7586d2cb571"},
        {0x24, "24"},
        {0x1000000000000000, "d000000000000000"},
        {0x3fffffffffffffff, "ffffffffffffffff"},
        {0x3ffffffffffffffc, "fffffffffffffffc"},
        {0x3994bd84, "b994bd84"},
        {0x170d7b68, "970d7b68"},
        {0x45d4487, "845d4487"},
        {0x817b3dd, "8817b3dd"},
        {0x212c0d48, "a12c0d48"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check_varint(rows[i].value, rows[i].hex);
}

static void any_length_of_a_varint_is_read(void **state)
{
    (void)state;
    uint8_t bytes[SIZE];
    uint64_t value = 1;
    assert_int_equal(varint_read(&value, bytes, unhex("c000000000000041", bytes)), 8);
    assert_int_equal(value, 0x41);
    assert_int_equal(varint_read(&value, bytes, unhex("80000000", bytes)), 4);
    assert_int_equal(value, 0);
}

/* Two integers, one after the other, are all of hex. */
static void check_pair(uint64_t first, uint64_t second, const char *hex)
{
    uint8_t bytes[SIZE], to[2 * VARINT_SIZE_MAX];
    size_t len = unhex(hex, bytes), n = varint_write(to, first);
    n += varint_write(to + n, second);
    assert_int_equal(n, len);
    assert_memory_equal(to, bytes, len);
}

static void stream_headers(void **state)
{
    (void)state;
    static const struct {
        uint64_t session;
        const char *bidi, *uni;
    } rows[] = {
        {0, "404100", "405400"},
        {4, "404104", "405404"},
        {64, "40414040", "40544040"},
        {256, "40414100", "40544100"},
        {262144, "404180040000", "405480040000"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check_pair(0x41, rows[i].session, rows[i].bidi);
        check_pair(0x54, rows[i].session, rows[i].uni);
    }
}

static void error_codes(void **state)
{
    (void)state;
    static const struct {
        uint32_t code;
        uint64_t wire;
        const char *hex;
    } rows[] = {
        {0x0, 0x52e4a40fa8db, "c00052e4a40fa8db"},
        {0x1, 0x52e4a40fa8dc, "c00052e4a40fa8dc"},
        {0x1c, 0x52e4a40fa8f7, "c00052e4a40fa8f7"},
        {0x1d, 0x52e4a40fa8f8, "c00052e4a40fa8f8"},
        {0x1e, 0x52e4a40fa8fa, "c00052e4a40fa8fa"},
        {0x1f, 0x52e4a40fa8fb, "c00052e4a40fa8fb"},
        {0x3b, 0x52e4a40fa917, "c00052e4a40fa917"},
        {0x3c, 0x52e4a40fa919, "c00052e4a40fa919"},
        {0x3d, 0x52e4a40fa91a, "c00052e4a40fa91a"},
        {0xfe, 0x52e4a40fa9e1, "c00052e4a40fa9e1"},
        {0xff, 0x52e4a40fa9e2, "c00052e4a40fa9e2"},
        {0x100, 0x52e4a40fa9e3, "c00052e4a40fa9e3"},
        {0x2a, 0x52e4a40fa906, "c00052e4a40fa906"},
        {0xffff, 0x52e4a410b162, "c00052e4a410b162"},
        {0x7fffffff, 0x52e52853ed1e, "c00052e52853ed1e"},
        {0x80000000, 0x52e52853ed1f, "c00052e52853ed1f"},
        {0xfffffffe, 0x52e5ac983161, "c00052e5ac983161"},
        {0xffffffff, 0x52e5ac983162, "c00052e5ac983162"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct wt_code back = wt_code_from_wire(rows[i].wire);
        assert_int_equal(wt_code_to_wire(rows[i].code), rows[i].wire);
        assert_true(back.known);
        assert_int_equal(back.value, rows[i].code);
        check_varint(rows[i].wire, rows[i].hex);
    }
    /* reserved, below the first, above the last */
    static const uint64_t none[] = {0x52e4a40fa8f9, 0x52e4a40fa918, 0x52e4a40fa937, 0x52e4a40fa8da,
                                    0x52e5ac983163};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_false(wt_code_from_wire(none[i]).known);
}

/* The frame's payload is the capsule, and all of it. */
static void check_framed(const uint8_t *capsule, size_t len, const char *hex)
{
    uint8_t frame[SIZE];
    size_t frame_len = unhex(hex, frame);
    uint64_t type, length;
    size_t a = varint_read(&type, frame, frame_len);
    size_t b = varint_read(&length, frame + a, frame_len - a);
    assert_true(a && b);
    assert_int_equal(type, 0); /* DATA */
    assert_int_equal(length, len);
    assert_int_equal(a + b + len, frame_len);
    assert_memory_equal(frame + a + b, capsule, len);
}

static enum capsule_result read_capsule(const uint8_t *bytes, size_t len, struct capsule *c)
{
    static struct capsule_reader reader;
    memset(&reader, 0, sizeof(reader));
    enum capsule_result result = capsule_read(&reader, &bytes, &len, c);
    assert_true(result == CAPSULE_BAD || len == 0);
    assert_true(result == CAPSULE_BAD || !capsule_is_partial(&reader));
    return result;
}

static void check_close(const char *hex, const char *framed, uint32_t code, const char *reason)
{
    uint8_t bytes[SIZE], to[SIZE];
    size_t len = unhex(hex, bytes), got_len;
    struct capsule c;
    uint32_t got_code;
    const char *got;
    check_framed(bytes, len, framed);
    assert_int_equal(read_capsule(bytes, len, &c), CAPSULE_WHOLE);
    assert_int_equal(c.type, CAPSULE_CLOSE);
    assert_true(capsule_read_close(&c, &got_code, &got, &got_len));
    assert_int_equal(got_code, code);
    assert_int_equal(got_len, strlen(reason));
    assert_memory_equal(got, reason, got_len);
    assert_int_equal(capsule_write_close(to, code, reason, strlen(reason)), len);
    assert_memory_equal(to, bytes, len);
}

static char *append_as(char *to, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to += sprintf(to, "61");
    return to;
}

static void closes(void **state)
{
    (void)state;
    static char capsule[2 * SIZE + 1], framed[2 * SIZE + 1], reason[1025];
    check_close("68430400000000", "000768430400000000", 0, "");
    check_close("68430700000007627965", "000a68430700000007627965", 7, "bye");
    check_close("684306ffffffffc3a9", "0009684306ffffffffc3a9", 0xffffffff, "\xc3\xa9");
    append_as(capsule + sprintf(capsule, "6843440400000000"), 1024);
    append_as(framed + sprintf(framed, "0044086843440400000000"), 1024);
    memset(reason, 'a', 1024);
    check_close(capsule, framed, 0, reason);
}

static void closes_that_are_none(void **state)
{
    (void)state;
    static char capsule[2 * SIZE + 1], framed[2 * SIZE + 1];
    uint8_t bytes[SIZE];
    struct capsule c;
    append_as(capsule + sprintf(capsule, "6843440500000000"), 1025);
    append_as(framed + sprintf(framed, "0044096843440500000000"), 1025);
    size_t len = unhex(capsule, bytes);
    check_framed(bytes, len, framed);
    assert_int_equal(read_capsule(bytes, len, &c), CAPSULE_BAD);
    len = unhex("684303000000", bytes);
    check_framed(bytes, len, "0006684303000000");
    assert_int_equal(read_capsule(bytes, len, &c), CAPSULE_BAD);
}

static void drain_and_datagram(void **state)
{
    (void)state;
    uint8_t bytes[SIZE], to[CAPSULE_HEAD_MAX];
    struct capsule c;
    size_t len = unhex("800078ae00", bytes);
    check_framed(bytes, len, "0005800078ae00");
    assert_int_equal(read_capsule(bytes, len, &c), CAPSULE_WHOLE);
    assert_int_equal(c.type, CAPSULE_DRAIN);
    assert_int_equal(capsule_write_drain(to), len);
    assert_memory_equal(to, bytes, len);
    len = unhex("00026869", bytes);
    check_framed(bytes, len, "000400026869");
    assert_int_equal(read_capsule(bytes, len, &c), CAPSULE_WHOLE);
    assert_int_equal(c.type, CAPSULE_DATAGRAM);
    assert_int_equal(c.len, 2);
    assert_memory_equal(c.payload, "hi", 2);
}

static void capsules_of_others_are_skipped(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"404000", "0003404000"},                         /* GREASE */
        {"1703616263", "00051703616263"},                 /* GREASE */
        {"80ff37a200", "000580ff37a200"},                 /* REGISTER_DATAGRAM_NO_CONTEXT */
        {"990b4d450407627965", "0009990b4d450407627965"}, /* a close of one implementation's own */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t bytes[SIZE];
        struct capsule c;
        size_t len = unhex(rows[i][0], bytes);
        check_framed(bytes, len, rows[i][1]);
        assert_int_equal(read_capsule(bytes, len, &c), CAPSULE_NONE);
    }
}

/* The bytes; what they do depends on the session. */
static void flow_control_capsules(void **state)
{
    (void)state;
    static const struct {
        uint64_t type, first, second; /* second: UINT64_MAX for none */
        const char *hex, *framed;
    } rows[] = {
        {0x190b4d3d, 8 << 20, UINT64_MAX, "990b4d3d0480800000", "0009990b4d3d0480800000"},
        {0x190b4d3d, VARINT_MAX, UINT64_MAX, "990b4d3d08ffffffffffffffff",
         "000d990b4d3d08ffffffffffffffff"},
        {0x190b4d3f, 100, UINT64_MAX, "990b4d3f024064", "0007990b4d3f024064"},
        {0x190b4d40, 100, UINT64_MAX, "990b4d40024064", "0007990b4d40024064"},
        {0x190b4d3f, UINT64_C(1) << 60, UINT64_MAX, "990b4d3f08d000000000000000",
         "000d990b4d3f08d000000000000000"},
        {0x190b4d3f, (UINT64_C(1) << 60) + 1, UINT64_MAX, "990b4d3f08d000000000000001",
         "000d990b4d3f08d000000000000001"},
        {0x190b4d41, 0, UINT64_MAX, "990b4d410100", "0006990b4d410100"},
        {0x190b4d43, 0, UINT64_MAX, "990b4d430100", "0006990b4d430100"},
        {0x190b4d44, 0, UINT64_MAX, "990b4d440100", "0006990b4d440100"},
        {0x190b4d3e, 4, 100, "990b4d3e03044064", "0008990b4d3e03044064"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t bytes[SIZE], to[4 * VARINT_SIZE_MAX], value[2 * VARINT_SIZE_MAX];
        size_t len = unhex(rows[i].hex, bytes), value_len = varint_write(value, rows[i].first);
        if (rows[i].second != UINT64_MAX)
            value_len += varint_write(value + value_len, rows[i].second);
        size_t n = varint_write(to, rows[i].type);
        n += varint_write(to + n, value_len);
        memcpy(to + n, value, value_len);
        assert_int_equal(n + value_len, len);
        assert_memory_equal(to, bytes, len);
        check_framed(bytes, len, rows[i].framed);
    }
}

static enum h3_settings_state read_settings(const char *hex, struct h3_settings *out)
{
    static struct h3_settings_reader reader;
    uint8_t bytes[SIZE];
    size_t len = unhex(hex, bytes);
    memset(&reader, 0, sizeof(reader));
    assert_int_equal(bytes[0], 0); /* a control stream */
    return h3_settings_read(&reader, bytes + 1, len - 1, out);
}

static void settings_of_clients_and_servers(void **state)
{
    (void)state;
    enum { D02 = 1, D07 = 2, D14 = 4, D15 = 8, CONNECT = 16 };
    static const struct {
        const char *who, *hex;
        unsigned says;
    } rows[] = {
        {"Chrome", "00041901800100000680004000074064330180ffd27701ab60374201", D02},
        {"Chrome 114",
         "00042501800100000680004000074064330180ffd27701ab60374201c000000108fab0e19b197a7b", D02},
        {"Chrome, its draft-07 switched on",
         "00042201800100000680004000074064330180ffd27701ab60374201c0000000c671706a10", D02 | D07},
        {"Firefox", "00041501800100000714ab6037420180ffd2770133010801", D02 | CONNECT},
        {"Safari 26.4",
         "00042d017fff0740643301c000001d1e6bb27c00c0000000c671706a0194e9cd29016b61808000006b6440646"
         "b654064",
         D07 | D14},
        {"webtransport-go 0.12", "0004073301ac7cf00001", D15},
        {"wtransport", "0004160100070008013301ab60374201c0000000c671706a01", D02 | D07 | CONNECT},
        {"web-transport-quinn", "00041c0801330180ffd27701c0000000c671706a01ab60374301ab60374201",
         D02 | D07 | CONNECT},
        {"aioquic", "0004100150000710080121013301ab60374201", D02 | CONNECT},
        {"pywebtransport",
         "000423018001000006800100000710080133016b6180a000006b6440646b654064ac7cf00001",
         D15 | CONNECT},
        {"proxygen", "000413080180ffd277013301ab6037420194e9cd2901", D02 | D14 | CONNECT},
        {"fails-components",
         "00042201800100000680004000074064330180ffd27701ab60374201c0000000c671706a10", D02 | D07},
        {"a server of profile A",
         "00041d0150000740640801330180ffd27701ab60374201c0000000c671706a01", D02 | D07 | CONNECT},
        {"a server of profile A+",
         "0004220150000740640801330180ffd27701ab60374201c0000000c671706a01ac7cf00001",
         D02 | D07 | D15 | CONNECT},
        {"a server of profile B",
         "00042c0150000740640801330180ffd27701ab60374201ac7cf0000194e9cd29106b61810000006b6440646b6"
         "54064",
         D02 | D14 | D15 | CONNECT},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct h3_settings got;
        if (read_settings(rows[i].hex, &got) != H3_SETTINGS_WHOLE)
            fail_msg("%s is not read", rows[i].who);
        unsigned says = (got.wt_draft02 ? D02 : 0) | (got.wt_draft07 ? D07 : 0) |
                        (got.wt_draft14 ? D14 : 0) | (got.wt_draft15 ? D15 : 0) |
                        (got.connect_protocol ? CONNECT : 0);
        if (says != rows[i].says || !got.datagrams)
            fail_msg("%s: %#x, expected %#x", rows[i].who, says, rows[i].says);
    }
}

static void settings_that_are_none(void **state)
{
    (void)state;
    static const char *const rows[] = {"00040433013301", "0004020200", "000405ac7cf00002",
                                       "0004023302"};
    struct h3_settings got;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (read_settings(rows[i], &got) != H3_SETTINGS_BAD)
            fail_msg("%s is taken", rows[i]);
}

/* A frame of QUIC: its type and fields are all integers. */
static void check_frame(const char *hex, size_t count, const uint64_t *fields)
{
    uint8_t bytes[SIZE];
    size_t len = unhex(hex, bytes), at = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t got;
        size_t n = varint_read(&got, bytes + at, len - at);
        assert_true(n > 0);
        assert_int_equal(got, fields[i]);
        at += n;
    }
    assert_int_equal(at, len);
}

static void frames_of_quic_carry_mapped_codes(void **state)
{
    (void)state;
    check_frame("0407c00052e4a40fa8db0a", 4, (uint64_t[]){0x04, 7, wt_code_to_wire(0), 10});
    check_frame("2407c00052e4a40fa8db0a03", 5, (uint64_t[]){0x24, 7, wt_code_to_wire(0), 10, 3});
    check_frame("0504c00052e4a40fa8dc", 3, (uint64_t[]){0x05, 4, wt_code_to_wire(1)});
    /* transport parameters: id, length, value */
    check_frame("1d00", 2, (uint64_t[]){0x1d, 0});
    check_frame("c017f7586d2cb57100", 2, (uint64_t[]){0x17f7586d2cb571, 0});
    check_frame("20048000ffff", 3, (uint64_t[]){0x20, 4, 65535});
}

/* Session 0, label "lbl", context "ctx". Sluice has no exporter; one implementation writes the
 * session as an integer of QUIC, the draft as eight bytes. */
static void exporter_contexts(void **state)
{
    (void)state;
    uint8_t bytes[SIZE];
    static const uint8_t rest[] = "\3lbl\3ctx";
    size_t len = unhex("0000000000000000036c626c03637478", bytes);
    assert_int_equal(len, 8 + sizeof(rest) - 1);
    assert_memory_equal(bytes + 8, rest, sizeof(rest) - 1);
    len = unhex("00036c626c03637478", bytes);
    assert_int_equal(len, 1 + sizeof(rest) - 1);
    assert_memory_equal(bytes + 1, rest, sizeof(rest) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints),
        cmocka_unit_test(any_length_of_a_varint_is_read),
        cmocka_unit_test(stream_headers),
        cmocka_unit_test(error_codes),
        cmocka_unit_test(closes),
        cmocka_unit_test(closes_that_are_none),
        cmocka_unit_test(drain_and_datagram),
        cmocka_unit_test(capsules_of_others_are_skipped),
        cmocka_unit_test(flow_control_capsules),
        cmocka_unit_test(settings_of_clients_and_servers),
        cmocka_unit_test(settings_that_are_none),
        cmocka_unit_test(frames_of_quic_carry_mapped_codes),
        cmocka_unit_test(exporter_contexts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
