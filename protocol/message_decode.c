/*
 * From a frame's bytes to a struct message. A frame is scanned first (scan.c), then unpacked by
 * msgpack-c into a zone that is used again for every frame: its texts and bytes stay where they
 * are, in the frame. Then the table of fields is gone through. The decoder owns the zone.
 */
#include "protocol/message.h"
#include "protocol/message_decode.h"
#include "protocol/message_fields.h"
#include "protocol/scan.h"

#include <assert.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

#define ZONE_CHUNK 8192

struct message_decoder {
    enum message_side from;
    msgpack_zone zone;
};

struct message_decoder *message_decoder_new(enum message_side from)
{
    struct message_decoder *d = calloc(1, sizeof *d);
    if (d == NULL || !msgpack_zone_init(&d->zone, ZONE_CHUNK))
        abort();
    d->from = from;
    return d;
}

void message_decoder_free(struct message_decoder *d)
{
    if (d == NULL)
        return;
    msgpack_zone_destroy(&d->zone);
    free(d);
}

void *message_decoder_alloc(struct message_decoder *d, size_t size)
{
    void *at = msgpack_zone_malloc(&d->zone, size);
    if (at == NULL)
        abort();
    return at;
}

/* A key of the peer's, for a text that must be short and plain. */
static int printable_length(const uint8_t *key, size_t len)
{
    if (len > 40)
        return 0;
    for (size_t i = 0; i < len; i++)
        if (key[i] < ' ' || key[i] > '~')
            return 0;
    return (int)len;
}

static bool refuse_scan(enum scan_result result, const struct scan_report *report,
                        const struct scan_limits *limits, struct message_fault *fault)
{
    switch (result) {
    case SCAN_OK:
        break;
    case SCAN_TRUNCATED:
        return message_refuse(fault, "bad_encoding", "",
                              "the frame ends inside the map (at byte %zu)", report->offset);
    case SCAN_BAD_BYTE:
        return message_refuse(fault, "bad_encoding", "",
                              "byte %zu is 0xc1, which msgpack does not have", report->offset);
    case SCAN_TRAILING:
        return message_refuse(fault, "bad_encoding", "",
                              "bytes after the map (from byte %zu on); a frame is one map",
                              report->offset);
    case SCAN_NOT_A_MAP:
        return message_refuse(fault, "not_a_map", "", "the frame is not a map");
    case SCAN_TOO_DEEP:
        return message_refuse(fault, "too_deep", "",
                              "arrays and maps nested over %u deep (at byte %zu)", limits->depth,
                              report->offset);
    case SCAN_TOO_MANY:
        return message_refuse(fault, "too_many_elements", "",
                              "over %zu elements, or over %zu keys in the map (at byte %zu)",
                              limits->elements, limits->keys, report->offset);
    case SCAN_KEY_NOT_TEXT:
        return message_refuse(fault, "bad_key", "", "a key of the map is not a str (at byte %zu)",
                              report->offset);
    case SCAN_DUPLICATE_KEY:
        return message_refuse(fault, "duplicate_key", "", "the key \"%.*s\" appears twice",
                              printable_length(report->key, report->key_len),
                              (const char *)report->key);
    }
    return true;
}

bool message_unpack(struct message_decoder *d, const uint8_t *body, size_t len, size_t max_elements,
                    msgpack_object *map, struct message_fault *fault)
{
    *fault = (struct message_fault){.code = "", .field = ""};
    struct scan_limits limits = {MESSAGE_MAX_DEPTH, MESSAGE_MAX_KEYS, max_elements};
    struct scan_report report;
    enum scan_result result = scan_frame(body, len, &limits, &report);
    if (result != SCAN_OK)
        return refuse_scan(result, &report, &limits, fault);
    msgpack_zone_clear(&d->zone);
    size_t offset = 0;
    msgpack_unpack_return unpacked =
        msgpack_unpack((const char *)body, len, &offset, &d->zone, map);
    if (unpacked == MSGPACK_UNPACK_NOMEM_ERROR)
        abort();
    /* What scan passes, msgpack-c takes. */
    assert(unpacked == MSGPACK_UNPACK_SUCCESS && map->type == MSGPACK_OBJECT_MAP);
    return true;
}

