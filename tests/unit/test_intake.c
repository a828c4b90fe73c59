#include <string.h>

#include "cmocka_all.h"
#include "base/timers.h"
#include "front/intake.h"

static struct intake in;
static struct intake_limits limits;
static uint64_t now_ns;

static int setup(void **state)
{
    (void)state;
    memset(&in, 0, sizeof(in));
    limits = (struct intake_limits){.unproven = 100};
    now_ns = NS_PER_S;
    return 0;
}

static void begin(unsigned listener, size_t count)
{
    while (count-- > 0)
        intake_begin(&in, &limits, listener, now_ns);
}

static void test_without_limits(void **state)
{
    (void)state;
    begin(0, 99);
    assert_false(intake_wants_proof(&in, &limits, 0, now_ns));
    begin(1, 1);
    assert_true(intake_wants_proof(&in, &limits, 0, now_ns));
    assert_int_equal(intake_check(&in, &limits, 0, now_ns), FAULT_NONE);
}

static void test_handshakes_of_all(void **state)
{
    (void)state;
    limits.all.handshakes = 3;
    begin(0, 2);
    assert_false(intake_wants_proof(&in, &limits, 1, now_ns)); /* unproven says when */
    assert_int_equal(intake_check(&in, &limits, 1, now_ns), FAULT_NONE);
    begin(1, 1);
    assert_int_equal(intake_check(&in, &limits, 0, now_ns), FAULT_TOO_MANY_HANDSHAKES);
    intake_finish_handshake(&in, 1);
    assert_int_equal(intake_check(&in, &limits, 0, now_ns), FAULT_NONE);
}

static void test_connections_of_all(void **state)
{
    (void)state;
    limits.all.connections = 3;
    begin(0, 2);
    intake_finish_handshake(&in, 0);
    begin(1, 1);
    assert_int_equal(intake_check(&in, &limits, 2, now_ns), FAULT_TOO_MANY_CONNECTIONS);
    intake_finish_handshake(&in, 0);
    assert_int_equal(intake_check(&in, &limits, 2, now_ns), FAULT_TOO_MANY_CONNECTIONS);
    intake_end(&in, 0);
    assert_int_equal(intake_check(&in, &limits, 2, now_ns), FAULT_NONE);
}

static void test_one_listener_has_its_own(void **state)
{
    (void)state;
    limits.listeners[1] = (struct intake_limit){.connections = 4, .handshakes = 2};
    begin(1, 2);
    assert_int_equal(intake_check(&in, &limits, 1, now_ns), FAULT_LISTENER_HANDSHAKES);
    assert_int_equal(intake_check(&in, &limits, 0, now_ns), FAULT_NONE);
    intake_finish_handshake(&in, 1);
    intake_finish_handshake(&in, 1);
    assert_int_equal(intake_check(&in, &limits, 1, now_ns), FAULT_NONE);
    begin(1, 1);
    intake_finish_handshake(&in, 1);
    begin(1, 1);
    assert_int_equal(intake_check(&in, &limits, 1, now_ns), FAULT_LISTENER_CONNECTIONS);
    assert_int_equal(intake_check(&in, &limits, 0, now_ns), FAULT_NONE);
}

/* Whoever forges addresses gets at most half of what is left. */
static void test_half_of_the_room_is_for_the_proven(void **state)
{
    (void)state;
    limits.listeners[1].connections = 10;
    begin(1, 4);
    assert_false(intake_wants_proof(&in, &limits, 1, now_ns));
    begin(1, 1);
    assert_true(intake_wants_proof(&in, &limits, 1, now_ns));
    assert_false(intake_wants_proof(&in, &limits, 0, now_ns));
    intake_finish_handshake(&in, 1); /* four handshakes, and (10 - 1) / 2 is four */
    assert_true(intake_wants_proof(&in, &limits, 1, now_ns));
    intake_finish_handshake(&in, 1);
    assert_false(intake_wants_proof(&in, &limits, 1, now_ns));

    limits.listeners[1] = (struct intake_limit){.handshakes = 6};
    assert_true(intake_wants_proof(&in, &limits, 1, now_ns));
    intake_finish_handshake(&in, 1);
    assert_false(intake_wants_proof(&in, &limits, 1, now_ns));
}

/* The limit became smaller. */
static void test_more_than_there_may_be(void **state)
{
    (void)state;
    begin(0, 3);
    for (int i = 0; i < 3; i++)
        intake_finish_handshake(&in, 0);
    limits.all.connections = 2;
    assert_true(intake_wants_proof(&in, &limits, 0, now_ns));
    assert_int_equal(intake_check(&in, &limits, 0, now_ns), FAULT_TOO_MANY_CONNECTIONS);
}

/* Half of a burst is for the proven, too. */
static void test_rate_of_a_listener(void **state)
{
    (void)state;
    limits.listeners[1].rate = (struct rate_limit){.per_second = 2, .burst = 4};
    begin(1, 1);
    assert_false(intake_wants_proof(&in, &limits, 1, now_ns));
    begin(1, 1);
    assert_true(intake_wants_proof(&in, &limits, 1, now_ns));
    assert_false(intake_wants_proof(&in, &limits, 0, now_ns));
    assert_int_equal(intake_check(&in, &limits, 1, now_ns), FAULT_NONE);
    begin(1, 2);
    assert_int_equal(intake_check(&in, &limits, 1, now_ns), FAULT_LISTENER_CONNECTION_RATE);
    assert_int_equal(intake_check(&in, &limits, 0, now_ns), FAULT_NONE);
    now_ns += NS_PER_S / 2;
    assert_int_equal(intake_check(&in, &limits, 1, now_ns), FAULT_NONE);
    assert_true(intake_wants_proof(&in, &limits, 1, now_ns));
    now_ns += NS_PER_S;
    assert_false(intake_wants_proof(&in, &limits, 1, now_ns));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_without_limits, setup),
        cmocka_unit_test_setup(test_handshakes_of_all, setup),
        cmocka_unit_test_setup(test_connections_of_all, setup),
        cmocka_unit_test_setup(test_one_listener_has_its_own, setup),
        cmocka_unit_test_setup(test_half_of_the_room_is_for_the_proven, setup),
        cmocka_unit_test_setup(test_rate_of_a_listener, setup),
        cmocka_unit_test_setup(test_more_than_there_may_be, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
