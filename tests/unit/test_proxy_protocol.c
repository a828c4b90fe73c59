/*
 * The PROXY protocol, byte by byte as its text lays it out. The expected bytes are written by hand.
 */
#include "cmocka_all.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "back/proxy_protocol.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

enum { GUARD = 0xa5 };

static struct sockaddr_storage v4(const char *address, uint16_t port)
{
    struct sockaddr_storage s = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&s;
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    assert_int_equal(inet_pton(AF_INET, address, &in->sin_addr), 1);
    return s;
}

static struct sockaddr_storage v6(const char *address, uint16_t port)
{
    struct sockaddr_storage s = {0};
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&s;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    in6->sin6_flowinfo = htonl(7); /* of no interest */
    in6->sin6_scope_id = 3;
    assert_int_equal(inet_pton(AF_INET6, address, &in6->sin6_addr), 1);
    return s;
}

static struct proxy_protocol pair(struct sockaddr_storage client, struct sockaddr_storage server)
{
    struct proxy_protocol p = {.client = client, .server = server};
    return p;
}

/* Writes what p is in this version; what lies behind it must not be touched. */
static size_t encode(unsigned version, const struct proxy_protocol *p,
                     uint8_t to[PROXY_PROTOCOL_MAX])
{
    uint8_t large[PROXY_PROTOCOL_MAX + 64];
    memset(large, GUARD, sizeof large);
    size_t len = version == 1 ? proxy_protocol_v1(large, PROXY_PROTOCOL_MAX, p)
                              : proxy_protocol_v2(large, PROXY_PROTOCOL_MAX, p);
    assert_true(len <= PROXY_PROTOCOL_MAX);
    for (size_t i = PROXY_PROTOCOL_MAX; i < sizeof large; i++)
        assert_int_equal(large[i], GUARD);
    memcpy(to, large, len);
    return len;
}

static void expect(unsigned version, const struct proxy_protocol *p, const void *bytes, size_t len)
{
    uint8_t got[PROXY_PROTOCOL_MAX];
    assert_int_equal(encode(version, p, got), len);
    assert_memory_equal(got, bytes, len);
}

#define expect_v1(p, text)    expect(1, (p), text, sizeof(text) - 1)
#define expect_v2(p, literal) expect(2, (p), literal, sizeof(literal) - 1)

/* --- version 1 --- */

static void v1_is_a_line_of_text(void **state)
{
    (void)state;
    struct proxy_protocol p = pair(v4("192.0.2.1", 56324), v4("198.51.100.7", 443));
    expect_v1(&p, "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n");
    p = pair(v6("2001:db8::1", 1), v6("2001:db8:0:1:2:3:4:5", 65535));
    expect_v1(&p, "PROXY TCP6 2001:db8::1 2001:db8:0:1:2:3:4:5 1 65535\r\n");
}

static void v1_at_its_longest(void **state)
{
    (void)state;
    struct proxy_protocol p = pair(v4("255.255.255.255", 65535), v4("255.255.255.255", 65535));
    expect_v1(&p, "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n");
    const char *all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    p = pair(v6(all, 65535), v6(all, 65535));
    expect_v1(&p, "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n");
    p = pair(v4("0.0.0.0", 0), v4("0.0.0.0", 0));
    expect_v1(&p, "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n");
    p = pair(v6("::", 0), v6("::", 0));
    expect_v1(&p, "PROXY TCP6 :: :: 0 0\r\n");
}

static void v1_has_no_dots_in_ipv6(void **state)
{
    (void)state;
    struct proxy_protocol p = pair(v6("::ffff:192.0.2.1", 5), v6("2001:db8::1", 6));
    expect_v1(&p, "PROXY TCP6 ::ffff:c000:201 2001:db8::1 5 6\r\n");
    p = pair(v6("2001:db8::1", 5), v4("192.0.2.1", 6));
    expect_v1(&p, "PROXY TCP6 2001:db8::1 ::ffff:c000:201 5 6\r\n");
    p = pair(v6("::192.0.2.1", 5), v6("::1", 6));
    expect_v1(&p, "PROXY TCP6 ::c000:201 ::1 5 6\r\n");
    p = pair(v6("::1", 5), v6("::ffff:0.0.0.1", 6));
    expect_v1(&p, "PROXY TCP6 ::1 ::ffff:0:1 5 6\r\n");
}

