#include <stdlib.h>

#include "cmocka_all.h"
#include "base/recvq.h"

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 131 + (offset >> 8) * 17);
}

static void test_against_model(void **state)
{
    static uint8_t data[40000];
    struct recvq q;
    uint64_t held = 3, begin = 0, end = 0;

    (void)state;
    srand(13);
    recvq_init(&q, &held);
    for (int step = 0; step < 20000; step++) {
        size_t len;
        if (end - begin < 200000 && rand() % 2) {
            len = (size_t)rand() % (rand() % 4 ? 600 : sizeof(data));
            for (size_t i = 0; i < len; i++)
                data[i] = byte_at(end + i);
            recvq_write(&q, data, len);
            end += len;
        } else {
            len = (size_t)rand() % (size_t)(end - begin + 1);
            recvq_drop(&q, len);
            begin += len;
        }
        assert_int_equal(recvq_held(&q), end - begin);
        assert_int_equal(held, 3 + end - begin);
        const uint8_t *bytes = recvq_peek(&q, &len);
        assert_true((len > 0) == (end > begin));
        for (size_t i = 0; i < len; i++)
            assert_int_equal(bytes[i], byte_at(begin + i));
        struct iovec pieces[3];
        int count = recvq_lend(&q, pieces, 3);
        uint64_t at = begin;
        for (int k = 0; k < count; k++)
            for (size_t i = 0; i < pieces[k].iov_len; i++)
                assert_int_equal(((uint8_t *)pieces[k].iov_base)[i], byte_at(at++));
        assert_true(count == 3 || at == end);
    }
    recvq_fini(&q);
    assert_int_equal(held, 3);
}

static void test_empty(void **state)
{
    struct recvq q;
    size_t len = 1;

    (void)state;
    recvq_init(&q, NULL);
    recvq_write(&q, "", 0);
    recvq_peek(&q, &len);
    assert_int_equal(len, 0);
    recvq_drop(&q, 0);
    recvq_fini(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_model),
                                       cmocka_unit_test(test_empty)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
