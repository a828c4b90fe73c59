/*
 * message_samples - a message of every type, and a scope, for the tests of the codec. Included once
 * by each test after <cmocka.h>.
 */
#ifndef TESTS_UNIT_MESSAGE_SAMPLES_H
#define TESTS_UNIT_MESSAGE_SAMPLES_H

#include "protocol/message.h"

#define APP    MESSAGE_FROM_APP
#define SLUICE MESSAGE_FROM_SLUICE
/* The versions of the formatter disagree about braces in macros. */
/* clang-format off */
#define TEXT(text)  {(text), sizeof(text) - 1}
#define DATA(text)  {(const uint8_t *)(text), sizeof(text) - 1}
#define UINT(value) {true, (value)}
/* clang-format on */

static const struct message_header two_headers[] = {{DATA("set-cookie"), DATA("a=1")},
                                                    {DATA("set-cookie"), DATA("b=2")}};

static const struct message samples[] = {
    {.type = MESSAGE_ACCEPT, .status = UINT(200)},
    {.type = MESSAGE_ACCEPT,
     .status = UINT(202),
     .headers = two_headers,
     .header_count = 2,
     .subprotocol = TEXT("chat"),
     .receive_window = UINT(0)},
    {.type = MESSAGE_REJECT, .status = UINT(403)},
    {.type = MESSAGE_REJECT,
     .status = UINT(302),
     .headers = two_headers,
     .header_count = 1,
     .body = DATA("go away")},
    {.type = MESSAGE_STREAM_RECEIVE, .stream_id = UINT(0)},
    {.type = MESSAGE_STREAM_RECEIVE,
     .stream_id = UINT(4),
     .stream_ended = true,
     .data = DATA("hello")},
    {.type = MESSAGE_STREAM_SEND, .stream_id = UINT(1)},
    {.type = MESSAGE_STREAM_SEND,
     .stream_id = UINT(MESSAGE_MAX_UINT),
     .end_stream = true,
     .confirm = true,
     .data = DATA("hello\0world")},
    {.type = MESSAGE_STREAM_DELIVERED, .stream_id = UINT(3)},
    {.type = MESSAGE_STREAM_RESET, .stream_id = UINT(3), .code = UINT(0)},
    {.type = MESSAGE_STREAM_RESET, .stream_id = UINT(3), .code = UINT(UINT32_MAX)},
    {.type = MESSAGE_STREAM_STOP, .stream_id = UINT(2), .code = UINT(42)},
    {.type = MESSAGE_CREDIT, .limit = UINT(1 << 20)},
    {.type = MESSAGE_CREDIT, .stream_id = UINT(0), .limit = UINT(1 << 20)},
    {.type = MESSAGE_STREAM_PRIORITY, .stream_id = UINT(1), .send_order = -7},
    {.type = MESSAGE_STREAM_PRIORITY,
     .stream_id = UINT(1),
     .send_order = (int64_t)MESSAGE_MAX_UINT},
    {.type = MESSAGE_DATAGRAM_RECEIVE, .data = DATA("ping")},
    {.type = MESSAGE_DATAGRAM_RECEIVE},
    {.type = MESSAGE_DATAGRAM_SEND, .data = DATA("pong")},
    {.type = MESSAGE_DATAGRAM_LIMIT, .max_size = UINT(1200)},
    {.type = MESSAGE_DRAIN},
    {.type = MESSAGE_DRAIN, .reason = TEXT("shutdown"), .deadline_ms = UINT(30000)},
    {.type = MESSAGE_CLOSE, .code = UINT(0)},
    {.type = MESSAGE_CLOSE, .code = UINT(7), .reason = TEXT("b\xc3\xa4h"), .after_delivery = true},
    {.type = MESSAGE_ABORT},
    {.type = MESSAGE_DISCONNECT, .by = TEXT("network")},
    {.type = MESSAGE_DISCONNECT,
     .code = UINT(5),
     .reason = TEXT("done"),
     .clean = true,
     .by = TEXT("client")},
    {.type = MESSAGE_ERROR, .error_code = TEXT("unknown_type"), .error_text = TEXT("type: x")},
    {.type = MESSAGE_ERROR,
     .error_code = TEXT("no_such_half"),
     .error_text = TEXT("y"),
     .stream_id = UINT(2),
     .count = UINT(9)},
};
#define SAMPLES (sizeof samples / sizeof *samples)

static const struct message_text offered[] = {TEXT("chat"), TEXT("game")};
static const struct message_scope scope = {
    .path = TEXT("/a b"),
    .raw_path = DATA("/a%20b"),
    .query_string = DATA("x=1"),
    .root_path = TEXT(""),
    .headers = two_headers,
    .header_count = 2,
    .server_host = TEXT("127.0.0.1"),
    .server_port = 4433,
    .client_host = TEXT("::1"),
    .client_port = 50000,
    .session_id = 4,
    .subprotocols = offered,
    .subprotocol_count = 2,
    .tls_version = 0x0304,
    .cipher_suite = 0x1301,
    .max_datagram_size = 1200,
    .stream_window = 262144,
    .session_window = 1048576,
    .max_pending_streams = 100,
    .connect_protocol = TEXT("webtransport"),
    .session = TEXT("0-1"),
    .draft = TEXT("draft15"),
    .route = TEXT("default"),
    .max_frame = MESSAGE_MAX_FRAME,
};

/* Both sides' decoders; the one that knows the type is the one that counts. */
struct decoders {
    struct message_decoder *of[2];
};

static struct decoders decoders_new(void)
{
    return (struct decoders){{message_decoder_new(APP), message_decoder_new(SLUICE)}};
}

static void decoders_free(struct decoders *d)
{
    message_decoder_free(d->of[0]);
    message_decoder_free(d->of[1]);
}

#endif
