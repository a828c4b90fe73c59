#include <string.h>
#include <time.h>

#include "cmocka_all.h"
#include "certificate.h"

static const struct certificate_source automatic = {.cert_file = NULL};

enum { DAY = 24 * 60 * 60 };

static void test_automatic_is_renewed_at_half_life(void **state)
{
    struct certificate_hash first[CERTIFICATE_HASHES_MAX], now_valid[CERTIFICATE_HASHES_MAX];
    time_t start = time(NULL);
    char error[256];
    struct certificate *c = certificate_new(&automatic, 1, start, error, sizeof(error));

    (void)state;
    assert_non_null(c);
    assert_true(certificate_is_short_lived(c, 0));
    assert_int_equal(certificate_hashes(c, 0, start, first), 1);
    assert_true(first[0].expires >= start + 12 * DAY && first[0].expires <= start + 14 * DAY);

    assert_false(certificate_renew(c, 0, start + 6 * DAY, error, sizeof(error)));
    assert_true(certificate_renew(c, 0, start + 7 * DAY, error, sizeof(error)));
    assert_false(certificate_renew(c, 0, start + 7 * DAY, error, sizeof(error)));

    /* The old one stays published until it has expired. */
    assert_int_equal(certificate_hashes(c, 0, start + 7 * DAY, now_valid), 2);
    assert_memory_not_equal(now_valid[0].bytes, first[0].bytes, CERTIFICATE_HASH_LEN);
    assert_memory_equal(now_valid[1].bytes, first[0].bytes, CERTIFICATE_HASH_LEN);
    assert_int_equal(certificate_hashes(c, 0, start + 13 * DAY + 1, now_valid), 1);
    certificate_free(c);
}

static void test_each_is_renewed_for_itself(void **state)
{
    struct certificate_source sources[] = {automatic, automatic};
    struct certificate_hash hashes[2][CERTIFICATE_HASHES_MAX];
    time_t start = time(NULL);
    char error[256];
    struct certificate *c = certificate_new(sources, 2, start, error, sizeof(error));

    (void)state;
    assert_non_null(c);
    assert_true(certificate_renew(c, 1, start + 7 * DAY, error, sizeof(error)));
    assert_int_equal(certificate_hashes(c, 0, start + 7 * DAY, hashes[0]), 1);
    assert_int_equal(certificate_hashes(c, 1, start + 7 * DAY, hashes[1]), 2);
    assert_memory_not_equal(hashes[0][0].bytes, hashes[1][1].bytes, CERTIFICATE_HASH_LEN);
    certificate_free(c);
}

static void test_files_that_are_not_there(void **state)
{
    char error[256] = "";

    (void)state;
    struct certificate_source sources[] = {
        automatic, {.cert_file = "/nonexistent/cert.pem", .key_file = "/nonexistent/key.pem"}};
    assert_null(certificate_new(sources, 2, time(NULL), error, sizeof(error)));
    assert_non_null(strstr(error, "/nonexistent/cert.pem"));
}

/* One made on the spot stays if its names do; a source that fails changes nothing. */
static void test_reload(void **state)
{
    static const char *const names[] = {"a.example"};
    const struct certificate_source other[] = {{.names = names, .name_count = 1}, automatic};
    const struct certificate_source wrong[] = {
        {.names = names, .name_count = 1},
        {.cert_file = "/nonexistent", .key_file = "/nonexistent"}};
    struct certificate_hash before[CERTIFICATE_HASHES_MAX], now[CERTIFICATE_HASHES_MAX];
    char error[256] = "";
    time_t t = time(NULL);

    (void)state;
    struct certificate *c = certificate_new(&automatic, 1, t, error, sizeof(error));
    assert_true(certificate_is_news(c, 0));
    assert_false(certificate_is_news(c, 0));
    certificate_hashes(c, 0, t, before);
    assert_false(certificate_reload(c, wrong, 2, t, error, sizeof(error)));
    assert_non_null(strstr(error, "/nonexistent"));
    assert_int_equal(certificate_count(c), 1);
    assert_true(certificate_reload(c, other, 2, t, error, sizeof(error)));
    assert_int_equal(certificate_count(c), 2);
    assert_true(certificate_is_news(c, 0));
    assert_false(certificate_is_news(c, 1));
    assert_int_equal(certificate_hashes(c, 1, t, now), 1);
    assert_memory_equal(now[0].bytes, before[0].bytes, CERTIFICATE_HASH_LEN);
    certificate_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_automatic_is_renewed_at_half_life),
        cmocka_unit_test(test_each_is_renewed_for_itself),
        cmocka_unit_test(test_files_that_are_not_there),
        cmocka_unit_test(test_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
