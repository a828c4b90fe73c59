#include <pthread.h>
#include <string.h>

#include "cmocka_all.h"
#include "inbox.h"

static int wakes, received;
static uint8_t last;

static void woke(void *owner)
{
    (void)owner;
    wakes++;
}

static void packet_received(void *owner, const struct packet *p)
{
    (void)owner;
    received++;
    last = p->data[0];
    for (size_t i = 0; i < p->len; i++)
        assert_int_equal(p->data[i], last);
}

static bool put(struct inbox *in, uint8_t content, size_t len)
{
    uint8_t data[2000];
    struct packet p = {.data = data, .len = len};

    memset(data, content, sizeof(data));
    bool fits = inbox_packet(in, &p);
    memset(data, 0, sizeof(data)); /* it was copied */
    return fits;
}

static int setup(void **state)
{
    static struct inbox in;

    wakes = received = 0;
    inbox_init(&in, 10000, woke, NULL);
    *state = &in;
    return 0;
}

static int teardown(void **state)
{
    inbox_fini(*state);
    return 0;
}

static void test_wakes_once_until_taken(void **state)
{
    struct inbox *in = *state;

    assert_true(put(in, 1, 100));
    assert_true(put(in, 2, 100));
    assert_true(inbox_wish(in, 4));
    assert_int_equal(wakes, 1);
    assert_int_equal(inbox_take(in, packet_received), 4);
    assert_int_equal(received, 2);
    assert_int_equal(last, 2);
    assert_int_equal(inbox_take(in, packet_received), 0);
    assert_true(inbox_wish(in, 1));
    assert_int_equal(wakes, 2);
    assert_int_equal(inbox_take(in, packet_received), 1);
}

static void test_is_bounded(void **state)
{
    struct inbox *in = *state;
    int fitted = 0;

    for (int i = 0; i < 100; i++)
        fitted += put(in, 7, 1000);
    assert_true(fitted >= 5 && fitted <= 9);
    assert_true(inbox_wish(in, 1)); /* a wish always has room */
    assert_int_equal(inbox_take(in, packet_received), 1);
    assert_int_equal(received, fitted);
    assert_true(put(in, 8, 1000));
}

static void test_closed(void **state)
{
    struct inbox *in = *state;

    assert_true(put(in, 1, 10));
    assert_true(inbox_wish(in, 2));
    assert_int_equal(inbox_close(in), 2);
    assert_false(put(in, 1, 10));
    assert_false(inbox_wish(in, 1));
    assert_int_equal(wakes, 1);
    assert_int_equal(inbox_take(in, packet_received), 0);
    assert_int_equal(received, 0);
}

static void *put_many(void *in)
{
    for (int i = 0; i < 1000; i++) {
        while (!put(in, 9, 50))
            continue;
        inbox_wish(in, 1);
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    pthread_t threads[2];

    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, *state), 0);
    while (received < 2000)
        inbox_take(*state, packet_received);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(received, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_wakes_once_until_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
