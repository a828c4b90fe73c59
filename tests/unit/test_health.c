/*
 * Going down, resting and coming back, by a pretend clock.
 */
#include "cmocka_all.h"

#include <stdio.h>

#include "back/health.h"
#include "back/pool.h"
#include "base/random.h"
#include "base/timers.h"

static const struct health_config config = {.failures = 3,
                                            .pause_first_ns = NS_PER_S,
                                            .pause_last_ns = 30 * NS_PER_S,
                                            .slow_start_ns = 10 * NS_PER_S};

struct scene {
    struct random random;
    struct health h;
    uint64_t now;
};

static struct scene begin(void)
{
    struct scene s = {.random = {7}, .now = 100 * NS_PER_S};
    health_init(&s.h, &config);
    return s;
}

static void assert_rests_for(const struct scene *s, uint64_t pause)
{
    uint64_t rest = s->h.rests_till_ns - s->now;
    assert_int_equal(health_weight(&s->h, s->now), 0);
    assert_in_range(rest, pause - pause / 8, pause + pause / 8);
}

static void it_is_up_at_first_with_its_full_weight(void **state)
{
    (void)state;
    struct scene s = begin();
    assert_int_equal(health_weight(&s.h, 0), POOL_FULL_WEIGHT);
    assert_int_equal(health_weight(&s.h, s.now), POOL_FULL_WEIGHT);
    assert_false(health_worked(&s.h, s.now)); /* nothing new */
    assert_int_equal(health_weight(&s.h, s.now), POOL_FULL_WEIGHT);
}

static void pauses_grow_until_it_is_back(void **state)
{
    (void)state;
    struct scene s = begin();
    uint64_t pause = NS_PER_S;
    assert_true(health_unreachable(&s.h, s.now, &s.random));
    for (int i = 0; i < 8; i++) {
        printf("# pause %d: %.2f s\n", i + 1, (double)(s.h.rests_till_ns - s.now) / NS_PER_S);
        assert_rests_for(&s, pause);
        s.now = s.h.rests_till_ns;
        assert_false(health_unreachable(&s.h, s.now, &s.random));
        pause = 2 * pause < config.pause_last_ns ? 2 * pause : config.pause_last_ns;
    }
    assert_rests_for(&s, config.pause_last_ns);
    assert_true(health_worked(&s.h, s.now));
    /* Up for long: forgotten. */
    s.now += 2 * config.pause_last_ns;
    assert_true(health_unreachable(&s.h, s.now, &s.random));
    assert_rests_for(&s, config.pause_first_ns);
}

static void those_who_began_before_lengthen_no_pause(void **state)
{
    (void)state;
    struct scene s = begin();
    assert_true(health_unreachable(&s.h, s.now, &s.random));
    uint64_t till = s.h.rests_till_ns;
    for (int i = 0; i < 100; i++)
        assert_false(health_unreachable(&s.h, s.now + NS_PER_MS, &s.random));
    assert_false(health_failed(&s.h, s.now + NS_PER_MS, &s.random));
    assert_int_equal(s.h.rests_till_ns, till);
}

static void whoever_comes_back_for_a_moment_rests_longer(void **state)
{
    (void)state;
    struct scene s = begin();
    health_unreachable(&s.h, s.now, &s.random);
    s.now = s.h.rests_till_ns;
    assert_true(health_worked(&s.h, s.now));
    s.now += 5 * NS_PER_S;
    assert_true(health_unreachable(&s.h, s.now, &s.random));
    assert_rests_for(&s, 2 * NS_PER_S);
}

static void some_failures_in_a_row_put_it_out(void **state)
{
    (void)state;
    struct scene s = begin();
    for (int i = 0; i < 10; i++) { /* an accept in between starts anew */
        assert_false(health_failed(&s.h, s.now, &s.random));
        assert_false(health_failed(&s.h, s.now, &s.random));
        assert_false(health_worked(&s.h, s.now));
    }
    assert_false(health_failed(&s.h, s.now, &s.random));
    assert_false(health_failed(&s.h, s.now, &s.random));
    assert_true(health_failed(&s.h, s.now, &s.random));
    assert_rests_for(&s, NS_PER_S);
}

static void its_weight_grows_slowly(void **state)
{
    (void)state;
    struct scene s = begin();
    health_unreachable(&s.h, s.now, &s.random);
    s.now = s.h.rests_till_ns;
    health_worked(&s.h, s.now);
    unsigned before = 0;
    for (uint64_t t = 0; t <= 10; t++) {
        unsigned weight = health_weight(&s.h, s.now + t * NS_PER_S);
        printf("# %2d s after its return: %u of %d\n", (int)t, weight, POOL_FULL_WEIGHT);
        assert_true(weight > before);
        assert_true(weight <= POOL_FULL_WEIGHT / 16 + t * POOL_FULL_WEIGHT / 10);
        before = weight;
    }
    assert_int_equal(before, POOL_FULL_WEIGHT);
    static const struct health_config at_once = {1, NS_PER_S, NS_PER_S, 0};
    health_init(&s.h, &at_once);
    assert_true(health_failed(&s.h, s.now, &s.random));
    health_worked(&s.h, s.now);
    assert_int_equal(health_weight(&s.h, s.now), POOL_FULL_WEIGHT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_up_at_first_with_its_full_weight),
        cmocka_unit_test(pauses_grow_until_it_is_back),
        cmocka_unit_test(those_who_began_before_lengthen_no_pause),
        cmocka_unit_test(whoever_comes_back_for_a_moment_rests_longer),
        cmocka_unit_test(some_failures_in_a_row_put_it_out),
        cmocka_unit_test(its_weight_grows_slowly),
    };
    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
