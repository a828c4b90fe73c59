/*
 * The vectors are those of the authors' reference implementation: key 00 01 .. 0f, message
 * 00 01 .. of n bytes.
 */
#include "cmocka_all.h"
#include "base/siphash.h"

static const struct {
    size_t len;
    uint64_t hash;
} vectors[] = {
    {0, UINT64_C(0x726fdb47dd0e0e31)}, {1, UINT64_C(0x74f839c593dc67fd)},
    {2, UINT64_C(0x0d6c8009d9a94f5a)}, {3, UINT64_C(0x85676696d7fb7e2d)},
    {8, UINT64_C(0x93f5f5799a932462)}, {15, UINT64_C(0xa129ca6149be45e5)},
};

static void test_vectors(void **state)
{
    uint8_t bytes[16];

    (void)state;
    for (int i = 0; i < 16; i++)
        bytes[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
        assert_int_equal(siphash(bytes, bytes, vectors[i].len), vectors[i].hash);
}

static void test_depends_on_key(void **state)
{
    static const uint8_t a[16] = {0}, b[16] = {[15] = 1};

    (void)state;
    assert_int_not_equal(siphash(a, "sluice", 6), siphash(b, "sluice", 6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors),
                                       cmocka_unit_test(test_depends_on_key)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
