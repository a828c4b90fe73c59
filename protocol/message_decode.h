/*
 * message_decode - reading single values out of an unpacked frame.
 *
 * Only for protocol/message*.c: what message_decode.c lends to message_scope.c. The take functions
 * return false and fill fault if the value is not what they expect.
 */
#ifndef PROTOCOL_MESSAGE_DECODE_H
#define PROTOCOL_MESSAGE_DECODE_H

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/message.h"

/* Scans and unpacks. map points into body and the decoder's zone. */
bool message_unpack(struct message_decoder *d, const uint8_t *body, size_t len, size_t max_elements,
                    msgpack_object *map, struct message_fault *fault);
/* Memory that lives until the next decode. Never NULL. */
void *message_decoder_alloc(struct message_decoder *d, size_t size);

/* NULL if the key is absent or nil. */
const msgpack_object *message_find(const msgpack_object *map, const char *key);

bool message_take_type(const msgpack_object *map, struct message_text *out,
                       struct message_fault *fault);
bool message_take_uint(const char *key, const msgpack_object *o, uint64_t min, uint64_t max,
                       uint64_t *out, struct message_fault *fault);
bool message_take_text(const char *key, const msgpack_object *o, size_t max,
                       struct message_text *out, struct message_fault *fault);
bool message_take_bytes(const char *key, const msgpack_object *o, size_t max,
                        struct message_bytes *out, struct message_fault *fault);
bool message_take_headers(struct message_decoder *d, const msgpack_object *o,
                          const struct message_header **out, size_t *count,
                          struct message_fault *fault);

#endif
