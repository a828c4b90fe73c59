/*
 * origin: which origins and hosts a pattern allows.
 */
#include <string.h>

#include "base/origin.h"
#include "cmocka_all.h"

static void origins(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *origin;
        bool matches;
    } rows[] = {
        {"https://example.org", "https://example.org", true},
        {"https://example.org", "https://example.org:443", true},
        {"https://example.org:443", "https://example.org", true},
        {"http://example.org", "http://example.org:80", true},
        {"https://EXAMPLE.org", "HTTPS://example.ORG", true},
        {"https://example.org", "http://example.org", false},
        {"https://example.org", "https://example.org:8443", false},
        {"https://example.org:8443", "https://example.org:8443", true},
        {"https://example.org:*", "https://example.org:8443", true},
        {"https://example.org:*", "https://example.org", true},
        {"https://example.org", "https://example.org.evil.test", false},
        {"https://example.org", "https://evil-example.org", false},
        {"https://example.org", "https://example.org/", false},
        {"https://example.org", "https://example.org@evil.test", false},
        {"https://example.org", "https://example.org:443@evil.test", false},
        {"https://example.org", "https://example.org evil", false},
        {"https://example.org", "https://example.org, https://evil.test", false},
        {"https://example.org", "https://", false},
        {"https://example.org", "example.org", false},
        {"https://example.org", "", false},
        {"https://*.example.org", "https://a.example.org", true},
        {"https://*.example.org", "https://example.org", false},
        {"https://*.example.org", "https://.example.org", false},
        {"https://*.example.org", "https://a.b.example.org", false},
        {"https://*.example.org", "https://aexample.org", false},
        {"https://*.example.org", "https://a.example.org.evil.test", false},
        {"https://*.*.example.org", "https://a.b.example.org", true},
        {"https://a.*.org", "https://a.b.org", true},
        {"https://a.*.org", "https://a.b.c.org", false},
        {"https://a*.example.org", "https://ab.example.org", false},
        {"http://localhost:*", "http://localhost:5173", true},
        {"http://localhost:*", "http://localhost.evil.test:5173", false},
        {"http://[::1]:8080", "http://[::1]:8080", true},
        {"http://[::1]:*", "http://[::1]", true},
        {"http://[::1]", "http://[::1", false},
        {"http://[::1]", "http://[::1]x", false},
        {"app://bundle", "app://bundle", true},
        {"app://bundle", "app://bundle:443", false},
        {"null", "null", true},
        {"null", "NULL", false},
        {"https://null", "null", false},
        {"*", "null", true},
        {"*", "https://any.where:1", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (origin_matches(rows[i].pattern, rows[i].origin, strlen(rows[i].origin)) !=
            rows[i].matches)
            fail_msg("%s and %s", rows[i].pattern, rows[i].origin);
}

static void patterns(void **state)
{
    (void)state;
    static const char *const good[] = {"*",
                                       "null",
                                       "https://example.org",
                                       "https://*.example.org:*",
                                       "http://localhost:8080",
                                       "http://[::1]:1"};
    static const char *const bad[] = {"",
                                      "example.org",
                                      "https://",
                                      "https://example.org/",
                                      "https://example.org/chat",
                                      "https://example.org:",
                                      "https://example.org:x",
                                      "https://example.org:80:80",
                                      "https://user@example.org",
                                      "https:example.org",
                                      "://example.org",
                                      "https://[::1"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!origin_is_pattern(good[i]))
            fail_msg("%s is one", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (origin_is_pattern(bad[i]))
            fail_msg("%s is none", bad[i]);
}

static void hosts(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *authority;
        bool matches;
    } rows[] = {
        {"example.org", "example.org", true},
        {"example.org", "Example.org:4433", true},
        {"example.org", "example.org:", false},
        {"example.org", "a.example.org", false},
        {"*.example.org", "a.example.org", true},
        {"*.example.org", "a.b.example.org", false},
        {"*.example.org", "example.org:1", false},
        {"[::1]", "[::1]:4433", true},
        {"[::1]", "[::2]:4433", false},
        {"::1", "[::1]:4433", true},
        {"127.0.0.1", "127.0.0.1:4433", true},
        {"example.org", "example.org:1:2", false},
        {"example.org", "", false},
        {"example.org", "example.org.", true},
        {"example.org", "example.org.evil", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (origin_host_matches(rows[i].pattern, rows[i].authority, strlen(rows[i].authority)) !=
            rows[i].matches)
            fail_msg("%s and %s", rows[i].pattern, rows[i].authority);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origins),
        cmocka_unit_test(patterns),
        cmocka_unit_test(hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
