/*
 * capsule - reads and writes capsules. Owns nothing outside the caller's struct.
 */
#include "front/capsule.h"

#include <string.h>
#include <unistr.h>

#include "base/varint.h"

static bool is_known(uint64_t type)
{
    return type == CAPSULE_DATAGRAM || type == CAPSULE_CLOSE || type == CAPSULE_DRAIN ||
           capsule_is_flow(type);
}

/* The limits are checked before the payload is taken, so that a peer cannot make us wait for it. */
static bool has_legal_length(uint64_t type, uint64_t length)
{
    if (type == CAPSULE_CLOSE)
        return length >= 4 && length <= 4 + CAPSULE_REASON_MAX;
    if (type == CAPSULE_DRAIN)
        return length == 0;
    if (capsule_is_flow(type)) /* none has more than two numbers */
        return length <= 2 * VARINT_SIZE_MAX;
    return true;
}

/* Takes head bytes one at a time until type and length are whole. */
static bool read_head(struct capsule_reader *r, const uint8_t **data, size_t *len)
{
    while (*len > 0) {
        r->head[r->head_len++] = **data;
        (*data)++;
        (*len)--;
        size_t a = varint_read(&r->type, r->head, r->head_len);
        if (a && varint_read(&r->length, r->head + a, r->head_len - a))
            return true;
    }
    return false;
}

enum capsule_result capsule_read(struct capsule_reader *r, const uint8_t **data, size_t *len,
                                 struct capsule *out)
{
    for (;;) {
        if (!r->in_payload) {
            if (!read_head(r, data, len))
                return CAPSULE_NONE;
            r->in_payload = true;
            r->got = 0;
            r->skipping = !is_known(r->type) || r->length > CAPSULE_MAX;
            if (!has_legal_length(r->type, r->length))
                return CAPSULE_BAD;
        }
        uint64_t missing = r->length - r->got;
        size_t n = *len < missing ? *len : (size_t)missing;
        if (!r->skipping && n > 0)
            memcpy(r->payload + r->got, *data, n);
        r->got += n;
        *data += n;
        *len -= n;
        if (r->got < r->length)
            return CAPSULE_NONE;
        r->in_payload = false;
        r->head_len = 0;
        if (!r->skipping) {
            *out = (struct capsule){.type = r->type, .payload = r->payload, .len = r->length};
            return CAPSULE_WHOLE;
        }
    }
}

bool capsule_is_partial(const struct capsule_reader *r)
{
    return r->in_payload || r->head_len > 0;
}

bool capsule_is_reason(const void *text, size_t len)
{
    return len <= CAPSULE_REASON_MAX && !u8_check(text, len);
}

bool capsule_read_close(const struct capsule *c, uint32_t *code, const char **reason,
                        size_t *reason_len)
{
    if (c->len < 4)
        return false;
    *code = (uint32_t)c->payload[0] << 24 | (uint32_t)c->payload[1] << 16 |
            (uint32_t)c->payload[2] << 8 | c->payload[3];
    *reason = (const char *)c->payload + 4;
    *reason_len = c->len - 4;
    return capsule_is_reason(*reason, *reason_len);
}

size_t capsule_write_close(uint8_t *to, uint32_t code, const char *reason, size_t reason_len)
{
    size_t n = varint_write(to, CAPSULE_CLOSE);
    n += varint_write(to + n, 4 + reason_len);
    for (int shift = 24; shift >= 0; shift -= 8)
        to[n++] = (uint8_t)(code >> shift);
    memcpy(to + n, reason, reason_len);
    return n + reason_len;
}

size_t capsule_write_drain(uint8_t *to)
{
    size_t n = varint_write(to, CAPSULE_DRAIN);
    return n + varint_write(to + n, 0);
}

bool capsule_is_flow(uint64_t type)
{
    return type >= CAPSULE_MAX_DATA && type <= CAPSULE_STREAMS_BLOCKED_UNI;
}

bool capsule_read_number(const struct capsule *c, uint64_t *value)
{
    return c->len > 0 && varint_read(value, c->payload, c->len) == c->len;
}

size_t capsule_write_number(uint8_t *to, uint64_t type, uint64_t value)
{
    size_t n = varint_write(to, type);
    n += varint_write(to + n, varint_size(value));
    return n + varint_write(to + n, value);
}
