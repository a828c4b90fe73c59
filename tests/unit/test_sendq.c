#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "base/sendq.h"

/* The byte of the stream at an offset, so that a test needs no second copy. */
static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 131 + (offset >> 8) * 17 + (offset >> 16));
}

static void fill(uint8_t *to, uint64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = byte_at(offset + i);
}

/* Reads everything unsent, slice by slice, and compares. Returns where the first one lies. */
static const uint8_t *check_unsent(const struct sendq *q)
{
    struct iovec slices[64];
    size_t count = sendq_peek(q, slices, 64);
    uint64_t offset = q->sent;

    for (size_t i = 0; i < count; i++) {
        const uint8_t *bytes = slices[i].iov_base;
        assert_true(slices[i].iov_len > 0);
        for (size_t j = 0; j < slices[i].iov_len; j++)
            assert_int_equal(bytes[j], byte_at(offset++));
    }
    assert_int_equal(offset, q->end);
    return count ? slices[0].iov_base : NULL;
}

static void test_against_model(void **state)
{
    enum { LIMIT = 100000, STEPS = 20000 };
    static uint8_t data[40000];
    struct sendq q;
    uint64_t held = 5, base = 0, sent = 0, end = 0;

    (void)state;
    srand(11);
    sendq_init(&q, LIMIT, &held);
    for (int step = 0; step < STEPS; step++) {
        int what = rand() % 3;
        if (what == 0) {
            size_t len = (size_t)rand() % (rand() % 4 ? 600 : sizeof(data));
            size_t fits = LIMIT - (size_t)(end - base);
            fill(data, end, len);
            size_t taken = sendq_write(&q, data, len);
            assert_int_equal(taken, len < fits ? len : fits);
            end += taken;
        } else if (what == 1 && end > sent) {
            size_t len = (size_t)rand() % (size_t)(end - sent + 1);
            sendq_sent(&q, len);
            sent += len;
        } else if (what == 2 && sent > base) {
            size_t len = (size_t)rand() % (size_t)(sent - base + 1);
            sendq_acked(&q, len);
            base += len;
        }
        assert_int_equal(sendq_room(&q), LIMIT - (end - base));
        assert_int_equal(sendq_unsent(&q), end - sent);
        assert_int_equal(sendq_held(&q), end - base);
        assert_int_equal(held, 5 + end - base);
        if (step % 20 == 0)
            check_unsent(&q);
    }
    sendq_fini(&q);
    assert_int_equal(held, 5);
}

static void test_full_takes_what_fits(void **state)
{
    struct sendq q;

    (void)state;
    sendq_init(&q, 10, NULL);
    assert_int_equal(sendq_write(&q, "0123456789ab", 12), 10);
    assert_int_equal(sendq_write(&q, "x", 1), 0);
    sendq_sent(&q, 10);
    assert_int_equal(sendq_room(&q), 0);
    sendq_acked(&q, 3);
    assert_int_equal(sendq_write(&q, "abcdef", 6), 3);
    sendq_fini(&q);
}

static void test_lent_bytes_do_not_move(void **state)
{
    static uint8_t data[5000];
    struct sendq q;

    (void)state;
    sendq_init(&q, 1 << 20, NULL);
    fill(data, 0, 10);
    sendq_write(&q, data, 10);
    const uint8_t *first = check_unsent(&q);
    for (int i = 0; i < 100; i++) {
        fill(data, q.end, 50 * (size_t)i);
        sendq_write(&q, data, 50 * (size_t)i);
        assert_ptr_equal(check_unsent(&q), first);
    }
    sendq_sent(&q, sendq_unsent(&q));
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(first[i], byte_at(i));
    sendq_fini(&q);
}

static void test_peek_fewer_slices_than_there_are(void **state)
{
    static uint8_t data[100000];
    struct iovec slices[2];
    struct sendq q;

    (void)state;
    sendq_init(&q, sizeof(data), NULL);
    fill(data, 0, sizeof(data));
    sendq_write(&q, data, sizeof(data));
    assert_int_equal(sendq_peek(&q, slices, 2), 2);
    assert_int_equal(sendq_peek(&q, slices, 0), 0);
    assert_true(slices[0].iov_len + slices[1].iov_len < sizeof(data));
    sendq_fini(&q);
}

static void test_cut_keeps_what_is_in_flight(void **state)
{
    struct iovec slice;
    struct sendq q;
    uint64_t held = 0;
    static uint8_t many[50000]; /* several chunks */

    (void)state;
    sendq_init(&q, 100000, &held);
    sendq_write(&q, "hello", 5);
    sendq_write(&q, many, sizeof(many));
    assert_int_equal(sendq_peek(&q, &slice, 1), 1);
    sendq_sent(&q, 2);
    sendq_cut(&q, 4); /* two more are still to be sent */
    assert_int_equal(held, 4);
    assert_int_equal(sendq_unsent(&q), 2);
    assert_int_equal(sendq_room(&q), 0);
    assert_int_equal(sendq_write(&q, "x", 1), 0);
    sendq_sent(&q, 1);
    sendq_acked(&q, 1);
    sendq_cut(&q, 0);
    assert_int_equal(held, 2);
    assert_int_equal(sendq_peek(&q, &slice, 1), 0);
    sendq_acked(&q, 1);
    assert_int_equal(held, 1);
    sendq_cut(&q, 0);
    assert_int_equal(held, 1);
    sendq_fini(&q);
    assert_int_equal(held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_full_takes_what_fits),
        cmocka_unit_test(test_lent_bytes_do_not_move),
        cmocka_unit_test(test_peek_fewer_slices_than_there_are),
        cmocka_unit_test(test_cut_keeps_what_is_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
