/*
 * Rows are found by their names and added up.
 */
#include "cmocka_all.h"

#include <string.h>

#include "base/tally.h"

static void rows_are_added_by_name(void **state)
{
    (void)state;
    struct tally one = {0}, other = {0};
    tally_row(&one, "app", "unix:/a")->sessions = 3;
    tally_row(&one, "app", "unix:/b")->sessions = 5;
    tally_row(&other, "app", "unix:/b")->sessions += 2;
    tally_row(&other, "app", "unix:/b")->up = 1;
    tally_row(&other, "more", "unix:/b")->lost = 7;
    tally_add(&one, &other);
    assert_int_equal(one.count, 3);
    assert_int_equal(tally_row(&one, "app", "unix:/a")->sessions, 3);
    assert_int_equal(tally_row(&one, "app", "unix:/b")->sessions, 7);
    assert_int_equal(tally_row(&one, "app", "unix:/b")->up, 1);
    assert_int_equal(tally_row(&one, "more", "unix:/b")->lost, 7);
    assert_int_equal(one.count, 3);
    for (int i = 0; i < 100; i++) {
        char address[16] = {'a', (char)('0' + i / 10), (char)('0' + i % 10), 0};
        tally_row(&one, "app", address);
    }
    assert_int_equal(one.count, 103);
    tally_fini(&one);
    tally_fini(&other);
}

static void long_names_are_cut(void **state)
{
    (void)state;
    struct tally t = {0};
    char address[2 * TALLY_ADDRESS_SIZE];
    memset(address, 'x', sizeof address - 1);
    address[sizeof address - 1] = 0;
    tally_row(&t, "app", address)->given = 1;
    assert_int_equal(tally_row(&t, "app", address)->given, 1);
    assert_int_equal(strlen(t.rows[0].address), TALLY_ADDRESS_SIZE - 1);
    tally_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_added_by_name),
        cmocka_unit_test(long_names_are_cut),
    };
    return cmocka_run_group_tests_name("tally", tests, NULL, NULL);
}
