#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "base/budget.h"
#include "base/dgramq.h"
#include "base/timers.h"

enum { MAX_COUNT = 20, MAX_BYTES = 4000 };

/* The model: lengths only; the content of number n is n repeated. */
struct model {
    struct {
        size_t len;
        uint8_t content;
    } items[MAX_COUNT + 1];
    size_t count, bytes;
    uint64_t dropped;
};

static void model_pop(struct model *m)
{
    m->bytes -= m->items[0].len;
    m->count--;
    memmove(&m->items[0], &m->items[1], m->count * sizeof(m->items[0]));
}

static void model_push(struct model *m, size_t len, uint8_t content)
{
    if (len > MAX_BYTES) {
        m->dropped++;
        return;
    }
    m->items[m->count].len = len;
    m->items[m->count].content = content;
    m->count++;
    m->bytes += len;
    while (m->count > MAX_COUNT || m->bytes > MAX_BYTES) {
        model_pop(m);
        m->dropped++;
    }
}

static void test_against_model(void **state)
{
    struct model m = {.count = 0};
    struct dgramq q;
    uint64_t waiting = 0, dropped = 0;
    uint8_t data[MAX_BYTES + 10];

    (void)state;
    srand(17);
    dgramq_init(&q, MAX_COUNT, MAX_BYTES, &waiting, &dropped, NULL);
    for (int step = 0; step < 50000; step++) {
        const uint8_t *oldest;
        size_t len;
        if (rand() % 5 < 3) {
            len = (size_t)rand() % (rand() % 50 ? 400 : sizeof(data));
            memset(data, step & 0xff, len);
            dgramq_push(&q, data, len);
            model_push(&m, len, (uint8_t)(step & 0xff));
        } else if (m.count > 0) {
            dgramq_pop(&q);
            model_pop(&m);
        }
        assert_int_equal(waiting, m.count);
        assert_int_equal(dropped, m.dropped);
        assert_int_equal(dgramq_peek(&q, &oldest, &len), m.count > 0);
        if (m.count > 0) {
            assert_int_equal(len, m.items[0].len);
            for (size_t i = 0; i < len; i++)
                assert_int_equal(oldest[i], m.items[0].content);
        }
    }
    dgramq_fini(&q);
    assert_int_equal(waiting, 0);
}

static void test_empty_datagrams_are_bounded_too(void **state)
{
    struct dgramq q;
    uint64_t dropped = 0;

    (void)state;
    dgramq_init(&q, 3, 10, NULL, &dropped, NULL);
    for (int i = 0; i < 5; i++)
        dgramq_push(&q, "", 0);
    assert_int_equal(q.count, 3);
    assert_int_equal(dropped, 2);
    dgramq_fini(&q);
}

static void test_budget_ends(void **state)
{
    struct dgramq q;
    struct budget budget;
    uint64_t dropped = 0;
    const uint8_t *data;
    size_t len;
    (void)state;
    budget_init(&budget, NULL, 100, NULL);
    dgramq_init(&q, 100, 10000, NULL, &dropped, &budget);
    for (int i = 0; i < 10; i++)
        dgramq_push(&q, &(uint8_t){(uint8_t)i}, 1);
    assert_true(q.count > 0 && q.count < 10);
    assert_int_equal(dropped + q.count, 10);
    assert_true(dgramq_peek(&q, &data, &len));
    assert_int_equal(data[0], dropped); /* the oldest went */
    size_t before = q.count;
    dgramq_push(&q, (uint8_t[500]){0}, 500); /* fits nowhere */
    assert_int_equal(q.count, 0);
    assert_int_equal(dropped, 10 - before + before + 1);
    dgramq_fini(&q);
    budget_fini(&budget);
}

static uint64_t pretend_now(void *clock)
{
    return *(uint64_t *)clock;
}

static void test_age_is_bounded(void **state)
{
    struct dgramq q;
    uint64_t now = 1000, waiting = 0, dropped = 0, expired = 0;
    struct timers *timers = timers_new(pretend_now, &now);
    const uint8_t *data;
    size_t len;

    (void)state;
    dgramq_init(&q, 10, 100, &waiting, &dropped, NULL);
    dgramq_set_ttl(&q, timers, 50, &expired);
    dgramq_push(&q, "a", 1);
    now += 20;
    dgramq_push(&q, "b", 1);
    now += 29;
    assert_true(dgramq_peek(&q, &data, &len));
    assert_int_equal(data[0], 'a');
    now += 1;
    assert_true(dgramq_peek(&q, &data, &len));
    assert_int_equal(data[0], 'b');
    assert_int_equal(expired, 1);
    now += 20;
    assert_false(dgramq_peek(&q, &data, &len));
    assert_int_equal(expired, 2);
    assert_int_equal(waiting, 0);
    assert_int_equal(dropped, 0);
    dgramq_set_ttl(&q, timers, 0, &expired);
    dgramq_push(&q, "c", 1);
    now += 1000000;
    assert_true(dgramq_peek(&q, &data, &len));
    dgramq_fini(&q);
    timers_free(timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_model),
                                       cmocka_unit_test(test_budget_ends),
                                       cmocka_unit_test(test_age_is_bounded),
                                       cmocka_unit_test(test_empty_datagrams_are_bounded_too)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
