/*
 * The scope: the one message that is a tree. Its leaves are listed in one table of places, which
 * decoding goes through; encoding writes the maps in a fixed order. Owns nothing.
 */
#include "protocol/message.h"
#include "protocol/message_decode.h"
#include "protocol/message_encode.h"
#include "protocol/message_fields.h"

#include <string.h>
#include <unistr.h>

/* ---- encoding ---- */

static void put_text_value(struct message_writer *w, const char *key, const char *value)
{
    message_put_key(w, key);
    message_put_key(w, value);
}

static void put_text(struct message_writer *w, const char *key, const struct message_text *text)
{
    message_put_key(w, key);
    message_put_text(w, text);
}

static void put_bytes(struct message_writer *w, const char *key, const struct message_bytes *bytes)
{
    message_put_key(w, key);
    message_put_bytes(w, bytes);
}

static void put_uint(struct message_writer *w, const char *key, uint64_t value)
{
    message_put_key(w, key);
    msgpack_pack_uint64(&w->packer, value);
}

static void put_nil(struct message_writer *w, const char *key)
{
    message_put_key(w, key);
    msgpack_pack_nil(&w->packer);
}

static void put_address(struct message_writer *w, const char *key, const struct message_text *host,
                        uint16_t port)
{
    message_put_key(w, key);
    if (host->at == NULL) {
        msgpack_pack_nil(&w->packer);
        return;
    }
    msgpack_pack_array(&w->packer, 2);
    message_put_text(w, host);
    msgpack_pack_uint16(&w->packer, port);
}

static void put_map(struct message_writer *w, const char *key, size_t count)
{
    message_put_key(w, key);
    msgpack_pack_map(&w->packer, count);
}

static void put_extensions(struct message_writer *w, const struct message_scope *s)
{
    put_map(w, "extensions", 3);
    put_map(w, "tls", 6);
    put_nil(w, "server_cert");
    message_put_key(w, "client_cert_chain");
    msgpack_pack_array(&w->packer, 0);
    put_nil(w, "client_cert_name");
    put_nil(w, "client_cert_error");
    put_uint(w, "tls_version", s->tls_version);
    put_uint(w, "cipher_suite", s->cipher_suite);
    put_map(w, "webtransport", 5);
    put_uint(w, "max_datagram_size", s->max_datagram_size);
    put_uint(w, "stream_window", s->stream_window);
    put_uint(w, "session_window", s->session_window);
    put_uint(w, "max_pending_streams", s->max_pending_streams);
    put_text(w, "connect_protocol", &s->connect_protocol);
    put_map(w, "sluice", 5);
    put_uint(w, "protocol", 1);
    put_text(w, "session", &s->session);
    put_text(w, "draft", &s->draft);
    put_uint(w, "max_frame", s->max_frame);
    put_text(w, "route", &s->route);
}

static void put_scope(struct message_writer *w, const struct message_scope *s)
{
    msgpack_pack_map(&w->packer, 14);
    put_text_value(w, "type", "webtransport");
    put_map(w, "asgi", 2);
    put_text_value(w, "version", "3.0");
    put_text_value(w, "spec_version", "2.3");
    put_text_value(w, "http_version", "3");
    put_text_value(w, "scheme", "https");
    put_text(w, "path", &s->path);
    put_bytes(w, "raw_path", &s->raw_path);
    put_bytes(w, "query_string", &s->query_string);
    put_text(w, "root_path", &s->root_path);
    message_put_key(w, "headers");
    message_put_headers(w, s->headers, s->header_count);
    put_address(w, "server", &s->server_host, s->server_port);
    put_address(w, "client", &s->client_host, s->client_port);
    put_uint(w, "session_id", s->session_id);
    message_put_key(w, "subprotocols");
    msgpack_pack_array(&w->packer, s->subprotocol_count);
    for (size_t i = 0; i < s->subprotocol_count; i++)
        message_put_text(w, &s->subprotocols[i]);
    put_extensions(w, s);
}

