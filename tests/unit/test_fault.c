#include <ctype.h>
#include <string.h>

#include "cmocka_all.h"
#include "base/fault.h"

static void test_every_row_is_whole(void **state)
{
    (void)state;
    for (int i = 0; i < FAULT_COUNT; i++) {
        assert_true(strlen(fault_name((enum fault)i)) > 0);
        assert_true(strlen(fault_sentence((enum fault)i)) > 0);
        for (const char *c = fault_name((enum fault)i); *c; c++)
            assert_true(islower((unsigned char)*c) || isdigit((unsigned char)*c) || *c == '_');
        for (int j = 0; j < i; j++)
            assert_string_not_equal(fault_name((enum fault)i), fault_name((enum fault)j));
    }
}

static void test_reach(void **state)
{
    (void)state;
    assert_int_equal(fault_reach(FAULT_NONE), FAULT_OF_NOTHING);
    assert_int_equal(fault_reach(FAULT_TLS), FAULT_OF_CONNECTION);
    assert_int_equal(fault_reach(FAULT_BACKEND_LOST), FAULT_OF_BACKEND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_row_is_whole),
                                       cmocka_unit_test(test_reach)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
