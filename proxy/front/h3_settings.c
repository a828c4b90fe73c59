/*
 * h3_settings - writes our SETTINGS and reads the peer's. Owns nothing, calls only varint.
 */
#include "front/h3_settings.h"

#include <string.h>

#include "base/varint.h"

#define SETTING_QPACK_CAPACITY   0x01
#define SETTING_QPACK_BLOCKED    0x07
#define SETTING_CONNECT_PROTOCOL 0x08       /* RFC 9220 */
#define SETTING_DATAGRAM         0x33       /* RFC 9297 */
#define SETTING_DATAGRAM_DRAFT04 0xffd277   /* draft-ietf-masque-h3-datagram-04 */
#define SETTING_WT_DRAFT02       0x2b603742 /* ENABLE_WEBTRANSPORT */
#define SETTING_WT_DRAFT07       0xc671706a /* WEBTRANSPORT_MAX_SESSIONS */
#define SETTING_WT_DRAFT14       0x14e9cd29 /* WT_MAX_SESSIONS */
#define SETTING_WT_DRAFT15       0x2c7cf000 /* WT_ENABLED */

/* draft-ietf-webtrans-http3-15, section 5.5 */
#define SETTING_WT_MAX_DATA         0x2b61
#define SETTING_WT_MAX_STREAMS_UNI  0x2b64
#define SETTING_WT_MAX_STREAMS_BIDI 0x2b65

#define STREAM_TYPE_CONTROL 0x00
#define FRAME_SETTINGS      0x04
#define MAX_ENTRIES         64

static size_t write_entry(uint8_t *to, uint64_t id, uint64_t value)
{
    size_t n = varint_write(to, id);
    return n + varint_write(to + n, value);
}

size_t h3_settings_write(uint8_t *to, const struct h3_settings_own *own)
{
    uint8_t body[H3_SETTINGS_STREAM_MAX];
    size_t n = 0;

    n += write_entry(body + n, SETTING_QPACK_CAPACITY, H3_QPACK_CAPACITY);
    n += write_entry(body + n, SETTING_QPACK_BLOCKED, H3_QPACK_BLOCKED);
    if (own->is_server)
        n += write_entry(body + n, SETTING_CONNECT_PROTOCOL, 1);
    n += write_entry(body + n, SETTING_DATAGRAM, 1);
    n += write_entry(body + n, SETTING_DATAGRAM_DRAFT04, 1);
    n += write_entry(body + n, SETTING_WT_DRAFT02, 1);
    n += write_entry(body + n, SETTING_WT_DRAFT07, 1);
    if (own->wt_draft15)
        n += write_entry(body + n, SETTING_WT_DRAFT15, 1);
    if (own->wt_max_data > 0) {
        n += write_entry(body + n, SETTING_WT_MAX_DATA, own->wt_max_data);
        n += write_entry(body + n, SETTING_WT_MAX_STREAMS_UNI, own->wt_max_streams[1]);
        n += write_entry(body + n, SETTING_WT_MAX_STREAMS_BIDI, own->wt_max_streams[0]);
    }

    size_t at = 0;
    to[at++] = STREAM_TYPE_CONTROL;
    to[at++] = FRAME_SETTINGS;
    at += varint_write(to + at, n);
    memcpy(to + at, body, n);
    return at + n;
}

/* Booleans other than 0 and 1 are errors (RFC 9220, 3; RFC 9297, 2.1.1; the drafts for theirs). */
static bool take_entry(struct h3_settings *out, uint64_t id, uint64_t value)
{
    switch (id) {
    case SETTING_CONNECT_PROTOCOL:
        out->connect_protocol = value == 1;
        return value <= 1;
    case SETTING_DATAGRAM:
    case SETTING_DATAGRAM_DRAFT04:
        out->datagrams |= value == 1;
        return value <= 1;
    case SETTING_WT_DRAFT02:
        out->wt_draft02 = value == 1;
        return value <= 1;
    case SETTING_WT_DRAFT07:
        out->wt_draft07 = value > 0;
        return true;
    case SETTING_WT_DRAFT14:
        out->wt_draft14 = value > 0;
        return true;
    case SETTING_WT_DRAFT15:
        out->wt_draft15 = value == 1;
        return value <= 1;
    case SETTING_WT_MAX_DATA:
        out->wt_max_data = value;
        return true;
    case SETTING_WT_MAX_STREAMS_UNI:
    case SETTING_WT_MAX_STREAMS_BIDI:
        out->wt_max_streams[id == SETTING_WT_MAX_STREAMS_UNI] = value;
        return true;
    case 0x00: /* reserved: HTTP/2 settings without a counterpart (RFC 9114, 7.2.4.1) */
    case 0x02:
    case 0x03:
    case 0x04:
    case 0x05:
        return false;
    default:
        return true;
    }
}

static enum h3_settings_state read_entries(const uint8_t *at, size_t len, struct h3_settings *out)
{
    uint64_t seen[MAX_ENTRIES];
    size_t count = 0;

    while (len > 0) {
        uint64_t id, value;
        size_t a = varint_read(&id, at, len);
        size_t b = a ? varint_read(&value, at + a, len - a) : 0;
        if (!b)
            return H3_SETTINGS_CUT;
        if (count == MAX_ENTRIES)
            return H3_SETTINGS_BAD;
        for (size_t i = 0; i < count; i++)
            if (seen[i] == id)
                return H3_SETTINGS_BAD;
        seen[count++] = id;
        if (!take_entry(out, id, value))
            return H3_SETTINGS_BAD;
        at += a + b;
        len -= a + b;
    }
    return H3_SETTINGS_WHOLE;
}

static enum h3_settings_state judge(const struct h3_settings_reader *r, struct h3_settings *out)
{
    uint64_t type, length;
    size_t a = varint_read(&type, r->bytes, r->len);
    if (!a)
        return H3_SETTINGS_MORE;
    if (type != FRAME_SETTINGS)
        return H3_SETTINGS_MISSING;
    size_t b = varint_read(&length, r->bytes + a, r->len - a);
    if (!b)
        return H3_SETTINGS_MORE;
    if (length > H3_SETTINGS_PEER_MAX - a - b)
        return H3_SETTINGS_BAD;
    if (r->len - a - b < length)
        return H3_SETTINGS_MORE;
    return read_entries(r->bytes + a + b, length, out);
}

enum h3_settings_state h3_settings_read(struct h3_settings_reader *r, const uint8_t *data,
                                        size_t len, struct h3_settings *out)
{
    if (r->state != H3_SETTINGS_MORE)
        return r->state;
    size_t room = sizeof(r->bytes) - r->len;
    size_t n = len < room ? len : room;
    memcpy(r->bytes + r->len, data, n);
    r->len += n;
    memset(out, 0, sizeof(*out));
    r->state = judge(r, out);
    return r->state;
}