const msgpack_object *message_find(const msgpack_object *map, const char *key)
{
    size_t len = strlen(key);
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        if (kv->key.type == MSGPACK_OBJECT_STR && kv->key.via.str.size == len &&
            memcmp(kv->key.via.str.ptr, key, len) == 0)
            return kv->val.type == MSGPACK_OBJECT_NIL ? NULL : &kv->val;
    }
    return NULL;
}

static const char *type_of(const msgpack_object *o)
{
    switch (o->type) {
    case MSGPACK_OBJECT_NIL:
        return "nil";
    case MSGPACK_OBJECT_BOOLEAN:
        return "a bool";
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return "an unsigned integer";
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return "a negative integer";
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        return "a float";
    case MSGPACK_OBJECT_STR:
        return "a str";
    case MSGPACK_OBJECT_ARRAY:
        return "an array";
    case MSGPACK_OBJECT_MAP:
        return "a map";
    case MSGPACK_OBJECT_BIN:
        return "a bin";
    case MSGPACK_OBJECT_EXT:
        return "an ext";
    }
    return "something else";
}

static bool wrong_type(const char *key, const msgpack_object *o, const char *expected,
                       struct message_fault *fault)
{
    return message_refuse(fault, "wrong_type", key, "%s: %s, expected %s", key, type_of(o),
                          expected);
}

bool message_take_uint(const char *key, const msgpack_object *o, uint64_t min, uint64_t max,
                       uint64_t *out, struct message_fault *fault)
{
    if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        return message_refuse(fault, "out_of_range", key,
                              "%s: %" PRId64 ", expected %" PRIu64 " to %" PRIu64, key, o->via.i64,
                              min, max);
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return wrong_type(key, o, "an unsigned integer", fault);
    if (o->via.u64 < min || o->via.u64 > max)
        return message_refuse(fault, "out_of_range", key,
                              "%s: %" PRIu64 ", expected %" PRIu64 " to %" PRIu64, key, o->via.u64,
                              min, max);
    *out = o->via.u64;
    return true;
}

