/*
 * From a struct message to a frame's bytes, by the table of fields and msgpack-c's packer, into
 * memory that the caller gives. Owns nothing.
 */
#include "protocol/message_encode.h"
#include "protocol/message_fields.h"

#include <assert.h>
#include <string.h>

static int write_bounded(void *user, const char *data, size_t len)
{
    struct message_writer *w = user;
    if (len > 0 && w->len <= w->cap && len <= w->cap - w->len)
        memcpy(w->to + w->len, data, len);
    w->len += len;
    return 0;
}

void message_writer_init(struct message_writer *w, uint8_t *to, size_t cap)
{
    w->to = to;
    w->cap = cap;
    w->len = 0;
    msgpack_packer_init(&w->packer, w, write_bounded);
}

void message_put_key(struct message_writer *w, const char *key)
{
    msgpack_pack_str_with_body(&w->packer, key, strlen(key));
}

void message_put_text(struct message_writer *w, const struct message_text *text)
{
    msgpack_pack_str_with_body(&w->packer, text->at, text->len);
}

void message_put_bytes(struct message_writer *w, const struct message_bytes *bytes)
{
    msgpack_pack_bin_with_body(&w->packer, bytes->at, bytes->len);
}

void message_put_headers(struct message_writer *w, const struct message_header *headers,
                         size_t count)
{
    msgpack_pack_array(&w->packer, count);
    for (size_t i = 0; i < count; i++) {
        msgpack_pack_array(&w->packer, 2);
        message_put_bytes(w, &headers[i].name);
        message_put_bytes(w, &headers[i].value);
    }
}

static bool is_set(const struct message *m, const struct message_field *f)
{
    const void *at = (const char *)m + f->offset;
    switch (f->kind) {
    case FIELD_UINT:
        return ((const struct message_uint *)at)->set;
    case FIELD_INT:
        return true;
    case FIELD_BOOL:
        return *(const bool *)at;
    case FIELD_TEXT:
        return ((const struct message_text *)at)->at != NULL;
    case FIELD_BYTES:
        return ((const struct message_bytes *)at)->len > 0;
    case FIELD_HEADERS:
        return m->header_count > 0;
    }
    return false;
}

static bool is_encoded(const struct message *m, const struct message_field *f)
{
    assert(!(f->flags & FIELD_REQUIRED) || is_set(m, f));
    return f->flags & FIELD_ALWAYS || is_set(m, f);
}

static void put_uint(struct message_writer *w, const struct message_uint *number)
{
    if (number->set)
        msgpack_pack_uint64(&w->packer, number->value);
    else
        msgpack_pack_nil(&w->packer);
}

static void put_value(struct message_writer *w, const struct message *m,
                      const struct message_field *f)
{
    const void *at = (const char *)m + f->offset;
    switch (f->kind) {
    case FIELD_UINT:
        put_uint(w, at);
        break;
    case FIELD_INT:
        msgpack_pack_int64(&w->packer, *(const int64_t *)at);
        break;
    case FIELD_BOOL:
        if (*(const bool *)at)
            msgpack_pack_true(&w->packer);
        else
            msgpack_pack_false(&w->packer);
        break;
    case FIELD_TEXT:
        message_put_text(w, at);
        break;
    case FIELD_BYTES:
        message_put_bytes(w, at);
        break;
    case FIELD_HEADERS:
        message_put_headers(w, m->headers, m->header_count);
        break;
    }
}

/* Everything but the value of data, which is a type's last field. Returns data's row if the type
 * has it, or NULL. *flag_at is the byte before the key "data". */
static const struct message_field *put_head(struct message_writer *w, const struct message *m,
                                            size_t *flag_at)
{
    size_t count = 1;
    for (size_t i = 0; i < message_field_count; i++)
        if (message_fields[i].type == m->type)
            count += is_encoded(m, &message_fields[i]);
    msgpack_pack_map(&w->packer, count);
    message_put_key(w, "type");
    message_put_key(w, message_type_name(m->type));
    for (size_t i = 0; i < message_field_count; i++) {
        const struct message_field *f = &message_fields[i];
        if (f->type != m->type || !is_encoded(m, f))
            continue;
        *flag_at = w->len - 1;
        message_put_key(w, f->key);
        if (f->offset == offsetof(struct message, data))
            return f;
        put_value(w, m, f);
    }
    return NULL;
}

size_t message_encode(const struct message *m, uint8_t *to, size_t cap)
{
    assert(m->type > MESSAGE_SCOPE && m->type < MESSAGE_TYPES);
    struct message_writer w;
    size_t flag_at;
    message_writer_init(&w, to, cap);
    const struct message_field *data = put_head(&w, m, &flag_at);
    if (data != NULL)
        put_value(&w, m, data);
    return w.len;
}

size_t message_encode_head(const struct message *m, uint8_t *to, size_t cap, size_t *flag_at)
{
    struct message_writer w;
    size_t at;
    message_writer_init(&w, to, cap);
    const struct message_field *data = put_head(&w, m, &at);
    assert(data != NULL);
    (void)data;
    if (flag_at != NULL)
        *flag_at = at;
    return w.len;
}
