#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "base/log.h"

/* Writes one line with one field and returns what stands behind the event's name. */
static char *line_of(const void *bytes, size_t len)
{
    static char line[8192];
    int fds[2];
    struct log log;

    assert_int_equal(pipe(fds), 0);
    log_init(&log, fds[1], LOG_INFO);
    LOG(&log, INFO, "test", log_bytes("x", bytes, len));
    close(fds[1]);
    ssize_t n = read(fds[0], line, sizeof(line) - 1);
    assert_true(n > 0);
    close(fds[0]);
    line[n] = '\0';
    return strstr(line, "event=test") + strlen("event=test");
}

static const struct {
    const char *value, *written;
} values[] = {
    {"plain", " x=plain\n"},
    {"/path:80", " x=/path:80\n"},
    {"", " x=\"\"\n"},
    {"two words", " x=\"two words\"\n"},
    {"a=b", " x=\"a=b\"\n"},
    {"say \"hi\"", " x=\"say \\\"hi\\\"\"\n"},
    {"back\\slash", " x=\"back\\\\slash\"\n"},
    {"forged\nlevel=error", " x=\"forged\\nlevel=error\"\n"},
    {"\r\t\x1b[31m", " x=\"\\r\\t\\u001b[31m\"\n"},
    {"\x7f", " x=\"\\u007f\"\n"},
    {"gr\xc3\xbc\xc3\x9f", " x=\"gr\xc3\xbc\xc3\x9f\"\n"},
    {"\xf0\x9f\x98\x80", " x=\"\xf0\x9f\x98\x80\"\n"},
    {"\xc2\x85", " x=\"\\u0085\"\n"},
    {"\xe2\x80\xae", " x=\"\\u202e\"\n"},
    {"\xff\xc3", " x=\"\\xff\\xc3\"\n"},
    {"\xc0\xaf", " x=\"\\xc0\\xaf\"\n"},
    {"\xed\xa0\x80", " x=\"\\xed\\xa0\\x80\"\n"},
    {"\xf4\x90\x80\x80", " x=\"\\xf4\\x90\\x80\\x80\"\n"},
};

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        assert_string_equal(line_of(values[i].value, strlen(values[i].value)), values[i].written);
    assert_string_equal(line_of("a\0b", 3), " x=\"a\\u0000b\"\n");
    assert_string_equal(line_of(NULL, 0), "\n");
}

static void test_long_lines_are_cut(void **state)
{
    char value[5000];

    (void)state;
    for (size_t len = 3900; len < sizeof(value); len++) {
        memset(value, len % 2 ? 'a' : '\n', len);
        char *rest = line_of(value, len);
        size_t whole = strlen(rest);
        assert_int_equal(rest[whole - 1], '\n');
        assert_null(memchr(rest, '\n', whole - 1));
        if (len > 4096)
            assert_string_equal(rest + whole - 7, " cut=1\n");
    }
}

static void test_numbers_levels_and_time(void **state)
{
    char line[512];
    int fds[2], ms = -1, used = 0;
    struct log log;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    log_init(&log, fds[1], LOG_WARN);
    LOG(&log, INFO, "dropped", log_uint("a", 1));
    LOG(&log, WARN, "kept", log_uint("a", UINT64_MAX), log_int("b", -5), log_text("c", NULL));
    ssize_t n = read(fds[0], line, sizeof(line) - 1);
    assert_true(n > 0);
    line[n] = '\0';
    assert_int_equal(sscanf(line, "time=%*4d-%*2d-%*2dT%*2d:%*2d:%*2d.%3dZ%n", &ms, &used), 1);
    assert_string_equal(line + used, " level=warn event=kept a=18446744073709551615 b=-5\n");
    close(fds[0]);
    close(fds[1]);
}

static void test_level_names(void **state)
{
    enum log_level level = LOG_INFO;

    (void)state;
    assert_int_equal(log_level_parse("debug", &level), 0);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(log_level_parse("off", &level), 0);
    assert_int_equal(level, LOG_OFF);
    assert_int_equal(log_level_parse("INFO", &level), -1);
    assert_int_equal(log_level_parse("", &level), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_numbers_levels_and_time),
        cmocka_unit_test(test_level_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
