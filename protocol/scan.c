/*
 * One pass over the bytes with a small stack of "so many elements are still to come". A container
 * that claims more elements than the limit is refused at its header, so a 6-byte frame cannot claim
 * 16 million of them. Owns nothing and calls nobody.
 */
#include "protocol/scan.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum kind { PLAIN, TEXT, ARRAY, MAP, BAD };

/* How each of the first bytes c0 to df goes on. */
static const struct form {
    uint8_t kind;
    uint8_t length_bytes; /* a big-endian length (or number of elements) of so many bytes */
    uint8_t fixed;        /* and so many bytes besides: numbers, the type of an ext */
} forms[32] = {
    {PLAIN, 0, 0},                                                              /* nil */
    {BAD, 0, 0},                                                                /* never used */
    {PLAIN, 0, 0}, {PLAIN, 0, 0},                                               /* false, true */
    {PLAIN, 1, 0}, {PLAIN, 2, 0}, {PLAIN, 4, 0},                                /* bin 8, 16, 32 */
    {PLAIN, 1, 1}, {PLAIN, 2, 1}, {PLAIN, 4, 1},                                /* ext 8, 16, 32 */
    {PLAIN, 0, 4}, {PLAIN, 0, 8},                                               /* float 32, 64 */
    {PLAIN, 0, 1}, {PLAIN, 0, 2}, {PLAIN, 0, 4}, {PLAIN, 0, 8},                 /* uint 8 to 64 */
    {PLAIN, 0, 1}, {PLAIN, 0, 2}, {PLAIN, 0, 4}, {PLAIN, 0, 8},                 /* int 8 to 64 */
    {PLAIN, 0, 2}, {PLAIN, 0, 3}, {PLAIN, 0, 5}, {PLAIN, 0, 9}, {PLAIN, 0, 17}, /* fixext 1 to 16 */
    {TEXT, 1, 0},  {TEXT, 2, 0},  {TEXT, 4, 0},                                 /* str 8, 16, 32 */
    {ARRAY, 2, 0}, {ARRAY, 4, 0},                                               /* array 16, 32 */
    {MAP, 2, 0},   {MAP, 4, 0},                                                 /* map 16, 32 */
};

/* The element at the front of what is left. */
struct item {
    enum kind kind;
    uint64_t header;   /* bytes before the payload */
    uint64_t payload;  /* bytes of a plain value or text */
    uint64_t elements; /* of a container */
};

static struct item short_item(uint8_t first)
{
    if (first >= 0xa0 && first <= 0xbf)
        return (struct item){TEXT, 1, first & 0x1f, 0};
    if (first >= 0x90 && first <= 0x9f)
        return (struct item){ARRAY, 1, 0, first & 0x0f};
    if (first >= 0x80 && first <= 0x8f)
        return (struct item){MAP, 1, 0, 2 * (first & 0x0f)};
    return (struct item){PLAIN, 1, 0, 0}; /* a small number */
}

/* False if its header is cut off. That its payload is there is for the caller to see. */
static bool item_read(const uint8_t *at, size_t left, struct item *it)
{
    if (left == 0)
        return false;
    if (at[0] < 0xc0 || at[0] > 0xdf) {
        *it = short_item(at[0]);
        return true;
    }
    const struct form *form = &forms[at[0] - 0xc0];
    if (left < 1u + form->length_bytes)
        return false;
    uint64_t length = 0;
    for (unsigned i = 0; i < form->length_bytes; i++)
        length = length << 8 | at[1 + i];
    *it = (struct item){form->kind, 1u + form->length_bytes, form->fixed + length, 0};
    if (form->kind == ARRAY || form->kind == MAP) {
        it->payload = 0;
        it->elements = form->kind == MAP ? 2 * length : length;
    }
    return true;
}

struct walk {
    const struct scan_limits *limits;
    struct scan_report *report;
    uint64_t to_come[SCAN_MAX_DEPTH]; /* elements of each open container */
    unsigned depth;
    size_t elements; /* claimed so far */
    struct {
        const uint8_t *at;
        size_t len;
    } keys[SCAN_MAX_KEYS];
    size_t key_count;
};

static enum scan_result key_seen(struct walk *w, const struct item *it, const uint8_t *at)
{
    if (it->kind != TEXT)
        return SCAN_KEY_NOT_TEXT;
    w->report->key = at;
    w->report->key_len = it->payload;
    for (size_t i = 0; i < w->key_count; i++)
        if (w->keys[i].len == it->payload && memcmp(w->keys[i].at, at, it->payload) == 0)
            return SCAN_DUPLICATE_KEY;
    w->keys[w->key_count].at = at;
    w->keys[w->key_count++].len = it->payload;
    return SCAN_OK;
}

static enum scan_result container_opened(struct walk *w, const struct item *it)
{
    if (w->depth == w->limits->depth)
        return SCAN_TOO_DEEP;
    if (it->elements > w->limits->elements - w->elements)
        return SCAN_TOO_MANY;
    if (w->depth == 0 && it->elements > 2 * w->limits->keys)
        return SCAN_TOO_MANY;
    w->elements += it->elements;
    w->to_come[w->depth++] = it->elements;
    return SCAN_OK;
}

/* One element; advances report->offset past it (past a container's header only). */
static enum scan_result step(struct walk *w, const uint8_t *body, size_t len)
{
    struct item it;
    size_t offset = w->report->offset;
    if (!item_read(body + offset, len - offset, &it))
        return SCAN_TRUNCATED;
    if (it.kind == BAD)
        return SCAN_BAD_BYTE;
    if (w->depth == 0 && it.kind != MAP)
        return SCAN_NOT_A_MAP;
    if (it.payload > len - offset - it.header)
        return SCAN_TRUNCATED;
    bool is_key = w->depth == 1 && w->to_come[0] % 2 == 0;
    if (w->depth > 0)
        w->to_come[w->depth - 1]--;
    if (is_key) {
        enum scan_result result = key_seen(w, &it, body + offset + it.header);
        if (result != SCAN_OK)
            return result;
    }
    w->report->offset += it.header + it.payload;
    return it.kind == ARRAY || it.kind == MAP ? container_opened(w, &it) : SCAN_OK;
}

enum scan_result scan_frame(const uint8_t *body, size_t len, const struct scan_limits *limits,
                            struct scan_report *report)
{
    assert(limits->depth <= SCAN_MAX_DEPTH && limits->keys <= SCAN_MAX_KEYS);
    *report = (struct scan_report){0};
    struct walk w;
    w.limits = limits;
    w.report = report;
    w.depth = 0;
    w.elements = 0;
    w.key_count = 0;
    do {
        enum scan_result result = step(&w, body, len);
        if (result != SCAN_OK)
            return result;
        while (w.depth > 0 && w.to_come[w.depth - 1] == 0)
            w.depth--;
    } while (w.depth > 0);
    return report->offset == len ? SCAN_OK : SCAN_TRAILING;
}
