/*
 * A session without a client, for back/upstream to ask whether an application accepts one. Calls
 * protocol.
 */
#include <assert.h>
#include <string.h>

#include "relay_internal.h"

static struct message_header header_of(const char *name, const char *value)
{
    return (struct message_header){.name = {(const uint8_t *)name, strlen(name)},
                                   .value = {(const uint8_t *)value, strlen(value)}};
}

void relay_probe_init(struct relay_probe *p)
{
    const struct message_header headers[] = {header_of("host", "localhost"),
                                             header_of("user-agent", "sluice-probe")};
    const struct message_scope scope = {.path = news_text("/"),
                                        .raw_path = {(const uint8_t *)"/", 1},
                                        .query_string = {(const uint8_t *)"", 0},
                                        .root_path = news_text(""),
                                        .headers = headers,
                                        .header_count = 2,
                                        .server_host = news_text("localhost"),
                                        .max_datagram_size = 1200,
                                        .stream_window = FIRST_STREAM_WINDOW,
                                        .session_window = FIRST_SESSION_WINDOW,
                                        .max_pending_streams = 1,
                                        .connect_protocol = news_text("webtransport"),
                                        .session = news_text("probe"),
                                        .draft = news_text("draft15"),
                                        .route = news_text("probe"),
                                        .max_frame = 128 * 1024};
    const struct message farewell = {.type = MESSAGE_DISCONNECT,
                                     .reason = news_text("this was a health check"),
                                     .clean = true,
                                     .by = news_text("proxy")};
    p->hello_len = message_encode_scope(&scope, p->hello, sizeof p->hello);
    p->farewell_len = message_encode(&farewell, p->farewell, sizeof p->farewell);
    assert(p->hello_len <= sizeof p->hello && p->farewell_len <= sizeof p->farewell);
}

bool relay_probe_is_accepted(const uint8_t *frame, size_t len)
{
    struct message_decoder *decoder = message_decoder_new(MESSAGE_FROM_APP);
    struct message_fault fault;
    struct message m;
    bool is_accepted = message_decode(decoder, frame, len, &m, &fault) && m.type == MESSAGE_ACCEPT;
    message_decoder_free(decoder);
    return is_accepted;
}
