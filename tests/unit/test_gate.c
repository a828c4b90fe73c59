/*
 * gate: the limit of sessions and the shut door.
 */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_in_up_to_the_limit),
        cmocka_unit_test(those_that_linger_are_bounded_too),
        cmocka_unit_test(draining_lets_nobody_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
