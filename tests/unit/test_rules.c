/*
 * rules: one row per rule of protocol/README.md, "What may follow what".
 */
#include "protocol/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define UNANSWERED RULES_BEFORE_ACCEPT
#define OPEN       RULES_OPEN
#define ENDED      RULES_ENDED
#define NONE       UINT64_MAX /* no stream_id */

/* What of the stream is still open; DEAD: the holder does not know it any more. */
enum halves { DEAD, SENDS = 1, RESETS = 2, RECEIVES = 4, NOTHING = 8, ALL = 7 };

/* In the session of all rows the client has opened 0, 4 and 2, 6, the application 1, 5 and 3, 7. */
static const struct row {
    const char *what;
    enum rules_phase phase;
    enum message_type type;
    uint64_t id;
    enum halves halves;
    enum rules_verdict verdict;
    const char *code;
} rows[] = {
    /* before accept */
    {"accept", UNANSWERED, MESSAGE_ACCEPT, NONE, DEAD, RULES_APPLY, ""},
    {"reject", UNANSWERED, MESSAGE_REJECT, NONE, DEAD, RULES_APPLY, ""},
    {"close", UNANSWERED, MESSAGE_CLOSE, NONE, DEAD, RULES_APPLY, ""},
    {"abort", UNANSWERED, MESSAGE_ABORT, NONE, DEAD, RULES_APPLY, ""},
    {"send first", UNANSWERED, MESSAGE_STREAM_SEND, 1, DEAD, RULES_FATAL, "not_accepted"},
    {"reset first", UNANSWERED, MESSAGE_STREAM_RESET, 1, DEAD, RULES_FATAL, "not_accepted"},
    {"stop first", UNANSWERED, MESSAGE_STREAM_STOP, 1, DEAD, RULES_FATAL, "not_accepted"},
    {"credit first", UNANSWERED, MESSAGE_CREDIT, NONE, DEAD, RULES_FATAL, "not_accepted"},
    {"priority first", UNANSWERED, MESSAGE_STREAM_PRIORITY, 1, DEAD, RULES_FATAL, "not_accepted"},
    {"datagram first", UNANSWERED, MESSAGE_DATAGRAM_SEND, NONE, DEAD, RULES_FATAL, "not_accepted"},
    {"drain first", UNANSWERED, MESSAGE_DRAIN, NONE, DEAD, RULES_FATAL, "not_accepted"},
    {"unknown first", UNANSWERED, MESSAGE_UNKNOWN, NONE, DEAD, RULES_FATAL, "not_accepted"},

    /* an open session, no stream named */
    {"accept again", OPEN, MESSAGE_ACCEPT, NONE, DEAD, RULES_FATAL, "already_accepted"},
    {"reject after accept", OPEN, MESSAGE_REJECT, NONE, DEAD, RULES_FATAL, "already_accepted"},
    {"close", OPEN, MESSAGE_CLOSE, NONE, DEAD, RULES_APPLY, ""},
    {"abort", OPEN, MESSAGE_ABORT, NONE, DEAD, RULES_APPLY, ""},
    {"drain", OPEN, MESSAGE_DRAIN, NONE, DEAD, RULES_APPLY, ""},
    {"datagram", OPEN, MESSAGE_DATAGRAM_SEND, NONE, DEAD, RULES_APPLY, ""},
    {"credit of the session", OPEN, MESSAGE_CREDIT, NONE, DEAD, RULES_APPLY, ""},
    {"an unknown type", OPEN, MESSAGE_UNKNOWN, NONE, DEAD, RULES_ERROR, "unknown_type"},
    {"a type of Sluice's", OPEN, MESSAGE_STREAM_RECEIVE, 0, DEAD, RULES_ERROR, "unknown_type"},

    /* a bidirectional stream of the client */
    {"send", OPEN, MESSAGE_STREAM_SEND, 0, ALL, RULES_APPLY, ""},
    {"send after its end", OPEN, MESSAGE_STREAM_SEND, 0, RESETS | RECEIVES, RULES_SILENT, ""},
    {"send on a forgotten one", OPEN, MESSAGE_STREAM_SEND, 4, DEAD, RULES_SILENT, ""},
    {"send on one to come", OPEN, MESSAGE_STREAM_SEND, 8, DEAD, RULES_FATAL, "bad_id"},
    {"reset", OPEN, MESSAGE_STREAM_RESET, 0, ALL, RULES_APPLY, ""},
    {"reset after end_stream", OPEN, MESSAGE_STREAM_RESET, 0, RESETS, RULES_APPLY, ""},
    {"reset after delivery", OPEN, MESSAGE_STREAM_RESET, 0, RECEIVES, RULES_SILENT, ""},
    {"reset a forgotten one", OPEN, MESSAGE_STREAM_RESET, 4, DEAD, RULES_SILENT, ""},
    {"reset one to come", OPEN, MESSAGE_STREAM_RESET, 8, DEAD, RULES_FATAL, "bad_id"},
    {"stop", OPEN, MESSAGE_STREAM_STOP, 0, RECEIVES, RULES_APPLY, ""},
    {"stop after its end", OPEN, MESSAGE_STREAM_STOP, 0, SENDS | RESETS, RULES_SILENT, ""},
    {"stop a forgotten one", OPEN, MESSAGE_STREAM_STOP, 4, DEAD, RULES_SILENT, ""},
    {"stop one to come", OPEN, MESSAGE_STREAM_STOP, 8, DEAD, RULES_FATAL, "bad_id"},
    {"credit", OPEN, MESSAGE_CREDIT, 0, RECEIVES, RULES_APPLY, ""},
    {"credit after its end", OPEN, MESSAGE_CREDIT, 0, SENDS, RULES_SILENT, ""},
    {"credit for one to come", OPEN, MESSAGE_CREDIT, 8, DEAD, RULES_FATAL, "bad_id"},
    {"priority", OPEN, MESSAGE_STREAM_PRIORITY, 0, ALL, RULES_APPLY, ""},
    {"priority until delivery", OPEN, MESSAGE_STREAM_PRIORITY, 0, RESETS, RULES_APPLY, ""},
    {"priority after delivery", OPEN, MESSAGE_STREAM_PRIORITY, 0, NOTHING, RULES_SILENT, ""},
    {"priority of one to come", OPEN, MESSAGE_STREAM_PRIORITY, 8, DEAD, RULES_FATAL, "bad_id"},

    /* a unidirectional stream of the client */
    {"send", OPEN, MESSAGE_STREAM_SEND, 2, RECEIVES, RULES_ERROR, "no_such_half"},
    {"send on one to come", OPEN, MESSAGE_STREAM_SEND, 10, DEAD, RULES_ERROR, "no_such_half"},
    {"reset", OPEN, MESSAGE_STREAM_RESET, 2, RECEIVES, RULES_ERROR, "no_such_half"},
    {"priority", OPEN, MESSAGE_STREAM_PRIORITY, 2, RECEIVES, RULES_ERROR, "no_such_half"},
    {"stop", OPEN, MESSAGE_STREAM_STOP, 2, RECEIVES, RULES_APPLY, ""},
    {"stop after its end", OPEN, MESSAGE_STREAM_STOP, 2, NOTHING, RULES_SILENT, ""},
    {"stop one to come", OPEN, MESSAGE_STREAM_STOP, 10, DEAD, RULES_FATAL, "bad_id"},
    {"credit", OPEN, MESSAGE_CREDIT, 6, RECEIVES, RULES_APPLY, ""},

    /* a bidirectional stream of the application */
    {"open the next", OPEN, MESSAGE_STREAM_SEND, 9, DEAD, RULES_OPENS, ""},
    {"open with a gap", OPEN, MESSAGE_STREAM_SEND, 13, DEAD, RULES_FATAL, "bad_id"},
    {"send", OPEN, MESSAGE_STREAM_SEND, 1, ALL, RULES_APPLY, ""},
    {"send after its end", OPEN, MESSAGE_STREAM_SEND, 1, RESETS, RULES_SILENT, ""},
    {"send on a forgotten one", OPEN, MESSAGE_STREAM_SEND, 5, DEAD, RULES_SILENT, ""},
    {"reset does not open", OPEN, MESSAGE_STREAM_RESET, 9, DEAD, RULES_FATAL, "bad_id"},
    {"reset", OPEN, MESSAGE_STREAM_RESET, 1, ALL, RULES_APPLY, ""},
    {"stop does not open", OPEN, MESSAGE_STREAM_STOP, 9, DEAD, RULES_FATAL, "bad_id"},
    {"stop", OPEN, MESSAGE_STREAM_STOP, 1, ALL, RULES_APPLY, ""},
    {"credit does not open", OPEN, MESSAGE_CREDIT, 9, DEAD, RULES_FATAL, "bad_id"},
    {"credit", OPEN, MESSAGE_CREDIT, 1, ALL, RULES_APPLY, ""},
    {"priority does not open", OPEN, MESSAGE_STREAM_PRIORITY, 9, DEAD, RULES_FATAL, "bad_id"},
    {"priority", OPEN, MESSAGE_STREAM_PRIORITY, 5, ALL, RULES_APPLY, ""},

    /* a unidirectional stream of the application */
    {"open the next", OPEN, MESSAGE_STREAM_SEND, 11, DEAD, RULES_OPENS, ""},
    {"open with a gap", OPEN, MESSAGE_STREAM_SEND, 15, DEAD, RULES_FATAL, "bad_id"},
    {"send", OPEN, MESSAGE_STREAM_SEND, 3, SENDS, RULES_APPLY, ""},
    {"reset", OPEN, MESSAGE_STREAM_RESET, 7, RESETS, RULES_APPLY, ""},
    {"reset does not open", OPEN, MESSAGE_STREAM_RESET, 11, DEAD, RULES_FATAL, "bad_id"},
    {"stop", OPEN, MESSAGE_STREAM_STOP, 3, ALL, RULES_ERROR, "no_such_half"},
    {"stop one to come", OPEN, MESSAGE_STREAM_STOP, 11, DEAD, RULES_ERROR, "no_such_half"},
    {"credit", OPEN, MESSAGE_CREDIT, 3, ALL, RULES_ERROR, "no_such_half"},
    {"priority", OPEN, MESSAGE_STREAM_PRIORITY, 3, RESETS, RULES_APPLY, ""},

    /* an id that will hardly ever be reached */
    {"the largest id", OPEN, MESSAGE_STREAM_SEND, MESSAGE_MAX_UINT, DEAD, RULES_FATAL, "bad_id"},

    /* after the end everything is silence */
    {"accept", ENDED, MESSAGE_ACCEPT, NONE, DEAD, RULES_SILENT, ""},
    {"reject", ENDED, MESSAGE_REJECT, NONE, DEAD, RULES_SILENT, ""},
    {"close", ENDED, MESSAGE_CLOSE, NONE, DEAD, RULES_SILENT, ""},
    {"abort", ENDED, MESSAGE_ABORT, NONE, DEAD, RULES_SILENT, ""},
    {"drain", ENDED, MESSAGE_DRAIN, NONE, DEAD, RULES_SILENT, ""},
    {"datagram", ENDED, MESSAGE_DATAGRAM_SEND, NONE, DEAD, RULES_SILENT, ""},
    {"an unknown type", ENDED, MESSAGE_UNKNOWN, NONE, DEAD, RULES_SILENT, ""},
    {"a bad id", ENDED, MESSAGE_STREAM_SEND, 13, DEAD, RULES_SILENT, ""},
    {"no such half", ENDED, MESSAGE_STREAM_STOP, 3, DEAD, RULES_SILENT, ""},
};

