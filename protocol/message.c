/*
 * What the messages are: their names, who may send them, which fields they have, and which headers
 * an answer may carry. The bytes are in message_decode.c, message_encode.c and message_scope.c.
 * Owns nothing, calls nobody.
 */
#include "protocol/message.h"
#include "protocol/message_fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define APP    (1u << MESSAGE_FROM_APP)
#define SLUICE (1u << MESSAGE_FROM_SLUICE)

static const struct {
    const char *name;
    unsigned from;
} types[MESSAGE_TYPES] = {
    [MESSAGE_UNKNOWN] = {"", 0},
    [MESSAGE_SCOPE] = {"webtransport", SLUICE},
    [MESSAGE_ACCEPT] = {"webtransport.accept", APP},
    [MESSAGE_REJECT] = {"webtransport.reject", APP},
    [MESSAGE_STREAM_RECEIVE] = {"webtransport.stream.receive", SLUICE},
    [MESSAGE_STREAM_SEND] = {"webtransport.stream.send", APP},
    [MESSAGE_STREAM_DELIVERED] = {"webtransport.stream.delivered", SLUICE},
    [MESSAGE_STREAM_RESET] = {"webtransport.stream.reset", APP | SLUICE},
    [MESSAGE_STREAM_STOP] = {"webtransport.stream.stop", APP | SLUICE},
    [MESSAGE_CREDIT] = {"webtransport.credit", APP | SLUICE},
    [MESSAGE_STREAM_PRIORITY] = {"webtransport.stream.priority", APP},
    [MESSAGE_DATAGRAM_RECEIVE] = {"webtransport.datagram.receive", SLUICE},
    [MESSAGE_DATAGRAM_SEND] = {"webtransport.datagram.send", APP},
    [MESSAGE_DATAGRAM_LIMIT] = {"webtransport.datagram.limit", SLUICE},
    [MESSAGE_DRAIN] = {"webtransport.drain", APP | SLUICE},
    [MESSAGE_CLOSE] = {"webtransport.close", APP},
    [MESSAGE_ABORT] = {"webtransport.abort", APP},
    [MESSAGE_DISCONNECT] = {"webtransport.disconnect", SLUICE},
    [MESSAGE_ERROR] = {"webtransport.error", SLUICE},
};

#define AT(member) offsetof(struct message, member)
#define MUST       FIELD_REQUIRED
#define SHOWN      FIELD_ALWAYS
#define ELSE       FIELD_DEFAULTED
#define U53        MESSAGE_MAX_UINT
#define FRAME      UINT32_MAX /* bounded by the frame it is in */

/* clang-format off */
const struct message_field message_fields[] = {
    {MESSAGE_ACCEPT, "status", FIELD_UINT, AT(status), ELSE, 200, 299, 200},
    {MESSAGE_ACCEPT, "headers", FIELD_HEADERS, AT(headers), 0, 0, 0, 0},
    {MESSAGE_ACCEPT, "subprotocol", FIELD_TEXT, AT(subprotocol), 0, 0, FRAME, 0},
    {MESSAGE_ACCEPT, "receive_window", FIELD_UINT, AT(receive_window), 0, 0, U53, 0},

    {MESSAGE_REJECT, "status", FIELD_UINT, AT(status), ELSE, 300, 599, 403},
    {MESSAGE_REJECT, "headers", FIELD_HEADERS, AT(headers), 0, 0, 0, 0},
    {MESSAGE_REJECT, "body", FIELD_BYTES, AT(body), 0, 0, MESSAGE_BODY_MAX, 0},

    {MESSAGE_STREAM_RECEIVE, "stream_id", FIELD_UINT, AT(stream_id), MUST, 0, U53, 0},
    {MESSAGE_STREAM_RECEIVE, "stream_ended", FIELD_BOOL, AT(stream_ended), SHOWN, 0, 0, 0},
    {MESSAGE_STREAM_RECEIVE, "data", FIELD_BYTES, AT(data), SHOWN, 0, FRAME, 0},

    {MESSAGE_STREAM_SEND, "stream_id", FIELD_UINT, AT(stream_id), MUST, 0, U53, 0},
    {MESSAGE_STREAM_SEND, "confirm", FIELD_BOOL, AT(confirm), 0, 0, 0, 0},
    {MESSAGE_STREAM_SEND, "end_stream", FIELD_BOOL, AT(end_stream), SHOWN, 0, 0, 0},
    {MESSAGE_STREAM_SEND, "data", FIELD_BYTES, AT(data), SHOWN, 0, FRAME, 0},

    {MESSAGE_STREAM_DELIVERED, "stream_id", FIELD_UINT, AT(stream_id), MUST, 0, U53, 0},

    {MESSAGE_STREAM_RESET, "stream_id", FIELD_UINT, AT(stream_id), MUST, 0, U53, 0},
    {MESSAGE_STREAM_RESET, "code", FIELD_UINT, AT(code), SHOWN | ELSE, 0, UINT32_MAX, 0},

    {MESSAGE_STREAM_STOP, "stream_id", FIELD_UINT, AT(stream_id), MUST, 0, U53, 0},
    {MESSAGE_STREAM_STOP, "code", FIELD_UINT, AT(code), SHOWN | ELSE, 0, UINT32_MAX, 0},

    {MESSAGE_CREDIT, "stream_id", FIELD_UINT, AT(stream_id), 0, 0, U53, 0},
    {MESSAGE_CREDIT, "limit", FIELD_UINT, AT(limit), MUST, 0, U53, 0},

    {MESSAGE_STREAM_PRIORITY, "stream_id", FIELD_UINT, AT(stream_id), MUST, 0, U53, 0},
    {MESSAGE_STREAM_PRIORITY, "send_order", FIELD_INT, AT(send_order), MUST | SHOWN, 0, U53, 0},

    {MESSAGE_DATAGRAM_RECEIVE, "data", FIELD_BYTES, AT(data), SHOWN, 0, FRAME, 0},
    {MESSAGE_DATAGRAM_SEND, "data", FIELD_BYTES, AT(data), SHOWN, 0, FRAME, 0},
    {MESSAGE_DATAGRAM_LIMIT, "max_size", FIELD_UINT, AT(max_size), MUST, 0, U53, 0},

    {MESSAGE_DRAIN, "reason", FIELD_TEXT, AT(reason), 0, 0, MESSAGE_REASON_MAX, 0},
    {MESSAGE_DRAIN, "deadline_ms", FIELD_UINT, AT(deadline_ms), 0, 0, U53, 0},

    {MESSAGE_CLOSE, "code", FIELD_UINT, AT(code), ELSE, 0, UINT32_MAX, 0},
    {MESSAGE_CLOSE, "reason", FIELD_TEXT, AT(reason), 0, 0, MESSAGE_REASON_MAX, 0},
    {MESSAGE_CLOSE, "after_delivery", FIELD_BOOL, AT(after_delivery), 0, 0, 0, 0},

    {MESSAGE_DISCONNECT, "code", FIELD_UINT, AT(code), SHOWN, 0, UINT32_MAX, 0},
    {MESSAGE_DISCONNECT, "reason", FIELD_TEXT, AT(reason), SHOWN, 0, MESSAGE_REASON_MAX, 0},
    {MESSAGE_DISCONNECT, "clean", FIELD_BOOL, AT(clean), SHOWN, 0, 0, 0},
    {MESSAGE_DISCONNECT, "by", FIELD_TEXT, AT(by), MUST, 0, FRAME, 0},

    {MESSAGE_ERROR, "code", FIELD_TEXT, AT(error_code), MUST, 0, FRAME, 0},
    {MESSAGE_ERROR, "message", FIELD_TEXT, AT(error_text), SHOWN, 0, FRAME, 0},
    {MESSAGE_ERROR, "stream_id", FIELD_UINT, AT(stream_id), 0, 0, U53, 0},
    {MESSAGE_ERROR, "count", FIELD_UINT, AT(count), 0, 0, U53, 0},
};
/* clang-format on */
const size_t message_field_count = sizeof message_fields / sizeof *message_fields;

