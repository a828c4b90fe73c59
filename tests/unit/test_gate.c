/*
 * gate: the limit of sessions and the shut door.
 */
#include <string.h>

#include "cmocka_all.h"

#include "gate.h"

static void lets_in_up_to_the_limit(void **state)
{
    (void)state;
    struct gate g;
    gate_init(&g, 2);
    assert_int_equal(gate_admit(&g), FAULT_NONE);
    assert_int_equal(gate_admit(&g), FAULT_NONE);
    assert_int_equal(gate_admit(&g), FAULT_TOO_MANY_SESSIONS);
    gate_linger(&g);
    assert_int_equal(gate_admit(&g), FAULT_NONE);
    assert_int_equal(gate_admit(&g), FAULT_TOO_MANY_SESSIONS);
}

static void those_that_linger_are_bounded_too(void **state)
{
    (void)state;
    struct gate g;
    gate_init(&g, 2);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(gate_admit(&g), FAULT_NONE);
        gate_linger(&g);
    }
    assert_int_equal(gate_admit(&g), FAULT_TOO_MANY_SESSIONS);
    gate_leave(&g);
    assert_int_equal(gate_admit(&g), FAULT_NONE);
}

static void draining_lets_nobody_in(void **state)
{
    (void)state;
    struct gate g;
    gate_init(&g, 2);
    assert_int_equal(gate_admit(&g), FAULT_NONE);
    gate_drain(&g);
    assert_int_equal(gate_admit(&g), FAULT_DRAINING);
    gate_linger(&g);
    gate_leave(&g);
    assert_int_equal(g.inside, 0);
}

static enum fault check(const struct gate_rules *rules, const char *origin, const char *second)
{
    struct header headers[3] = {{(const uint8_t *)"x-origin", 8, (const uint8_t *)"x", 1}};
    size_t count = 1;
    if (origin)
        headers[count++] =
            (struct header){(const uint8_t *)"origin", 6, (const uint8_t *)origin, strlen(origin)};
    if (second)
        headers[count++] =
            (struct header){(const uint8_t *)"origin", 6, (const uint8_t *)second, strlen(second)};
    return gate_check(rules, headers, count);
}

static void only_some_origins_may_come(void **state)
{
    (void)state;
    const char *const some[] = {"https://example.org", "https://*.example.net:*"};
    struct gate_rules rules = {.origins = NULL};
    assert_int_equal(check(&rules, NULL, NULL), FAULT_NONE);
    assert_int_equal(check(&rules, "rubbish", NULL), FAULT_NONE);
    rules.require_origin = true;
    assert_int_equal(check(&rules, NULL, NULL), FAULT_NO_ORIGIN);
    assert_int_equal(check(&rules, "rubbish", NULL), FAULT_NONE);
    rules = (struct gate_rules){.origins = some, .origin_count = 2};
    assert_int_equal(check(&rules, NULL, NULL), FAULT_NONE);
    assert_int_equal(check(&rules, "https://example.org", NULL), FAULT_NONE);
    assert_int_equal(check(&rules, "https://a.example.net:1", NULL), FAULT_NONE);
    assert_int_equal(check(&rules, "https://evil.test", NULL), FAULT_ORIGIN);
    assert_int_equal(check(&rules, "", NULL), FAULT_ORIGIN);
    assert_int_equal(check(&rules, "https://example.org", "https://evil.test"), FAULT_ORIGIN);
    assert_int_equal(check(&rules, "https://evil.test", "https://example.org"), FAULT_ORIGIN);
    assert_int_equal(gate_status(FAULT_ORIGIN), 403);
    assert_int_equal(gate_status(FAULT_NO_ORIGIN), 403);
}

static void each_fault_has_its_status(void **state)
{
    (void)state;
    assert_int_equal(gate_status(FAULT_HOST), 421);
    assert_int_equal(gate_status(FAULT_NO_ROUTE), 404);
    assert_int_equal(gate_status(FAULT_TOO_MANY_SESSIONS), 503);
    assert_int_equal(gate_status(FAULT_DRAINING), 503);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_in_up_to_the_limit),
        cmocka_unit_test(those_that_linger_are_bounded_too),
        cmocka_unit_test(draining_lets_nobody_in),
        cmocka_unit_test(only_some_origins_may_come),
        cmocka_unit_test(each_fault_has_its_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
