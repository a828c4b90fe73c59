/*
 * h3_message - the header fields of one message while it comes in. Owns copies of them; calls
 * nobody.
 *
 * With QPACK's dynamic table ten bytes on the wire may stand for many thousand here, and nobody
 * makes a client finish its headers. So besides the limit of each message there is one of all
 * messages of a connection together.
 */
#include <stdlib.h>
#include <string.h>

#include "front/h3_internal.h"

#define FIELD_OVERHEAD 32 /* RFC 9114, section 4.2.2 */
#define UNFINISHED_MAX 4  /* largest messages that a connection may have unfinished at a time */

static size_t keep_bytes(struct h3_message *m, nghttp3_vec v)
{
    if (m->arena_len + v.len + 1 > m->arena_cap) {
        m->arena_cap = 2 * m->arena_cap + v.len + 256;
        if (!(m->arena = realloc(m->arena, m->arena_cap)))
            abort();
    }
    size_t at = m->arena_len;
    memcpy(m->arena + at, v.base, v.len);
    m->arena[at + v.len] = '\0';
    m->arena_len += v.len + 1;
    return at;
}

static struct h3_field *next_field(struct h3_message *m)
{
    if (m->field_count == m->field_cap) {
        m->field_cap = 2 * m->field_cap + 16;
        if (!(m->fields = realloc(m->fields, m->field_cap * sizeof(*m->fields))))
            abort();
    }
    return &m->fields[m->field_count++];
}

static struct h3_field *field_for(struct h3_message *m, int32_t token)
{
    switch (token) {
    case NGHTTP3_QPACK_TOKEN__METHOD:
        return &m->pseudo[H3_METHOD];
    case NGHTTP3_QPACK_TOKEN__SCHEME:
        return &m->pseudo[H3_SCHEME];
    case NGHTTP3_QPACK_TOKEN__AUTHORITY:
        return &m->pseudo[H3_AUTHORITY];
    case NGHTTP3_QPACK_TOKEN__PATH:
        return &m->pseudo[H3_PATH];
    case NGHTTP3_QPACK_TOKEN__PROTOCOL:
        return &m->pseudo[H3_PROTOCOL];
    case NGHTTP3_QPACK_TOKEN__STATUS:
        return &m->pseudo[H3_STATUS];
    default:
        return next_field(m);
    }
}

/* Forgets what there was, but not that there was too much. */
static void give_up(struct h3 *h, struct h3_message *m)
{
    h3_message_forget(h, m);
    m->too_large = true;
}

void h3_message_add(struct h3 *h, struct h3_message *m, int32_t token, nghttp3_vec name,
                    nghttp3_vec value)
{
    size_t max = h->host->config.max_header_bytes, len = name.len + value.len + FIELD_OVERHEAD;
    if (token == NGHTTP3_QPACK_TOKEN__METHOD)
        m->is_head = value.len == 4 && memcmp(value.base, "HEAD", 4) == 0;
    if (m->too_large)
        return;
    if (m->counted + len > max || h->header_bytes + len > UNFINISHED_MAX * max) {
        give_up(h, m);
        return;
    }
    m->counted += len;
    h->header_bytes += len;
    struct h3_field *f = field_for(m, token);
    f->name = keep_bytes(m, name);
    f->name_len = name.len;
    f->value = keep_bytes(m, value);
    f->value_len = value.len;
}

void h3_message_forget(struct h3 *h, struct h3_message *m)
{
    h->header_bytes -= m->counted;
    free(m->arena);
    free(m->fields);
    *m = (struct h3_message){.is_head = m->is_head};
}

const char *h3_message_pseudo(const struct h3_message *m, enum h3_pseudo p)
{
    return m->pseudo[p].name_len ? m->arena + m->pseudo[p].value : "";
}

struct header *h3_message_headers(const struct h3_message *m)
{
    struct header *headers = calloc(m->field_count + 1, sizeof(*headers));
    if (!headers)
        abort();
    for (size_t i = 0; i < m->field_count; i++) {
        const struct h3_field *f = &m->fields[i];
        headers[i] = (struct header){.name = (uint8_t *)m->arena + f->name,
                                     .name_len = f->name_len,
                                     .value = (uint8_t *)m->arena + f->value,
                                     .value_len = f->value_len};
    }
    return headers;
}
