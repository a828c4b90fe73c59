#include "cmocka_all.h"
#include "base/stats.h"

static void test_sum(void **state)
{
    struct stats sum = {.sessions = 1, .packets_sent = 2};
    struct stats one = {.sessions = 3, .packets_sent = 4, .frames_sent = 5};

    (void)state;
    one.faults[FAULT_TLS] = 6;
    stats_add(&sum, &one);
    stats_add(&sum, &one);
    assert_int_equal(sum.sessions, 7);
    assert_int_equal(sum.packets_sent, 10);
    assert_int_equal(sum.frames_sent, 10);
    assert_int_equal(sum.faults[FAULT_TLS], 12);
    assert_int_equal(sum.connections, 0);
}

static void test_every_number_has_a_row(void **state)
{
    size_t rows = 0;

    (void)state;
    while (stats_rows[rows].name)
        rows++;
    assert_int_equal((rows + FAULT_COUNT) * sizeof(uint64_t), sizeof(struct stats));
}

static void test_alive_looks_at_gauges_only(void **state)
{
    struct stats s = {.packets_sent = 9};

    (void)state;
    assert_null(stats_alive(&s));
    s.datagrams = 1;
    assert_string_equal(stats_alive(&s)->name, "datagrams");
    assert_int_equal(stats_value(&s, stats_alive(&s)), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sum),
                                       cmocka_unit_test(test_every_number_has_a_row),
                                       cmocka_unit_test(test_alive_looks_at_gauges_only)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
