/*
 * Tests of budget and window.
 */
#include "cmocka_all.h"
#include "base/budget.h"
#include "base/window.h"

#define MS UINT64_C(1000000)

static void nothing_is_reserved_that_does_not_fit_anywhere(void **state)
{
    struct budget worker, a, b;
    uint64_t gauge = 0;
    (void)state;
    budget_init(&worker, NULL, 100, &gauge);
    budget_init(&a, &worker, 80, NULL);
    budget_init(&b, &worker, 80, NULL);
    assert_true(budget_reserve(&a, 80, BUDGET_NEED));
    assert_false(budget_reserve(&a, 1, BUDGET_NEED));
    assert_false(budget_reserve(&b, 21, BUDGET_NEED)); /* its parent has 20 left */
    assert_int_equal(b.used, 0);
    assert_true(budget_reserve(&b, 20, BUDGET_NEED));
    assert_int_equal(gauge, 100);
    budget_release(&a, 80);
    assert_int_equal(gauge, 20);
    budget_release(&b, 20);
    budget_fini(&a);
    budget_fini(&b);
    budget_fini(&worker);
}

static void what_is_charged_beyond_the_limit_stops_all_else(void **state)
{
    struct budget worker, a, b;
    (void)state;
    budget_init(&worker, NULL, 100, NULL);
    budget_init(&a, &worker, 100, NULL);
    budget_init(&b, &worker, 100, NULL);
    budget_charge(&a, 150);
    assert_false(budget_reserve(&b, 0, BUDGET_NEED));
    assert_false(budget_reserve(&b, 1, BUDGET_NEED));
    budget_release(&a, 150);
    assert_true(budget_reserve(&b, 100, BUDGET_NEED));
    budget_release(&b, 100);
}

static void those_who_are_there_come_before_newcomers_and_growth(void **state)
{
    struct budget worker, a;
    (void)state;
    budget_init(&worker, NULL, 800, NULL);
    budget_init(&a, &worker, UINT64_MAX, NULL);
    assert_false(budget_reserve(&a, 601, BUDGET_GROWTH));
    assert_true(budget_reserve(&a, 600, BUDGET_GROWTH));
    assert_false(budget_reserve(&a, 101, BUDGET_NEWCOMER));
    assert_true(budget_reserve(&a, 100, BUDGET_NEWCOMER));
    assert_false(budget_reserve(&a, 1, BUDGET_GROWTH));
    assert_true(budget_reserve(&a, 100, BUDGET_NEED));
    assert_false(budget_reserve(&a, 1, BUDGET_NEED));
    assert_true(budget_is_short(&a));
    budget_release(&a, 100);
    assert_false(budget_is_short(&a));
    budget_release(&a, 700);
}

static void window_doubles_while_it_is_taken_in_a_hurry(void **state)
{
    struct budget budget;
    struct window w;
    (void)state;
    budget_init(&budget, NULL, 1000, NULL);
    assert_true(budget_reserve(&budget, 100, BUDGET_NEED));
    window_init(&w, 100, 700, &budget);
    assert_int_equal(window_taken(&w, 60, 1000 * MS, 50 * MS), 0); /* it begins to count */
    assert_int_equal(window_taken(&w, 60, 1050 * MS, 50 * MS), 0);
    assert_int_equal(window_taken(&w, 60, 1090 * MS, 50 * MS), 100); /* 120 in 90 ms */
    assert_int_equal(window_taken(&w, 200, 1100 * MS, 50 * MS), 200);
    assert_int_equal(window_taken(&w, 400, 1100 * MS, 50 * MS), 300); /* to its maximum */
    assert_int_equal(window_taken(&w, 700, 1100 * MS, 50 * MS), 0);
    assert_int_equal(budget.used, 700);
    window_fini(&w);
    assert_int_equal(budget.used, 0);
}

static void window_stays_small_for_the_slow(void **state)
{
    struct window w;
    (void)state;
    window_init(&w, 100, 1000, NULL);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(window_taken(&w, 50, (1000 + i * 60) * MS, 50 * MS), 0);
    assert_int_equal(w.size, 100);
}

static void window_stays_where_the_budget_ends(void **state)
{
    struct budget budget;
    struct window w;
    (void)state;
    budget_init(&budget, NULL, 150, NULL);
    assert_true(budget_reserve(&budget, 100, BUDGET_NEED));
    window_init(&w, 100, 1000, &budget);
    assert_int_equal(window_taken(&w, 100, 1000 * MS, 50 * MS), 0);
    assert_int_equal(window_taken(&w, 100, 1001 * MS, 50 * MS), 0);
    assert_int_equal(w.size, 100);
    window_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_reserved_that_does_not_fit_anywhere),
        cmocka_unit_test(what_is_charged_beyond_the_limit_stops_all_else),
        cmocka_unit_test(those_who_are_there_come_before_newcomers_and_growth),
        cmocka_unit_test(window_doubles_while_it_is_taken_in_a_hurry),
        cmocka_unit_test(window_stays_small_for_the_slow),
        cmocka_unit_test(window_stays_where_the_budget_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
