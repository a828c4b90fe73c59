/*
 * Decodes frames for test_vectors.py: each line of input is "app HEX", "sluice HEX" or "scope HEX"
 * (a frame's body), each line of output a JSON object: what the codec made of it, and the bytes
 * when that is encoded again. Knows the fields from the codec's own table.
 */
#include "protocol/message.h"
#include "protocol/message_fields.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_hex(const uint8_t *at, size_t len)
{
    printf("\"");
    for (size_t i = 0; i < len; i++)
        printf("%02x", at[i]);
    printf("\"");
}

static void put_bytes(const struct message_bytes *bytes)
{
    printf("{\"hex\": ");
    put_hex(bytes->at, bytes->len);
    printf("}");
}

/* In hex, too, and marked: so nothing needs an escape. */
static void put_text(const struct message_text *text)
{
    printf("{\"text\": ");
    put_hex((const uint8_t *)text->at, text->len);
    printf("}");
}

static void put_headers(const struct message *m)
{
    printf("[");
    for (size_t i = 0; i < m->header_count; i++) {
        printf("%s[", i > 0 ? ", " : "");
        put_bytes(&m->headers[i].name);
        printf(", ");
        put_bytes(&m->headers[i].value);
        printf("]");
    }
    printf("]");
}

static void put_uint(const struct message_uint *number)
{
    if (number->set)
        printf("%" PRIu64, number->value);
    else
        printf("null");
}

static void put_field(const struct message *m, const struct message_field *f)
{
    const void *at = (const char *)m + f->offset;
    printf(", \"%s\": ", f->key);
    switch (f->kind) {
    case FIELD_UINT:
        put_uint(at);
        break;
    case FIELD_INT:
        printf("%" PRId64, *(const int64_t *)at);
        break;
    case FIELD_BOOL:
        printf("%s", *(const bool *)at ? "true" : "false");
        break;
    case FIELD_TEXT:
        put_text(at);
        break;
    case FIELD_BYTES:
        put_bytes(at);
        break;
    case FIELD_HEADERS:
        put_headers(m);
        break;
    }
}

static void put_fault(const struct message_fault *fault)
{
    printf("{\"code\": \"%s\", \"field\": \"%s\"}\n", fault->code, fault->field);
}

static void dump_message(enum message_side from, const uint8_t *body, size_t len)
{
    static uint8_t again[MESSAGE_MAX_FRAME];
    struct message_decoder *d = message_decoder_new(from);
    struct message m;
    struct message_fault fault;
    if (!message_decode(d, body, len, &m, &fault)) {
        put_fault(&fault);
    } else if (m.type == MESSAGE_UNKNOWN) {
        printf("{\"unknown\": true}\n");
    } else {
        printf("{\"message\": {\"type\": \"%s\"", message_type_name(m.type));
        for (size_t i = 0; i < message_field_count; i++)
            if (message_fields[i].type == m.type)
                put_field(&m, &message_fields[i]);
        printf("}, \"encoded\": ");
        put_hex(again, message_encode(&m, again, sizeof again));
        printf("}\n");
    }
    message_decoder_free(d);
}

static void dump_scope(const uint8_t *body, size_t len)
{
    static uint8_t again[MESSAGE_MAX_FRAME];
    struct message_decoder *d = message_decoder_new(MESSAGE_FROM_SLUICE);
    struct message_scope s;
    struct message_fault fault;
    if (!message_decode_scope(d, body, len, &s, &fault)) {
        put_fault(&fault);
    } else {
        printf("{\"encoded\": ");
        put_hex(again, message_encode_scope(&s, again, sizeof again));
        printf("}\n");
    }
    message_decoder_free(d);
}

static unsigned digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static size_t read_hex(const char *hex, uint8_t *to)
{
    size_t len = 0;
    for (; hex[2 * len] != 0; len++)
        to[len] = (uint8_t)(digit(hex[2 * len]) << 4 | digit(hex[2 * len + 1]));
    return len;
}

int main(void)
{
    static char line[2 * MESSAGE_MAX_FRAME + 64];
    static uint8_t body[MESSAGE_MAX_FRAME + 1];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        size_t word = strcspn(line, " ");
        if (line[word] == 0)
            return EXIT_FAILURE;
        line[word] = 0;
        size_t len = read_hex(line + word + 1, body);
        if (strcmp(line, "scope") == 0)
            dump_scope(body, len);
        else
            dump_message(strcmp(line, "app") == 0 ? MESSAGE_FROM_APP : MESSAGE_FROM_SLUICE, body,
                         len);
    }
    return EXIT_SUCCESS;
}