static struct rules session(enum rules_phase phase)
{
    struct rules r;
    rules_init(&r, NULL, 0);
    assert_int_equal(r.phase, RULES_BEFORE_ACCEPT);
    r.phase = phase;
    for (unsigned uni = 0; uni < 2; uni++) {
        assert_int_equal(rules_client_opened(&r, uni), 2 * uni);
        assert_int_equal(rules_client_opened(&r, uni), 2 * uni + 4);
        rules_app_opened(&r, uni);
        rules_app_opened(&r, uni);
    }
    return r;
}

static void every_row(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct rules r = session(row->phase);
        struct message m = {.type = row->type, .stream_id = {row->id != NONE, row->id}};
        struct rules_stream stream = {row->halves & SENDS, row->halves & RECEIVES,
                                      row->halves & RESETS};
        struct message_fault fault;
        enum rules_verdict verdict =
            rules_judge(&r, &m, row->halves == DEAD ? NULL : &stream, &fault);
        if (verdict != row->verdict || strcmp(fault.code, row->code) != 0)
            fail_msg("row %zu (%s): verdict %d \"%s\", expected %d \"%s\"", i, row->what, verdict,
                     fault.code, row->verdict, row->code);
        assert_true(fault.code[0] == 0 || strlen(fault.text) > 10);
        if (fault.code[0] != 0)
            assert_memory_equal(fault.text, fault.field, strlen(fault.field));
    }
}

