/*
 * libFuzzer: any bytes as a frame's body, for both sides' decoders and as a scope. What is decoded
 * must encode, and decode to the same bytes again. The vectors are the corpus to begin with
 * (corpus_message.py).
 */
#include "protocol/message.h"
#include "protocol/rules.h"

#include <stdlib.h>
#include <string.h>

#define CAP (2u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* What is allowed may be done: the session goes on as the verdicts say. */
static void judge(struct rules *r, const struct message *m)
{
    struct message_fault fault;
    struct rules_stream stream = {true, true, true};
    enum rules_verdict verdict = rules_judge(r, m, &stream, &fault);
    check((verdict == RULES_ERROR || verdict == RULES_FATAL) == (fault.code[0] != 0));
    if (verdict == RULES_OPENS)
        rules_app_opened(r, m->stream_id.value & 2);
}

static void message_both_ways(enum message_side from, const uint8_t *data, size_t size,
                              uint8_t *first, uint8_t *second)
{
    struct message_decoder *d = message_decoder_new(from);
    struct message_decoder *e = message_decoder_new(from);
    struct message m, again;
    struct message_fault fault;
    struct rules r;
    rules_init(&r, NULL, 0);
    r.phase = RULES_OPEN;
    if (message_decode(d, data, size, &m, &fault) && m.type > MESSAGE_SCOPE) {
        size_t len = message_encode(&m, first, CAP);
        check(len <= CAP);
        check(message_decode(e, first, len, &again, &fault));
        check(message_encode(&again, second, CAP) == len && memcmp(first, second, len) == 0);
        judge(&r, &m);
    }
    message_decoder_free(d);
    message_decoder_free(e);
}

static void scope_both_ways(const uint8_t *data, size_t size, uint8_t *first, uint8_t *second)
{
    struct message_decoder *d = message_decoder_new(MESSAGE_FROM_SLUICE);
    struct message_decoder *e = message_decoder_new(MESSAGE_FROM_SLUICE);
    struct message_scope s, again;
    struct message_fault fault;
    if (message_decode_scope(d, data, size, &s, &fault)) {
        size_t len = message_encode_scope(&s, first, CAP);
        check(len <= CAP);
        check(message_decode_scope(e, first, len, &again, &fault));
        check(message_encode_scope(&again, second, CAP) == len && memcmp(first, second, len) == 0);
    }
    message_decoder_free(d);
    message_decoder_free(e);
}

static void path(const uint8_t *data, size_t size)
{
    char *to = malloc(3 * size + 1);
    check(message_scope_path(data, size, to) <= 3 * size);
    free(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t first[CAP], second[CAP];
    message_both_ways(MESSAGE_FROM_APP, data, size, first, second);
    message_both_ways(MESSAGE_FROM_SLUICE, data, size, first, second);
    scope_both_ways(data, size, first, second);
    path(data, size);
    return 0;
}