size_t message_encode_scope(const struct message_scope *s, uint8_t *to, size_t cap)
{
    struct message_writer w;
    message_writer_init(&w, to, cap);
    put_scope(&w, s);
    return w.len;
}

/* ---- decoding ---- */

enum place_kind { PLACE_TEXT, PLACE_BYTES, PLACE_U16, PLACE_UINT };

/* A leaf: extensions.<extension>.<key>, or a key of the scope itself. */
struct place {
    const char *extension; /* NULL: the scope itself */
    const char *key;
    enum place_kind kind;
    size_t offset; /* in struct message_scope */
    bool required;
};

#define AT(member) offsetof(struct message_scope, member)

static const struct place places[] = {
    {NULL, "path", PLACE_TEXT, AT(path), true},
    {NULL, "raw_path", PLACE_BYTES, AT(raw_path), true},
    {NULL, "query_string", PLACE_BYTES, AT(query_string), false},
    {NULL, "root_path", PLACE_TEXT, AT(root_path), false},
    {NULL, "session_id", PLACE_UINT, AT(session_id), true},
    {"tls", "tls_version", PLACE_U16, AT(tls_version), false},
    {"tls", "cipher_suite", PLACE_U16, AT(cipher_suite), false},
    {"webtransport", "max_datagram_size", PLACE_UINT, AT(max_datagram_size), true},
    {"webtransport", "stream_window", PLACE_UINT, AT(stream_window), true},
    {"webtransport", "session_window", PLACE_UINT, AT(session_window), true},
    {"webtransport", "max_pending_streams", PLACE_UINT, AT(max_pending_streams), true},
    {"webtransport", "connect_protocol", PLACE_TEXT, AT(connect_protocol), false},
    {"sluice", "session", PLACE_TEXT, AT(session), true},
    {"sluice", "draft", PLACE_TEXT, AT(draft), false},
    {"sluice", "max_frame", PLACE_UINT, AT(max_frame), true},
    {"sluice", "route", PLACE_TEXT, AT(route), false},
};

static bool take_map(const msgpack_object *in, const char *key, const msgpack_object **out,
                     struct message_fault *fault)
{
    *out = message_find(in, key);
    if (*out == NULL)
        return message_refuse(fault, "missing_field", key, "%s: is missing", key);
    if ((*out)->type != MSGPACK_OBJECT_MAP)
        return message_refuse(fault, "wrong_type", key, "%s: expected a map", key);
    return true;
}

static bool take_place(const struct place *p, const msgpack_object *map, struct message_scope *out,
                       struct message_fault *fault)
{
    void *at = (char *)out + p->offset;
    uint64_t number;
    const msgpack_object *o = message_find(map, p->key);
    if (o == NULL)
        return !p->required ||
               message_refuse(fault, "missing_field", p->key, "%s: is missing", p->key);
    switch (p->kind) {
    case PLACE_TEXT:
        return message_take_text(p->key, o, SIZE_MAX, at, fault);
    case PLACE_BYTES:
        return message_take_bytes(p->key, o, SIZE_MAX, at, fault);
    case PLACE_U16:
        if (!message_take_uint(p->key, o, 0, UINT16_MAX, &number, fault))
            return false;
        *(uint16_t *)at = (uint16_t)number;
        return true;
    case PLACE_UINT:
        return message_take_uint(p->key, o, 0, MESSAGE_MAX_UINT, at, fault);
    }
    return false;
}

static bool take_places(const msgpack_object *map, struct message_scope *out,
                        struct message_fault *fault)
{
    const msgpack_object *extensions;
    if (!take_map(map, "extensions", &extensions, fault))
        return false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const struct place *p = &places[i];
        const msgpack_object *in = map;
        if (p->extension != NULL && message_find(extensions, p->extension) == NULL && !p->required)
            continue;
        if (p->extension != NULL && !take_map(extensions, p->extension, &in, fault))
            return false;
        if (!take_place(p, in, out, fault))
            return false;
    }
    return true;
}

