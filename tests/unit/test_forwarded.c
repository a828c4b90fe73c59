/*
 * Tests of forwarded: whom to believe.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "base/forwarded.h"

static struct sockaddr_storage at(const char *text)
{
    struct sockaddr_storage to = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&to;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&to;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(1);
        return to;
    }
    assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(1);
    return to;
}

static void print(const struct sockaddr_storage *from, char *to, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
    bool is_v4 = from->ss_family == AF_INET;
    if (is_v4)
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    else
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
    snprintf(to, size, "%s %u", host, ntohs(is_v4 ? v4->sin_port : v6->sin6_port));
}

static const char *const trusted[] = {"10.0.0.0/8", "2001:db8::/32", "192.0.2.7"};

static const struct {
    enum forwarded_kind kind;
    const char *peer, *fields[3], *client;
} whom[] = {
    {FORWARDED_X, "10.1.1.1", {"198.51.100.1"}, "198.51.100.1 0"},
    {FORWARDED_X, "10.1.1.1", {NULL}, "10.1.1.1 1"},
    {FORWARDED_X, "11.1.1.1", {"198.51.100.1"}, "11.1.1.1 1"},
    {FORWARDED_NONE, "10.1.1.1", {"198.51.100.1"}, "10.1.1.1 1"},
    /* the client itself has written the first */
    {FORWARDED_X, "10.1.1.1", {"8.8.8.8, 198.51.100.1, 10.2.2.2"}, "198.51.100.1 0"},
    {FORWARDED_X, "10.1.1.1", {"8.8.8.8", "198.51.100.1", "10.2.2.2"}, "198.51.100.1 0"},
    {FORWARDED_X, "10.1.1.1", {"10.3.3.3,,\t10.2.2.2 ,"}, "10.3.3.3 0"},
    {FORWARDED_X, "10.1.1.1", {"198.51.100.1:4711"}, "198.51.100.1 4711"},
    {FORWARDED_X, "10.1.1.1", {"[2001:db9::1]:80"}, "2001:db9::1 80"},
    {FORWARDED_X, "10.1.1.1", {"2001:db9::1"}, "2001:db9::1 0"},
    {FORWARDED_X, "2001:db8::5", {"198.51.100.1"}, "198.51.100.1 0"},
    {FORWARDED_X, "::ffff:10.1.1.1", {"198.51.100.1"}, "198.51.100.1 0"},
    {FORWARDED_X, "192.0.2.7", {"198.51.100.1"}, "198.51.100.1 0"},
    {FORWARDED_X, "192.0.2.8", {"198.51.100.1"}, "192.0.2.8 1"},
    /* not to be understood */
    {FORWARDED_X, "10.1.1.1", {"198.51.100.1, unknown"}, "10.1.1.1 1"},
    {FORWARDED_X, "10.1.1.1", {"198.51.100.1:65536"}, "10.1.1.1 1"},
    {FORWARDED_X, "10.1.1.1", {"198.51.100.1:"}, "10.1.1.1 1"},
    {FORWARDED_X, "10.1.1.1", {"[2001:db9::1"}, "10.1.1.1 1"},
    {FORWARDED_X, "10.1.1.1", {"[2001:db9::1]x"}, "10.1.1.1 1"},
    {FORWARDED_X, "10.1.1.1", {"1.2.3"}, "10.1.1.1 1"},
    {FORWARDED_X, "10.1.1.1", {"\""}, "10.1.1.1 1"},
    /* a client that wants to hide, or to be another */
    {FORWARDED_X, "10.1.1.1", {"\", 198.51.100.1"}, "198.51.100.1 0"},
    {FORWARDED_X, "10.1.1.1", {"\"8.8.8.8, 198.51.100.1"}, "198.51.100.1 0"},
    {FORWARDED_RFC7239, "10.1.1.1", {"for=8.8.8.8;x=\", for=198.51.100.1"}, "10.1.1.1 1"},
    {FORWARDED_RFC7239, "10.1.1.1", {"for=8.8.8.8;x=\", for=\"[2001:db9::1]\""}, "10.1.1.1 1"},
    {FORWARDED_RFC7239, "10.1.1.1", {"for=8.8.8.8;x=\"\\\", for=9.9.9.9"}, "10.1.1.1 1"},
    {FORWARDED_RFC7239, "10.1.1.1", {"for=8.8.8.8;x=\"", "for=198.51.100.1"}, "198.51.100.1 0"},
    /* RFC 7239 */
    {FORWARDED_RFC7239, "10.1.1.1", {"for=198.51.100.1"}, "198.51.100.1 0"},
    {FORWARDED_RFC7239,
     "10.1.1.1",
     {"proto=https; For=\"[2001:db9::1]:4711\";by=x, for=10.2.2.2;host=\"a,b;for=1.1.1.1\""},
     "2001:db9::1 4711"},
    {FORWARDED_RFC7239, "10.1.1.1", {"for=_hidden"}, "10.1.1.1 1"},
    {FORWARDED_RFC7239, "10.1.1.1", {"host=a"}, "10.1.1.1 1"},
    {FORWARDED_RFC7239, "10.1.1.1", {"for="}, "10.1.1.1 1"},
    {FORWARDED_RFC7239, "10.1.1.1", {"for=\"1.2.3.4"}, "10.1.1.1 1"},
};

