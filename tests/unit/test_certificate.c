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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_automatic_is_renewed_at_half_life),
        cmocka_unit_test(test_each_is_renewed_for_itself),
        cmocka_unit_test(test_files_that_are_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
