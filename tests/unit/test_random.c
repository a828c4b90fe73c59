/*
 * The same seed, the same numbers; below a limit all alike.
 */
#include "cmocka_all.h"

#include "base/random.h"

static void a_seed_decides_all(void **state)
{
    (void)state;
    struct random a = {1}, b = {1}, other = {2};
    for (int i = 0; i < 100; i++) {
        uint64_t x = random_next(&a);
        assert_int_equal(x, random_next(&b));
        assert_int_not_equal(x, random_next(&other));
    }
    struct random zero = {0};
    assert_int_equal(random_next(&zero), UINT64_C(0xe220a8397b1dcdaf)); /* SplitMix64's first */
}

static void numbers_below_a_limit_are_all_as_frequent(void **state)
{
    (void)state;
    struct random r = {42};
    int seen[5] = {0};
    for (int i = 0; i < 5000; i++)
        seen[random_below(&r, 5)]++;
    for (int i = 0; i < 5; i++)
        assert_in_range(seen[i], 900, 1100);
    assert_int_equal(random_below(&r, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_decides_all),
        cmocka_unit_test(numbers_below_a_limit_are_all_as_frequent),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