static void v1_mapped_pairs_are_ipv4(void **state)
{
    (void)state;
    struct proxy_protocol p = pair(v6("::ffff:192.0.2.1", 5), v6("::ffff:198.51.100.7", 6));
    expect_v1(&p, "PROXY TCP4 192.0.2.1 198.51.100.7 5 6\r\n");
    p = pair(v4("192.0.2.1", 5), v6("::ffff:198.51.100.7", 6));
    expect_v1(&p, "PROXY TCP4 192.0.2.1 198.51.100.7 5 6\r\n");
}

static void v1_has_no_room_for_more(void **state)
{
    (void)state;
    struct proxy_protocol p = pair(v4("192.0.2.1", 1), v4("192.0.2.2", 2));
    p.alpn = "h3";
    p.unique_id = "id";
    p.authority = "example.org";
    p.authority_len = 11;
    expect_v1(&p, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
}

/* --- version 2 --- */

static void v2_has_a_fixed_layout(void **state)
{
    (void)state;
    struct proxy_protocol p = pair(v4("192.0.2.1", 0x1234), v4("198.51.100.7", 443));
    expect_v2(&p, SIGNATURE "\x21\x11\x00\x0c"
                            "\xc0\x00\x02\x01"
                            "\xc6\x33\x64\x07"
                            "\x12\x34"
                            "\x01\xbb");
    p = pair(v6("2001:db8::1", 0xfffe), v6("2001:db8:1:2:3:4:5:6", 443));
    expect_v2(&p, SIGNATURE "\x21\x21\x00\x24"
                            "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
                            "\x20\x01\x0d\xb8\x00\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06"
                            "\xff\xfe"
                            "\x01\xbb");
}

static void v2_mapped_pairs_are_ipv4(void **state)
{
    (void)state;
    struct proxy_protocol p = pair(v6("::ffff:192.0.2.1", 1), v6("::ffff:192.0.2.2", 2));
    expect_v2(&p, SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02");
    p = pair(v6("::ffff:192.0.2.1", 1), v4("192.0.2.2", 2));
    expect_v2(&p, SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02");
}

static void v2_mixed_pairs_are_ipv6(void **state)
{
    (void)state;
    struct proxy_protocol p = pair(v4("192.0.2.1", 1), v6("2001:db8::1", 2));
    expect_v2(&p, SIGNATURE "\x21\x21\x00\x24"
                            "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01"
                            "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
                            "\x00\x01\x00\x02");
    p = pair(v6("2001:db8::1", 1), v4("192.0.2.1", 2));
    expect_v2(&p, SIGNATURE "\x21\x21\x00\x24"
                            "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
                            "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01"
                            "\x00\x01\x00\x02");
}

static void v2_tells_more(void **state)
{
    (void)state;
    struct proxy_protocol p = pair(v4("192.0.2.1", 1), v4("192.0.2.2", 2));
    p.alpn = "h3";
    expect_v2(&p, SIGNATURE "\x21\x11\x00\x11\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02"
                            "\x01\x00\x02h3");
    p.unique_id = "session-1";
    p.authority = "example.org:4433 and what follows it";
    p.authority_len = 16;
    expect_v2(&p, SIGNATURE "\x21\x11\x00\x30\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02"
                            "\x01\x00\x02h3"
                            "\x05\x00\x09session-1"
                            "\x02\x00\x10"
                            "example.org:4433");
    p.alpn = p.unique_id = "";
    p.authority_len = 0;
    expect_v2(&p, SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02");
}

/* Values with all the bytes a client could send are values: their length says where they end. */
static void v2_takes_any_authority(void **state)
{
    (void)state;
    struct proxy_protocol p = pair(v4("192.0.2.1", 1), v4("192.0.2.2", 2));
    p.authority = "a\0b\r\nPROXY";
    p.authority_len = 10;
    expect_v2(&p, SIGNATURE "\x21\x11\x00\x19\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02"
                            "\x02\x00\x0a"
                            "a\0b\r\nPROXY");
}

static void v2_leaves_out_an_authority_that_is_longer_than_any_name(void **state)
{
    (void)state;
    uint8_t got[PROXY_PROTOCOL_MAX];
    char long_name[PROXY_PROTOCOL_AUTHORITY_MAX + 1];
    memset(long_name, 'n', sizeof long_name);
    struct proxy_protocol p = pair(v4("192.0.2.1", 1), v4("192.0.2.2", 2));
    p.authority = long_name;
    p.authority_len = PROXY_PROTOCOL_AUTHORITY_MAX;
    assert_int_equal(encode(2, &p, got), 16 + 12 + 3 + 255);
    p.authority_len++;
    assert_int_equal(encode(2, &p, got), 16 + 12);
}

/* An authority that fits exactly is there, one byte more and it is not; never a part of it. */
static void v2_leaves_out_what_does_not_fit(void **state)
{
    (void)state;
    uint8_t got[PROXY_PROTOCOL_MAX];
    char id[PROXY_PROTOCOL_UNIQUE_ID_MAX + 1], alpn[101], long_name[PROXY_PROTOCOL_MAX];
    memset(long_name, 'n', sizeof long_name);
    memset(id, 'i', sizeof id - 1);
    memset(alpn, 'a', sizeof alpn - 1);
    id[sizeof id - 1] = alpn[sizeof alpn - 1] = '\0';
    struct proxy_protocol p = pair(v6("2001:db8::1", 1), v6("2001:db8::2", 2));
    p.alpn = alpn;
    p.unique_id = id;
    p.authority = long_name;
    size_t before = 16 + 36 + 3 + 100 + 3 + 128; /* head, addresses, ALPN, id */
    size_t fits = PROXY_PROTOCOL_MAX - before - 3;
    p.authority_len = fits;
    assert_int_equal(encode(2, &p, got), PROXY_PROTOCOL_MAX);
    assert_memory_equal(got + 14, "\x01\xf0", 2); /* 512 - 16 */
    assert_memory_equal(got + before, "\x02\x00\xdf", 3);
    assert_memory_equal(got + before + 3, long_name, fits);
    p.authority_len = fits + 1;
    assert_int_equal(encode(2, &p, got), before);
    assert_memory_equal(got + 14, "\x01\x0e", 2);
    assert_memory_equal(got + before - 128, id, 128);
    p.authority_len = SIZE_MAX; /* is not read */
    assert_int_equal(encode(2, &p, got), before);
}

static void v2_at_the_limits_of_our_own_values(void **state)
{
    (void)state;
    uint8_t got[PROXY_PROTOCOL_MAX];
    char id[PROXY_PROTOCOL_UNIQUE_ID_MAX + 1], alpn[PROXY_PROTOCOL_ALPN_MAX + 1];
    memset(id, 'i', sizeof id - 1);
    memset(alpn, 'a', sizeof alpn - 1);
    id[sizeof id - 1] = alpn[sizeof alpn - 1] = '\0';
    struct proxy_protocol p = pair(v6("2001:db8::1", 1), v6("2001:db8::2", 2));
    p.alpn = alpn;
    p.unique_id = id;
    assert_int_equal(encode(2, &p, got), 16 + 36 + 3 + 255 + 3 + 128);
    assert_memory_equal(got + 52, "\x01\x00\xff", 3);
    assert_memory_equal(got + 52 + 258, "\x05\x00\x80", 3);
}

/* --- both --- */

static void what_is_no_ip_is_unknown(void **state)
{
    (void)state;
    struct sockaddr_storage none = {0}, un = {.ss_family = AF_UNIX};
    struct proxy_protocol p = pair(none, v4("192.0.2.1", 1));
    expect_v1(&p, "PROXY UNKNOWN\r\n");
    expect_v2(&p, SIGNATURE "\x21\x00\x00\x00");
    p = pair(v6("2001:db8::1", 1), un);
    p.alpn = "h3";
    expect_v1(&p, "PROXY UNKNOWN\r\n");
    expect_v2(&p, SIGNATURE "\x21\x00\x00\x05\x01\x00\x02h3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v1_is_a_line_of_text),
        cmocka_unit_test(v1_at_its_longest),
        cmocka_unit_test(v1_has_no_dots_in_ipv6),
        cmocka_unit_test(v1_mapped_pairs_are_ipv4),
        cmocka_unit_test(v1_has_no_room_for_more),
        cmocka_unit_test(v2_has_a_fixed_layout),
        cmocka_unit_test(v2_mapped_pairs_are_ipv4),
        cmocka_unit_test(v2_mixed_pairs_are_ipv6),
        cmocka_unit_test(v2_tells_more),
        cmocka_unit_test(v2_takes_any_authority),
        cmocka_unit_test(v2_leaves_out_an_authority_that_is_longer_than_any_name),
        cmocka_unit_test(v2_leaves_out_what_does_not_fit),
        cmocka_unit_test(v2_at_the_limits_of_our_own_values),
        cmocka_unit_test(what_is_no_ip_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
