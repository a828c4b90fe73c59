/*
 * Tests of the large blocks that the C library keeps.
 */
#include <stdlib.h>

#include "cmocka_all.h"
#include "backends/c/spare.h"

static void block_is_used_again(void **state)
{
    (void)state;
    struct spare s = {.count = 0};
    size_t size, again;
    uint8_t *block = spare_take(&s, 100000, &size);
    assert_true(size >= 100000);
    spare_give(&s, block, size);
    assert_ptr_equal(spare_take(&s, size, &again), block);
    assert_int_equal(again, size);
    assert_int_equal(s.count, 0);
    free(block);
}

static void small_and_huge_blocks_are_not_kept(void **state)
{
    (void)state;
    struct spare s = {.count = 0};
    size_t size;
    uint8_t *block = spare_take(&s, 100, &size);
    spare_give(&s, block, size);
    block = spare_take(&s, SPARE_LARGEST + 1, &size);
    spare_give(&s, block, size);
    spare_give(&s, NULL, 0);
    assert_int_equal(s.count, 0);
}

static void larger_blocks_push_out_smaller_ones(void **state)
{
    (void)state;
    struct spare s = {.count = 0};
    uint8_t *blocks[SPARE_BLOCKS + 1], *large, *small;
    size_t sizes[SPARE_BLOCKS + 1], size;
    for (size_t i = 0; i <= SPARE_BLOCKS; i++)
        blocks[i] = spare_take(&s, 20000, &sizes[i]);
    large = spare_take(&s, 200000, &size);
    for (size_t i = 0; i <= SPARE_BLOCKS; i++)
        spare_give(&s, blocks[i], sizes[i]);
    assert_int_equal(s.count, SPARE_BLOCKS);
    spare_give(&s, large, size);
    assert_int_equal(s.count, SPARE_BLOCKS);
    assert_ptr_equal(spare_take(&s, 200000, &size), large);
    small = spare_take(&s, 100, &size); /* never one of the kept */
    assert_int_equal(s.count, SPARE_BLOCKS - 1);
    free(large);
    free(small);
    spare_fini(&s);
    assert_int_equal(s.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_is_used_again),
        cmocka_unit_test(small_and_huge_blocks_are_not_kept),
        cmocka_unit_test(larger_blocks_push_out_smaller_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
