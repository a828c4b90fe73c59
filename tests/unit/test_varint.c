/*
 * The examples are those of RFC 9000, appendix A.1.
 */
#include "cmocka_all.h"
#include "base/varint.h"

static const struct {
    uint64_t value;
    size_t len;
    uint8_t bytes[8];
    int shortest;
} examples[] = {
    {UINT64_C(151288809941952652), 8, {0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c}, 1},
    {494878333, 4, {0x9d, 0x7f, 0x3e, 0x7d}, 1},
    {15293, 2, {0x7b, 0xbd}, 1},
    {37, 1, {0x25}, 1},
    {37, 2, {0x40, 0x25}, 0},
};

static void test_examples(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        uint64_t value = 0;
        assert_int_equal(varint_read(&value, examples[i].bytes, 8), examples[i].len);
        assert_int_equal(value, examples[i].value);
        for (size_t cut = 0; cut < examples[i].len; cut++)
            assert_int_equal(varint_read(&value, examples[i].bytes, cut), 0);
        if (!examples[i].shortest)
            continue;
        uint8_t to[VARINT_SIZE_MAX];
        assert_int_equal(varint_write(to, examples[i].value), examples[i].len);
        assert_memory_equal(to, examples[i].bytes, examples[i].len);
    }
}

static void test_borders(void **state)
{
    static const struct {
        uint64_t value;
        size_t size;
    } borders[] = {{0, 1},        {63, 1},        {64, 2},
                   {16383, 2},    {16384, 4},     {(1u << 30) - 1, 4},
                   {1u << 30, 8}, {VARINT_MAX, 8}};

    (void)state;
    for (size_t i = 0; i < sizeof(borders) / sizeof(borders[0]); i++) {
        uint8_t to[VARINT_SIZE_MAX];
        uint64_t back = 1;
        assert_int_equal(varint_size(borders[i].value), borders[i].size);
        assert_int_equal(varint_write(to, borders[i].value), borders[i].size);
        assert_int_equal(varint_read(&back, to, sizeof(to)), borders[i].size);
        assert_int_equal(back, borders[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_examples),
                                       cmocka_unit_test(test_borders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