static bool take_address(const msgpack_object *map, const char *key, struct message_text *host,
                         uint16_t *port, struct message_fault *fault)
{
    const msgpack_object *o = message_find(map, key);
    if (o == NULL)
        return true;
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != 2)
        return message_refuse(fault, "wrong_type", key, "%s: expected an array of host and port",
                              key);
    uint64_t number;
    if (!message_take_text(key, &o->via.array.ptr[0], SIZE_MAX, host, fault) ||
        !message_take_uint(key, &o->via.array.ptr[1], 0, UINT16_MAX, &number, fault))
        return false;
    *port = (uint16_t)number;
    return true;
}

static bool take_subprotocols(struct message_decoder *d, const msgpack_object *map,
                              struct message_scope *out, struct message_fault *fault)
{
    const msgpack_object *o = message_find(map, "subprotocols");
    if (o == NULL)
        return true;
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return message_refuse(fault, "wrong_type", "subprotocols",
                              "subprotocols: expected an array of str");
    size_t n = o->via.array.size;
    struct message_text *texts = message_decoder_alloc(d, (n + 1) * sizeof *texts);
    for (size_t i = 0; i < n; i++)
        if (!message_take_text("subprotocols", &o->via.array.ptr[i], SIZE_MAX, &texts[i], fault))
            return false;
    out->subprotocols = texts;
    out->subprotocol_count = n;
    return true;
}

static bool take_scope(struct message_decoder *d, const msgpack_object *map,
                       struct message_scope *out, struct message_fault *fault)
{
    struct message_text type;
    if (!message_take_type(map, &type, fault))
        return false;
    if (message_type_find(type.at, type.len) != MESSAGE_SCOPE)
        return message_refuse(fault, "unknown_type", "type", "type: expected \"webtransport\"");
    const msgpack_object *headers = message_find(map, "headers");
    if (headers != NULL &&
        !message_take_headers(d, headers, &out->headers, &out->header_count, fault))
        return false;
    return take_places(map, out, fault) &&
           take_address(map, "server", &out->server_host, &out->server_port, fault) &&
           take_address(map, "client", &out->client_host, &out->client_port, fault) &&
           take_subprotocols(d, map, out, fault);
}

bool message_decode_scope(struct message_decoder *d, const uint8_t *body, size_t len,
                          struct message_scope *out, struct message_fault *fault)
{
    *out = (struct message_scope){0};
    msgpack_object map;
    return message_unpack(d, body, len, MESSAGE_MAX_SCOPE_ELEMENTS, &map, fault) &&
           take_scope(d, &map, out, fault);
}

/* ---- path ---- */

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986, section 2.1. A percent sign that begins no escape stays. */
static size_t percent_decode(const uint8_t *raw, size_t len, uint8_t *to)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        bool escape = raw[i] == '%' && len - i > 2 && hex(raw[i + 1]) >= 0 && hex(raw[i + 2]) >= 0;
        to[n++] = escape ? (uint8_t)(hex(raw[i + 1]) << 4 | hex(raw[i + 2])) : raw[i];
        i += escape ? 2 : 0;
    }
    return n;
}

/* Decodes into the last third of to and repairs from there to its beginning: a byte read makes at
 * most three. */
size_t message_scope_path(const uint8_t *raw, size_t len, char *to)
{
    uint8_t *in = (uint8_t *)to + 2 * len;
    size_t left = percent_decode(raw, len, in);
    size_t n = 0;
    while (left > 0) {
        ucs4_t c;
        int used = u8_mbtouc(&c, in, left); /* U+FFFD for what is not valid */
        uint8_t bytes[6];
        int made = u8_uctomb(bytes, c, sizeof bytes);
        memcpy(to + n, bytes, (size_t)made);
        n += (size_t)made;
        in += used;
        left -= (size_t)used;
    }
    return n;
}