static void ids_go_on_without_gaps(void **state)
{
    (void)state;
    struct rules r = session(RULES_OPEN);
    struct message_fault fault;
    for (uint64_t id = 9; id < 100; id += 4) {
        struct message m = {.type = MESSAGE_STREAM_SEND, .stream_id = {true, id}};
        assert_int_equal(rules_judge(&r, &m, NULL, &fault), RULES_OPENS);
        rules_app_opened(&r, false);
        assert_int_equal(rules_judge(&r, &m, NULL, &fault), RULES_SILENT);
        assert_int_equal(rules_client_opened(&r, true), id + 1);
    }
}

/* The versions of the formatter disagree about braces in macros. */
/* clang-format off */
#define TEXT(text) {(text), sizeof(text) - 1}
/* clang-format on */

static void subprotocol_must_be_one_offered(void **state)
{
    (void)state;
    const struct message_text offered[] = {TEXT("chat"), TEXT("game")};
    const struct message_header header = {{(const uint8_t *)"wt-protocol", 11},
                                          {(const uint8_t *)"\"game\"", 6}};
    struct rules r;
    struct message_fault fault;
    rules_init(&r, offered, 2);
    struct message m = {.type = MESSAGE_ACCEPT, .headers = &header};
    m.subprotocol = (struct message_text)TEXT("game");
    assert_int_equal(rules_judge(&r, &m, NULL, &fault), RULES_APPLY);
    m.header_count = 1;
    assert_int_equal(rules_judge(&r, &m, NULL, &fault), RULES_FATAL);
    assert_string_equal(fault.code, "bad_subprotocol");
    m.subprotocol = (struct message_text){0};
    assert_int_equal(rules_judge(&r, &m, NULL, &fault), RULES_APPLY);
    m.header_count = 0;
    m.subprotocol = (struct message_text)TEXT("gam");
    assert_int_equal(rules_judge(&r, &m, NULL, &fault), RULES_FATAL);
    assert_string_equal(fault.code, "bad_subprotocol");
    m.subprotocol = (struct message_text)TEXT("");
    assert_int_equal(rules_judge(&r, &m, NULL, &fault), RULES_FATAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row),
        cmocka_unit_test(ids_go_on_without_gaps),
        cmocka_unit_test(subprotocol_must_be_one_offered),
    };
    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
