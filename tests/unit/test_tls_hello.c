/*
 * test_tls_hello - which ClientHello looks like Safari's.
 */
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "front/tls_hello.h"

#define PARAMETERS 0x39

static bool may_be_safari(unsigned grease, const char *parameters, size_t len)
{
    struct tls_hello h = {0};
    tls_hello_take(&h, 0x10, (const uint8_t *)"\0\3\2h3", 5);
    tls_hello_take(&h, grease, NULL, 0);
    tls_hello_take(&h, PARAMETERS, (const uint8_t *)parameters, len);
    return tls_hello_may_be_safari(&h);
}

#define LOOKS(grease, parameters) may_be_safari(grease, parameters, sizeof(parameters) - 1)

static void a_browser_without_googles_parameters_does(void **state)
{
    (void)state;
    assert_true(LOOKS(0x0a0a, "\x01\x01\x00"));
    assert_true(LOOKS(0xfafa, "\xc0\x17\xf7\x58\x6d\x2c\xb5\x71\x00"));
}

static void chromium_does_not(void **state)
{
    (void)state;
    assert_false(LOOKS(0x1a1a, "\x01\x01\x00\x80\x00\x47\x52\x04\x00\x00\x00\x01"));
    assert_false(LOOKS(0x1a1a, "\x71\x28\x04ORIG"));
    assert_false(LOOKS(0x1a1a, "\x71\x27\x02\x40\x64"));
}

static void who_sends_no_reserved_values_does_not(void **state)
{
    (void)state;
    assert_false(LOOKS(0x2b, "\x01\x01\x00"));
    assert_false(LOOKS(0x0a1a, "\x01\x01\x00"));
    assert_false(LOOKS(0xfe0d, "\x01\x01\x00"));
    /* webtransport-go 0.11 */
    assert_false(LOOKS(0x2b, "\xc0\x17\xf7\x58\x6d\x2c\xb5\x71\x00"));
}

/* Such a handshake fails; here nothing may be read that is not there. */
static void parameters_cut_anywhere(void **state)
{
    static const char whole[] = "\x01\x02\x40\x64\xc0\x17\xf7\x58\x6d\x2c\xb5\x71\x00\x71\x28\x04";
    (void)state;
    for (size_t len = 0; len < sizeof(whole); len++) {
        char *cut = malloc(len ? len : 1); /* so that a sanitizer sees its end */
        assert_non_null(cut);
        memcpy(cut, whole, len);
        assert_true(may_be_safari(0x4a4a, cut, len));
        free(cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_browser_without_googles_parameters_does),
        cmocka_unit_test(chromium_does_not),
        cmocka_unit_test(who_sends_no_reserved_values_does_not),
        cmocka_unit_test(parameters_cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
