/*
 * message_encode - msgpack into a bounded buffer.
 *
 * Only for protocol/message*.c.
 */
#ifndef PROTOCOL_MESSAGE_ENCODE_H
#define PROTOCOL_MESSAGE_ENCODE_H

#include <msgpack.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/message.h"

/* Counts what is written beyond cap, but does not write it. */
struct message_writer {
    uint8_t *to;
    size_t cap, len;
    msgpack_packer packer;
};

void message_writer_init(struct message_writer *w, uint8_t *to, size_t cap);
void message_put_key(struct message_writer *w, const char *key);
void message_put_text(struct message_writer *w, const struct message_text *text);
void message_put_bytes(struct message_writer *w, const struct message_bytes *bytes);
void message_put_headers(struct message_writer *w, const struct message_header *headers,
                         size_t count);

#endif
