#include <string.h>

#include "cmocka_all.h"
#include "address.h"

static const struct {
    const char *text, *host;
    unsigned port;
} numeric[] = {
    {"127.0.0.1:4433", "127.0.0.1", 4433},
    {"[::1]:443", "::1", 443},
    {"0.0.0.0:0", "0.0.0.0", 0},
    {"[::]:65535", "::", 65535},
};

static void test_numeric_addresses(void **state)
{
    struct packet_address a[4];
    char error[256], text[ADDRESS_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(numeric) / sizeof(numeric[0]); i++) {
        assert_int_equal(address_resolve(numeric[i].text, a, 4, error, sizeof(error)), 1);
        address_host(a, text);
        assert_string_equal(text, numeric[i].host);
        assert_int_equal(address_port(a), numeric[i].port);
    }
}

static void test_no_host_is_every_address(void **state)
{
    struct packet_address a;
    char error[256];

    (void)state;
    assert_int_equal(address_resolve(":4433", &a, 1, error, sizeof(error)), 1);
    assert_true(address_is_any(&a));
    assert_int_equal(address_port(&a), 4433);
    address_set_port(&a, 1);
    assert_int_equal(address_port(&a), 1);
    assert_int_equal(address_resolve("127.0.0.1:1", &a, 1, error, sizeof(error)), 1);
    assert_false(address_is_any(&a));
}

static void test_localhost_is_every_loopback_address(void **state)
{
    struct packet_address a[4];
    char error[256], host[ADDRESS_TEXT_SIZE];
    size_t count = address_resolve("localhost:7", a, 4, error, sizeof(error));

    (void)state;
    assert_true(count >= 1 && count <= 2); /* 1 without IPv6 */
    address_host(&a[count - 1], host);
    assert_string_equal(host, "127.0.0.1");
    assert_int_equal(address_port(&a[count - 1]), 7);
}

static void test_errors(void **state)
{
    struct packet_address a;
    char error[256];

    (void)state;
    assert_int_equal(address_resolve("4433", &a, 1, error, sizeof(error)), 0);
    assert_string_equal(error, "expected HOST:PORT or :PORT, got '4433'");
    assert_int_equal(address_resolve("256.0.0.1.invalid:1", &a, 1, error, sizeof(error)), 0);
    assert_non_null(strstr(error, "256.0.0.1.invalid"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numeric_addresses),
        cmocka_unit_test(test_no_host_is_every_address),
        cmocka_unit_test(test_localhost_is_every_loopback_address),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
