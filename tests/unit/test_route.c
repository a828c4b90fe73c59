#include <string.h>

#include "cmocka_all.h"
#include "route.h"

static bool fits_host(const char *name, const char *authority)
{
    struct route r = {.hosts = &name, .host_count = 1};
    struct route_target t;

    route_target_init(&t, authority, "/");
    bool fits = route_fits_host(&r, &t);
    route_target_fini(&t);
    return fits;
}

static bool fits_path(const char *path, const char *prefix, const char *asked)
{
    struct route r = {.path = path, .path_prefix = prefix};
    struct route_target t;

    route_target_init(&t, "example.org", asked);
    bool fits = route_fits_path(&r, &t);
    route_target_fini(&t);
    return fits;
}

static void test_hosts(void **state)
{
    (void)state;
    assert_true(fits_host("example.org", "example.org"));
    assert_true(fits_host("example.org", "example.org:4433"));
    assert_true(fits_host("example.org", "EXAMPLE.org."));
    assert_true(fits_host("Example.org", "example.org.:1"));
    assert_false(fits_host("example.org", "www.example.org"));
    assert_false(fits_host("example.org", "example.or"));
    assert_false(fits_host("example.org", "example.org.evil"));
    assert_true(fits_host("127.0.0.1", "127.0.0.1:4433"));
    assert_true(fits_host("::1", "[::1]:4433"));
    assert_true(fits_host("::1", "[::1]"));
    assert_false(fits_host("::1", "[::12]"));
    assert_false(fits_host("example.org", ":4433"));
}

static void test_an_asterisk_is_one_label(void **state)
{
    (void)state;
    assert_true(fits_host("*.example.org", "www.example.org"));
    assert_true(fits_host("*.example.org", "WWW.Example.ORG:443"));
    assert_false(fits_host("*.example.org", "example.org"));
    assert_false(fits_host("*.example.org", ".example.org"));
    assert_false(fits_host("*.example.org", "a.b.example.org"));
    assert_false(fits_host("*.example.org", "wwwexample.org"));
}

static void test_any_of_several_hosts(void **state)
{
    const char *names[] = {"a.example", "*.b.example"};
    struct route r = {.hosts = names, .host_count = 2}, all = {.host_count = 0};
    struct route_target t;

    (void)state;
    route_target_init(&t, "x.b.example", "/");
    assert_true(route_fits_host(&r, &t));
    assert_true(route_fits_host(&all, &t));
    route_target_fini(&t);
}

static void test_paths(void **state)
{
    (void)state;
    assert_true(fits_path(NULL, NULL, "/anything/../at all"));
    assert_true(fits_path("/chat", NULL, "/chat"));
    assert_true(fits_path("/chat", NULL, "/chat?room=/x"));
    assert_true(fits_path("/chat", NULL, "/%63h%61t"));
    assert_false(fits_path("/chat", NULL, "/chat/"));
    assert_false(fits_path("/chat", NULL, "/Chat"));
    assert_false(fits_path("/chat", NULL, "/chat%00"));
    assert_true(fits_path("/100%", NULL, "/100%"));
    assert_true(fits_path("/1%zz", NULL, "/1%zz"));
    assert_true(fits_path("/", NULL, "/"));
}

static void test_prefixes_end_at_segments(void **state)
{
    (void)state;
    assert_true(fits_path(NULL, "/chat", "/chat"));
    assert_true(fits_path(NULL, "/chat", "/chat/"));
    assert_true(fits_path(NULL, "/chat", "/chat/room?x"));
    assert_true(fits_path(NULL, "/chat", "/chat%2Froom"));
    assert_false(fits_path(NULL, "/chat", "/chats"));
    assert_false(fits_path(NULL, "/chat", "/cha"));
    assert_true(fits_path(NULL, "/chat/", "/chat/room"));
    assert_false(fits_path(NULL, "/chat/", "/chat"));
    assert_true(fits_path(NULL, "/", "/anything"));
}

/* /public/../private is for whoever answers /private, and nobody else may decide that. */
static void test_segments_that_lead_elsewhere(void **state)
{
    const char *crooked[] = {"/public/../private", "/public/..", "/public/./x", "/public/%2e%2E/x",
                             "/public/.%2e",       "/./public",  "/.."};

    (void)state;
    for (size_t i = 0; i < sizeof(crooked) / sizeof(crooked[0]); i++)
        assert_false(fits_path(NULL, "/", crooked[i]));
    assert_true(fits_path(NULL, "/", "/.well-known/..."));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_an_asterisk_is_one_label),
        cmocka_unit_test(test_any_of_several_hosts),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_prefixes_end_at_segments),
        cmocka_unit_test(test_segments_that_lead_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