static void whom_to_believe(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof whom / sizeof *whom; i++) {
        struct forwarded_rule rule = {whom[i].kind, trusted, 3};
        struct header headers[4] = {{.name = (const uint8_t *)"other", .name_len = 5}};
        size_t count = 1;
        for (size_t k = 0; k < 3 && whom[i].fields[k]; k++, count++) {
            const char *name = whom[i].kind == FORWARDED_RFC7239 ? "forwarded" : "x-forwarded-for";
            headers[count] = (struct header){.name = (const uint8_t *)name,
                                             .name_len = strlen(name),
                                             .value = (const uint8_t *)whom[i].fields[k],
                                             .value_len = strlen(whom[i].fields[k])};
        }
        struct sockaddr_storage client = at(whom[i].peer);
        char text[80];
        forwarded_find(&rule, headers, count, &client);
        print(&client, text, sizeof text);
        if (strcmp(text, whom[i].client) != 0)
            fail_msg("row %zu: %s, expected %s", i, text, whom[i].client);
    }
}

static void only_the_last_elements_count(void **state)
{
    struct forwarded_rule rule = {FORWARDED_X, trusted, 3};
    char value[4096] = "198.51.100.1";
    struct sockaddr_storage client = at("10.1.1.1");
    char text[80];
    (void)state;
    for (int i = 0; i < 200; i++)
        strcat(value, ",10.1.1.2");
    struct header h = {.name = (const uint8_t *)"x-forwarded-for",
                       .name_len = 15,
                       .value = (const uint8_t *)value,
                       .value_len = strlen(value)};
    forwarded_find(&rule, &h, 1, &client);
    print(&client, text, sizeof text);
    assert_string_equal(text, "10.1.1.2 0");
}

static void what_the_application_is_told(void **state)
{
    static const struct {
        enum forwarded_kind kind;
        const char *peer, *value, *told;
    } rows[] = {
        {FORWARDED_X, "198.51.100.1", "1.1.1.1", "198.51.100.1"},
        {FORWARDED_X, "10.1.1.1", "1.1.1.1, 2.2.2.2", "1.1.1.1, 2.2.2.2, 10.1.1.1"},
        {FORWARDED_X, "::ffff:10.1.1.1", "", "10.1.1.1"},
        {FORWARDED_X, "2001:db9::1", "", "2001:db9::1"},
        {FORWARDED_RFC7239, "2001:db9::1", "for=1.1.1.1",
         "for=\"[2001:db9::1]\";host=\"example.org\";proto=https"},
        {FORWARDED_RFC7239, "10.1.1.1", "for=1.1.1.1",
         "for=1.1.1.1, for=10.1.1.1;host=\"example.org\";proto=https"},
        /* would swallow what follows */
        {FORWARDED_RFC7239, "10.1.1.1", "for=1.1.1.1;x=\"",
         "for=10.1.1.1;host=\"example.org\";proto=https"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct forwarded_rule rule = {rows[i].kind, trusted, 3};
        const char *name = forwarded_name(rows[i].kind);
        struct header h = {.name = (const uint8_t *)name,
                           .name_len = strlen(name),
                           .value = (const uint8_t *)rows[i].value,
                           .value_len = strlen(rows[i].value)};
        struct sockaddr_storage peer = at(rows[i].peer);
        size_t len;
        char *told = forwarded_write(&rule, &h, 1, &peer, "example.org", &len);
        if (len != strlen(rows[i].told) || memcmp(told, rows[i].told, len) != 0)
            fail_msg("row %zu: %.*s", i, (int)len, told);
        free(told);
    }
}

static void networks(void **state)
{
    static const struct {
        const char *network;
        bool is_one;
        const char *inside, *outside;
    } rows[] = {
        {"10.0.0.0/8", true, "10.255.255.255", "11.0.0.0"},
        {"10.0.0.1", true, "10.0.0.1", "10.0.0.2"},
        {"0.0.0.0/0", true, "1.2.3.4", "2001:db8::1"},
        {"::/0", true, "2001:db8::1", NULL},
        {"2001:db8::/33", true, "2001:db8:7fff::1", "2001:db8:8000::1"},
        {"192.0.2.128/25", true, "::ffff:192.0.2.200", "192.0.2.127"},
        {"", false, NULL, NULL},
        {"/8", false, NULL, NULL},
        {"10.0.0.0/33", false, NULL, NULL},
        {"10.0.0.0/", false, NULL, NULL},
        {"10.0.0.0/8x", false, NULL, NULL},
        {"2001:db8::/129", false, NULL, NULL},
        {"example.org", false, NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(forwarded_is_network(rows[i].network), rows[i].is_one);
        if (rows[i].inside) {
            struct sockaddr_storage a = at(rows[i].inside);
            assert_true(forwarded_is_in(rows[i].network, &a));
        }
        if (rows[i].outside) {
            struct sockaddr_storage a = at(rows[i].outside);
            assert_false(forwarded_is_in(rows[i].network, &a));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whom_to_believe),
        cmocka_unit_test(only_the_last_elements_count),
        cmocka_unit_test(what_the_application_is_told),
        cmocka_unit_test(networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
