#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "watch.h"

struct scene {
    uv_loop_t loop;
    struct watch *watch;
    char directory[32], file[48], other[48];
    int changes;
};

static void count_change(void *user)
{
    struct scene *s = user;

    s->changes++;
    uv_stop(&s->loop);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int begin(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));

    snprintf(s->directory, sizeof(s->directory), "/tmp/sluice-watch-XXXXXX");
    assert_non_null(mkdtemp(s->directory));
    snprintf(s->file, sizeof(s->file), "%s/file", s->directory);
    snprintf(s->other, sizeof(s->other), "%s/other", s->directory);
    write_file(s->file, "first");
    write_file(s->other, "other");
    assert_int_equal(uv_loop_init(&s->loop), 0);
    s->watch = watch_new(&s->loop, count_change, s);
    *state = s;
    return 0;
}

static int end(void **state)
{
    struct scene *s = *state;

    watch_close(s->watch);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    unlink(s->file);
    unlink(s->other);
    rmdir(s->directory);
    free(s);
    return 0;
}

static void look_at(struct scene *s, const char *path)
{
    const char *paths[] = {NULL, path};

    watch_look(s->watch, paths, 2);
}

/* Without an end if nobody tells of it. */
static void wait_change(struct scene *s)
{
    int before = s->changes;

    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(s->changes, before + 1);
}

/* It may have been read before or after: nobody knows. */
static void test_a_change_while_files_are_read_is_told(void **state)
{
    struct scene *s = *state;

    look_at(s, s->file);
    assert_int_equal(rename(s->other, s->file), 0);
    watch_keep(s->watch);
    wait_change(s);
}

static void test_a_file_that_goes_and_comes_back_is_told_of(void **state)
{
    struct scene *s = *state;

    look_at(s, s->file);
    watch_keep(s->watch);
    unlink(s->file);
    wait_change(s);
    write_file(s->file, "first");
    wait_change(s);
}

/* Of a configuration that was not taken, for example. */
static void test_a_look_alone_changes_nothing(void **state)
{
    struct scene *s = *state;

    look_at(s, s->file);
    watch_keep(s->watch);
    look_at(s, s->other);
    write_file(s->file, "second, and longer");
    wait_change(s);
}

static void test_nothing_is_watched_any_more(void **state)
{
    struct scene *s = *state;

    look_at(s, s->file);
    watch_keep(s->watch);
    watch_look(s->watch, NULL, 0);
    watch_keep(s->watch);
    write_file(s->file, "second, and longer");
    uv_run(&s->loop, UV_RUN_DEFAULT); /* nothing left to do */
    assert_int_equal(s->changes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_change_while_files_are_read_is_told, begin, end),
        cmocka_unit_test_setup_teardown(test_a_file_that_goes_and_comes_back_is_told_of, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_look_alone_changes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_nothing_is_watched_any_more, begin, end),
    };

    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