const char *message_type_name(enum message_type type)
{
    return types[type].name;
}

bool message_type_from(enum message_type type, enum message_side side)
{
    return (types[type].from & 1u << side) != 0;
}

enum message_type message_type_find(const char *name, size_t len)
{
    for (enum message_type type = MESSAGE_SCOPE; type < MESSAGE_TYPES; type++)
        if (strlen(types[type].name) == len && memcmp(types[type].name, name, len) == 0)
            return type;
    return MESSAGE_UNKNOWN;
}

bool message_refuse(struct message_fault *fault, const char *code, const char *field,
                    const char *format, ...)
{
    fault->code = code;
    fault->field = field;
    va_list args;
    va_start(args, format);
    vsnprintf(fault->text, sizeof fault->text, format, args);
    va_end(args);
    return false;
}

/* RFC 9110, section 5.6.2, without upper case (RFC 9114, section 4.2). */
static bool is_token_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* RFC 9114, section 4.2, and what the proxy itself decides. */
static bool is_forbidden(const struct message_bytes *name)
{
    static const char *const names[] = {"connection",        "keep-alive", "proxy-connection",
                                        "transfer-encoding", "upgrade",    "te",
                                        "content-length"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == name->len && memcmp(names[i], name->at, name->len) == 0)
            return true;
    return false;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

bool message_header_check(const struct message_header *h, size_t index, struct message_fault *fault)
{
    if (h->name.len == 0)
        return message_refuse(fault, "bad_header", "headers", "headers[%zu]: its name is empty",
                              index);
    if (h->name.at[0] == ':')
        return message_refuse(fault, "bad_header", "headers",
                              "headers[%zu]: pseudo-headers are the proxy's", index);
    for (size_t i = 0; i < h->name.len; i++)
        if (!is_token_char(h->name.at[i]))
            return message_refuse(fault, "bad_header", "headers",
                                  "headers[%zu]: byte 0x%02x in its name; expected a lower-case "
                                  "token",
                                  index, h->name.at[i]);
    if (is_forbidden(&h->name))
        return message_refuse(fault, "bad_header", "headers",
                              "headers[%zu]: %.*s is not the application's to send", index,
                              (int)h->name.len, (const char *)h->name.at);
    for (size_t i = 0; i < h->value.len; i++)
        if ((h->value.at[i] < ' ' && h->value.at[i] != '\t') || h->value.at[i] == 0x7f)
            return message_refuse(fault, "bad_header", "headers",
                                  "headers[%zu]: control character 0x%02x in its value", index,
                                  h->value.at[i]);
    if (h->value.len > 0 && (is_blank(h->value.at[0]) || is_blank(h->value.at[h->value.len - 1])))
        return message_refuse(fault, "bad_header", "headers",
                              "headers[%zu]: its value begins or ends with a blank", index);
    return true;
}
