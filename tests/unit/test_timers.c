#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "base/timers.h"

static uint64_t pretend_ns;

static uint64_t pretend_now(void *clock)
{
    return *(uint64_t *)clock;
}

struct item {
    struct timer timer;
    uint64_t want; /* model: when it is due */
    int fired;
};

static uint64_t last_fired;

static void item_fired(void *owner)
{
    struct item *item = owner;

    assert_true(item->want != TIMERS_NEVER && item->want <= pretend_ns);
    assert_true(item->want >= last_fired);
    last_fired = item->want;
    item->want = TIMERS_NEVER;
    item->fired++;
}

static uint64_t earliest(const struct item *items, size_t count)
{
    uint64_t least = TIMERS_NEVER;

    for (size_t i = 0; i < count; i++)
        if (items[i].want < least)
            least = items[i].want;
    return least;
}

/* Random setting, moving, stopping and running, against a plain array. */
static void test_against_model(void **state)
{
    enum { ITEMS = 200, STEPS = 50000 };
    static struct item items[ITEMS];
    struct timers *t = timers_new(pretend_now, &pretend_ns);

    (void)state;
    srand(7);
    pretend_ns = 1000;
    for (size_t i = 0; i < ITEMS; i++) {
        timer_init(&items[i].timer, item_fired, &items[i]);
        items[i].want = TIMERS_NEVER;
    }
    for (int step = 0; step < STEPS; step++) {
        struct item *item = &items[rand() % ITEMS];
        int what = rand() % 10;
        if (what < 6) {
            item->want = pretend_ns + (uint64_t)(rand() % 1000);
            timer_set(t, &item->timer, item->want);
        } else if (what < 8) {
            item->want = TIMERS_NEVER;
            timer_stop(t, &item->timer);
        } else {
            pretend_ns += (uint64_t)(rand() % 300);
            last_fired = 0;
            timers_run(t);
            assert_true(earliest(items, ITEMS) > pretend_ns);
        }
        assert_int_equal(timers_next(t), earliest(items, ITEMS));
    }
    for (size_t i = 0; i < ITEMS; i++)
        timer_stop(t, &items[i].timer);
    assert_int_equal(timers_next(t), TIMERS_NEVER);
    timers_free(t);
}

struct again {
    struct timers *timers;
    struct timer timer;
    int fired;
};

static void again_fired(void *owner)
{
    struct again *again = owner;

    again->fired++;
    if (again->fired < 3)
        timer_set(again->timers, &again->timer, 5);
}

static void test_setting_to_the_past_waits_for_the_next_run(void **state)
{
    struct again again = {.timers = timers_new(pretend_now, &pretend_ns)};

    (void)state;
    pretend_ns = 100;
    timer_init(&again.timer, again_fired, &again);
    timer_set(again.timers, &again.timer, 50);
    timers_run(again.timers);
    assert_int_equal(again.fired, 1);
    pretend_ns = timers_next(again.timers);
    timers_run(again.timers);
    assert_int_equal(again.fired, 2);
    pretend_ns++;
    timers_run(again.timers);
    assert_int_equal(again.fired, 3);
    assert_int_equal(timers_next(again.timers), TIMERS_NEVER);
    timers_free(again.timers);
}

struct killer {
    struct timers *timers;
    struct timer *victim;
};

static void killer_fired(void *owner)
{
    struct killer *killer = owner;

    timer_stop(killer->timers, killer->victim);
}

static void test_a_firing_timer_may_stop_another_that_is_due(void **state)
{
    struct timers *t = timers_new(pretend_now, &pretend_ns);
    struct item victim = {.want = TIMERS_NEVER};
    struct killer killer = {t, &victim.timer};
    struct timer timer;

    (void)state;
    pretend_ns = 100;
    timer_init(&victim.timer, item_fired, &victim);
    timer_init(&timer, killer_fired, &killer);
    timer_set(t, &victim.timer, 60);
    timer_set(t, &timer, 50);
    timers_run(t);
    assert_int_equal(victim.fired, 0);
    timers_free(t);
}

static void test_never_stops(void **state)
{
    struct timers *t = timers_new(pretend_now, &pretend_ns);
    struct item item = {.want = 0};

    (void)state;
    timer_init(&item.timer, item_fired, &item);
    timer_set(t, &item.timer, 10);
    timer_set(t, &item.timer, TIMERS_NEVER);
    assert_int_equal(timers_next(t), TIMERS_NEVER);
    timers_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_setting_to_the_past_waits_for_the_next_run),
        cmocka_unit_test(test_a_firing_timer_may_stop_another_that_is_due),
        cmocka_unit_test(test_never_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