static bool take_int(const char *key, const msgpack_object *o, uint64_t max, int64_t *out,
                     struct message_fault *fault)
{
    bool negative = o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
    if (!negative && o->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return wrong_type(key, o, "an integer", fault);
    if (negative ? o->via.i64 < -(int64_t)max : o->via.u64 > max)
        return message_refuse(fault, "out_of_range", key, "%s: expected -%" PRIu64 " to %" PRIu64,
                              key, max, max);
    *out = o->via.i64;
    return true;
}

bool message_take_text(const char *key, const msgpack_object *o, size_t max,
                       struct message_text *out, struct message_fault *fault)
{
    if (o->type != MSGPACK_OBJECT_STR)
        return wrong_type(key, o, "a str", fault);
    if (o->via.str.size > max)
        return message_refuse(fault, "out_of_range", key,
                              "%s: %" PRIu32 " bytes, expected at most %zu", key, o->via.str.size,
                              max);
    if (u8_check((const uint8_t *)o->via.str.ptr, o->via.str.size) != NULL)
        return message_refuse(fault, "bad_utf8", key, "%s: is not valid UTF-8", key);
    *out = (struct message_text){o->via.str.ptr, o->via.str.size};
    return true;
}

bool message_take_bytes(const char *key, const msgpack_object *o, size_t max,
                        struct message_bytes *out, struct message_fault *fault)
{
    /* Both have the same layout, but only one may be read. */
    if (o->type == MSGPACK_OBJECT_BIN)
        *out = (struct message_bytes){(const uint8_t *)o->via.bin.ptr, o->via.bin.size};
    else if (o->type == MSGPACK_OBJECT_STR)
        *out = (struct message_bytes){(const uint8_t *)o->via.str.ptr, o->via.str.size};
    else
        return wrong_type(key, o, "a bin", fault);
    if (out->len > max)
        return message_refuse(fault, "out_of_range", key, "%s: %zu bytes, expected at most %zu",
                              key, out->len, max);
    return true;
}

bool message_take_headers(struct message_decoder *d, const msgpack_object *o,
                          const struct message_header **out, size_t *count,
                          struct message_fault *fault)
{
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return wrong_type("headers", o, "an array of [name, value]", fault);
    size_t n = o->via.array.size;
    struct message_header *headers = message_decoder_alloc(d, (n + 1) * sizeof *headers);
    for (size_t i = 0; i < n; i++) {
        const msgpack_object *pair = &o->via.array.ptr[i];
        if (pair->type != MSGPACK_OBJECT_ARRAY || pair->via.array.size != 2)
            return message_refuse(fault, "wrong_type", "headers",
                                  "headers[%zu]: expected an array of name and value", i);
        if (!message_take_bytes("headers", &pair->via.array.ptr[0], SIZE_MAX, &headers[i].name,
                                fault) ||
            !message_take_bytes("headers", &pair->via.array.ptr[1], SIZE_MAX, &headers[i].value,
                                fault))
            return false;
    }
    *out = headers;
    *count = n;
    return true;
}

static bool decode_headers(struct message_decoder *d, const msgpack_object *o, struct message *out,
                           struct message_fault *fault)
{
    if (!message_take_headers(d, o, &out->headers, &out->header_count, fault))
        return false;
    for (size_t i = 0; i < out->header_count; i++)
        if (!message_header_check(&out->headers[i], i, fault))
            return false;
    return true;
}

static bool decode_present(struct message_decoder *d, const struct message_field *f,
                           const msgpack_object *o, struct message *out,
                           struct message_fault *fault)
{
    void *at = (char *)out + f->offset;
    switch (f->kind) {
    case FIELD_UINT: {
        struct message_uint *number = at;
        number->set = message_take_uint(f->key, o, f->min, f->max, &number->value, fault);
        return number->set;
    }
    case FIELD_INT:
        return take_int(f->key, o, f->max, at, fault);
    case FIELD_BOOL:
        if (o->type != MSGPACK_OBJECT_BOOLEAN)
            return wrong_type(f->key, o, "a bool", fault);
        *(bool *)at = o->via.boolean;
        return true;
    case FIELD_TEXT:
        return message_take_text(f->key, o, f->max, at, fault);
    case FIELD_BYTES:
        return message_take_bytes(f->key, o, f->max, at, fault);
    case FIELD_HEADERS:
        return decode_headers(d, o, out, fault);
    }
    return false;
}

static bool decode_field(struct message_decoder *d, const struct message_field *f,
                         const msgpack_object *map, struct message *out,
                         struct message_fault *fault)
{
    const msgpack_object *o = message_find(map, f->key);
    if (o != NULL)
        return decode_present(d, f, o, out, fault);
    if (f->flags & FIELD_REQUIRED)
        return message_refuse(fault, "missing_field", f->key, "%s: is missing", f->key);
    if (f->flags & FIELD_DEFAULTED && d->from == MESSAGE_FROM_APP)
        *(struct message_uint *)((char *)out + f->offset) =
            (struct message_uint){true, f->standard};
    return true;
}

bool message_take_type(const msgpack_object *map, struct message_text *out,
                       struct message_fault *fault)
{
    const msgpack_object *o = message_find(map, "type");
    if (o == NULL)
        return message_refuse(fault, "missing_field", "type", "type: is missing");
    return message_take_text("type", o, SIZE_MAX, out, fault);
}

static bool decode_fields(struct message_decoder *d, const msgpack_object *map, struct message *out,
                          struct message_fault *fault)
{
    if (!message_take_type(map, &out->type_name, fault))
        return false;
    out->type = message_type_find(out->type_name.at, out->type_name.len);
    if (!message_type_from(out->type, d->from))
        out->type = MESSAGE_UNKNOWN;
    for (size_t i = 0; i < message_field_count; i++)
        if (message_fields[i].type == out->type &&
            !decode_field(d, &message_fields[i], map, out, fault))
            return false;
    return true;
}

bool message_decode(struct message_decoder *d, const uint8_t *body, size_t len, struct message *out,
                    struct message_fault *fault)
{
    *out = (struct message){.type = MESSAGE_UNKNOWN};
    msgpack_object map;
    if (!message_unpack(d, body, len, MESSAGE_MAX_ELEMENTS, &map, fault))
        return false;
    bool good = decode_fields(d, &map, out, fault);
    if (!good)
        fault->stream_id = out->stream_id;
    return good;
}

const char *message_library(void)
{
    return msgpack_version();
}
