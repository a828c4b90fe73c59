/*
 * offer: structured fields as RFC 9651 has them, and all that are none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "offer.h"

/* One header line for each text up to NULL. What is offered, as "s:text t:text ...". */
static void read_lines(const char *const *lines, struct offer *o, char *to)
{
    struct header headers[8] = {{(const uint8_t *)"origin", 6, (const uint8_t *)"x", 1}};
    size_t count = 1;
    for (; lines[count - 1]; count++)
        headers[count] =
            (struct header){(const uint8_t *)"wt-available-protocols", 22,
                            (const uint8_t *)lines[count - 1], strlen(lines[count - 1])};
    offer_read(o, headers, count);
    *to = '\0';
    for (size_t i = 0; i < o->count; i++)
        to += sprintf(to, "%s%c:%.*s", i ? " " : "", o->is_token[i] ? 't' : 's',
                      (int)o->items[i].len, o->items[i].at);
}

static void check(const char *first, const char *second, const char *want)
{
    const char *lines[] = {first, second, NULL};
    char got[4096];
    struct offer o;
    read_lines(lines, &o, got);
    if (strcmp(got, want) != 0)
        fail_msg("%s and %s: got '%s', expected '%s'", first, second ? second : "-", got, want);
    offer_free(&o);
    assert_int_equal(o.count, 0);
}

static void lists_are_read(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"\"echo\"", "s:echo"},
        {"\"moq-00\", \"echo\"", "s:moq-00 s:echo"},
        {"  \"a\" \t,\t\"b\"  ", "s:a s:b"},
        {"\"a\",\"b\"", "s:a s:b"},
        {"", ""},
        {"   ", ""},
        {"\"\"", "s:"},
        {"\"a\\\"b\\\\c\"", "s:a\"b\\c"},
        {"\"a, b;c=d\"", "s:a, b;c=d"},
        {"moq-00, echo/1:x", "t:moq-00 t:echo/1:x"},
        {"\"a\", b", "s:a t:b"},
        {"*x!#$%&'*+-.^_`|~:/, A", "t:*x!#$%&'*+-.^_`|~:/ t:A"},
        {"\"a\";q=1", "s:a"},
        {"\"a\"; q=1;r;*x-_.9=\"y\", \"b\";t=tok", "s:a s:b"},
        {"\"a\";q=-999999999999999;r=123456789012.123", "s:a"},
        {"\"a\";q=:aGk=:;r=?0;s=?1;t=::", "s:a"},
        {"\"a\";q=@1659578233;r=@-1;s=%\"f%c3%bc\\\"", "s:a"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        check(rows[i][0], NULL, rows[i][1]);
    check("\"a\"", "b;x", "s:a t:b");
    check("", "\"b\"", "s:b");
}

static void malformed_is_absent(void **state)
{
    (void)state;
    static const char *const rows[] = {
        ",",
        "\"a\",",
        "\"a\", ",
        ",\"a\"",
        "\"a\",,\"b\"",
        "\"a\" \"b\"",
        "\"a\"b",
        "\"a",
        "\"a\\",
        "\"a\\b\"",
        "\"a\x01\"",
        "\"caf\xc3\xa9\"",
        "a\x80",
        "1",
        "-1",
        "1.5",
        "?1",
        ":aGk=:",
        "@1",
        "%\"a\"",
        "(\"a\" \"b\")",
        "\"a\", 1",
        "\"a\", (\"b\")",
        "\"a\";",
        "\"a\";Q=1",
        "\"a\";1",
        "\"a\";q=",
        "\"a\";q=\"b",
        "\"a\";q=()",
        "\"a\";q=1234567890123456",
        "\"a\";q=1234567890123.1",
        "\"a\";q=1.",
        "\"a\";q=1.1234",
        "\"a\";q=.5",
        "\"a\";q=-",
        "\"a\";q=?2",
        "\"a\";q=?",
        "\"a\";q=:aGk",
        "\"a\";q=:a k:",
        "\"a\";q=@1.5",
        "\"a\";q=@",
        "\"a\";q=%a",
        "\"a\";q=%\"%C3\"",
        "\"a\";q=%\"%c",
        "\"a\";q=%\"a",
        "\"a\" ;q=1",
        "\ta",
        "=",
        "\x7f",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check(rows[i], NULL, "");
        check("\"good\"", rows[i], "");
        check(rows[i], "\"good\"", "");
    }
}

static void very_many_are_none(void **state)
{
    (void)state;
    static char line[8 * (MESSAGE_MAX_SCOPE_SUBPROTOCOLS + 1)], got[8192];
    for (size_t more = 0; more <= 1; more++) {
        const char *lines[] = {line, NULL};
        struct offer o;
        line[0] = '\0';
        for (size_t i = 0; i < MESSAGE_MAX_SCOPE_SUBPROTOCOLS + more; i++)
            strcat(line, i ? ", a" : "a");
        read_lines(lines, &o, got);
        assert_int_equal(o.count, more ? 0 : MESSAGE_MAX_SCOPE_SUBPROTOCOLS);
        offer_free(&o);
    }
}

static void the_answer_is_of_the_offers_kind(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"\"echo\"", "echo", "\"echo\""},
        {"echo", "echo", "echo"},
        {"echo, \"echo\"", "echo", "\"echo\""},
        {"\"a\\\"b\\\\\"", "a\"b\\", "\"a\\\"b\\\\\""},
        {"\"\"", "", "\"\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *lines[] = {rows[i][0], NULL};
        char got[256];
        struct offer o;
        size_t len;
        read_lines(lines, &o, got);
        struct message_text chosen = {rows[i][1], strlen(rows[i][1])};
        char *answer = offer_answer(&o, &chosen, &len);
        assert_int_equal(len, strlen(rows[i][2]));
        assert_memory_equal(answer, rows[i][2], len);
        free(answer);
        offer_free(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_read),
        cmocka_unit_test(malformed_is_absent),
        cmocka_unit_test(very_many_are_none),
        cmocka_unit_test(the_answer_is_of_the_offers_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
