/*
 * h3_control - the peer's control stream (RFC 9114, section 6.2.1). Gives nghttp3 the SETTINGS,
 * which are also read here, and deals with all other frames itself. Calls nghttp3 through
 * h3_read_http; tells wt.
 *
 * nghttp3 (1.8) must not see the rest. It ends the process by an assert when a packet ends between
 * the id and the value of a PRIORITY_UPDATE; it keeps a stream for each id that such a frame names,
 * may it never come; and it takes what follows the number in a GOAWAY or MAX_PUSH_ID for further
 * frames. We do nothing with priorities of requests, as RFC 9218 allows (section 4).
 */
#include <string.h>

#include "base/varint.h"
#include "front/h3_internal.h"

#define FRAME_DATA         0x00
#define FRAME_HEADERS      0x01
#define FRAME_CANCEL_PUSH  0x03
#define FRAME_SETTINGS     0x04
#define FRAME_PUSH_PROMISE 0x05
#define FRAME_MAX_PUSH_ID  0x0d
#define FRAME_H2_PRIORITY  0x02
#define FRAME_H2_PING      0x06
#define FRAME_H2_WINDOW    0x08
#define FRAME_H2_CONTINUES 0x09

static enum fault fail(struct h3 *h, uint64_t code, const char *text)
{
    h3_fail(h, FAULT_H3_PROTOCOL, code, text);
    return FAULT_H3_PROTOCOL;
}

static enum fault unexpected(struct h3 *h)
{
    return fail(h, H3_FRAME_UNEXPECTED, "a frame that is not for the control stream");
}

/* RFC 9114, section 5.2: the number never grows. */
static enum fault take_goaway(struct h3 *h, uint64_t id)
{
    if (h->has_goaway && id > h->goaway_id)
        return fail(h, H3_ID_ERROR, "a GOAWAY that takes back another");
    h->has_goaway = true;
    h->goaway_id = id;
    h->host->ops->goaway_received(h->user);
    return FAULT_NONE;
}

/* The payload of GOAWAY and MAX_PUSH_ID, whole: one number and nothing else (section 7.1). */
static enum fault take_number(struct h3 *h)
{
    struct h3_frames *f = &h->frames;
    uint64_t number;
    if (varint_read(&number, f->kept, f->kept_len) != f->kept_len)
        return fail(h, H3_FRAME_ERROR, "a frame that is not as long as it says");
    return f->type == H3_FRAME_GOAWAY ? take_goaway(h, number) : FAULT_NONE;
}

/* Type and length are whole: judges them and says what becomes of the payload. */
static enum fault begin_frame(struct h3_stream *s)
{
    struct h3 *h = s->h3;
    struct h3_frames *f = &h->frames;
    size_t len = f->kept_len;
    f->kept_len = 0;
    switch (f->type) {
    case FRAME_SETTINGS:
        if (h->settings_in)
            return unexpected(h);
        return h3_read_http(s, f->kept, len, false);
    case FRAME_MAX_PUSH_ID:
        if (!h->host->config.conn.is_server)
            return unexpected(h);
        /* fall through */
    case H3_FRAME_GOAWAY:
        if (f->left == 0 || f->left > VARINT_SIZE_MAX)
            return fail(h, H3_FRAME_ERROR, "a frame that is not as long as it must be");
        break;
    case WT_STREAM_TYPE_BIDI: /* draft-ietf-webtrans-http3, section 4.3 */
        return fail(h, H3_FRAME_ERROR, "WT_STREAM where no stream begins");
    case FRAME_CANCEL_PUSH: /* nobody promised anything (section 7.2.3) */
        return fail(h, H3_ID_ERROR, "a push that was never promised");
    case FRAME_DATA:
    case FRAME_HEADERS:
    case FRAME_PUSH_PROMISE:
    case FRAME_H2_PRIORITY:
    case FRAME_H2_PING:
    case FRAME_H2_WINDOW:
    case FRAME_H2_CONTINUES:
        return unexpected(h);
    }
    conn_stream_consumed(h->conn, s->id, len);
    return FAULT_NONE;
}

static enum fault take_head(struct h3_stream *s, uint8_t byte)
{
    struct h3_frames *f = &s->h3->frames;
    f->kept[f->kept_len++] = byte;
    size_t n = varint_read(&f->type, f->kept, f->kept_len);
    if (!n || !varint_read(&f->left, f->kept + n, f->kept_len - n))
        return FAULT_NONE;
    return begin_frame(s);
}

static enum fault take_payload(struct h3_stream *s, const uint8_t *data, size_t len)
{
    struct h3_frames *f = &s->h3->frames;
    f->left -= len;
    if (f->type == FRAME_SETTINGS)
        return h3_read_http(s, data, len, false);
    conn_stream_consumed(s->h3->conn, s->id, len);
    if (f->type != H3_FRAME_GOAWAY && f->type != FRAME_MAX_PUSH_ID)
        return FAULT_NONE;
    memcpy(f->kept + f->kept_len, data, len);
    f->kept_len += len;
    if (f->left > 0)
        return FAULT_NONE;
    enum fault fault = take_number(s->h3);
    f->kept_len = 0;
    return fault;
}

static enum fault take_frames(struct h3_stream *s, const uint8_t *data, size_t len)
{
    struct h3_frames *f = &s->h3->frames;
    enum fault fault = FAULT_NONE;
    while (len > 0 && fault == FAULT_NONE) {
        size_t n = len < f->left ? len : (size_t)f->left;
        if (n == 0) {
            n = 1;
            fault = take_head(s, *data);
        } else {
            fault = take_payload(s, data, n);
        }
        data += n;
        len -= n;
    }
    return fault;
}

static enum fault settings_fault(struct h3 *h, enum h3_settings_state state)
{
    if (state == H3_SETTINGS_MISSING)
        h3_fail(h, FAULT_H3_SETTINGS, H3_MISSING_SETTINGS,
                "the control stream does not begin with SETTINGS");
    else if (state == H3_SETTINGS_CUT) /* RFC 9114, section 7.1 */
        h3_fail(h, FAULT_H3_SETTINGS, H3_FRAME_ERROR, "SETTINGS end inside a setting");
    else
        h3_fail(h, FAULT_H3_SETTINGS, H3_SETTINGS_ERROR, "illegal SETTINGS");
    return FAULT_H3_SETTINGS;
}

enum fault h3_read_control(struct h3_stream *s, const uint8_t *data, size_t len, bool fin)
{
    struct h3 *h = s->h3;
    enum h3_settings_state state = H3_SETTINGS_WHOLE;
    if (!h->settings_in)
        state = h3_settings_read(&h->settings_reader, data, len, &h->settings);
    if (state != H3_SETTINGS_MORE && state != H3_SETTINGS_WHOLE)
        return settings_fault(h, state);
    enum fault fault = take_frames(s, data, len);
    if (fault == FAULT_NONE && fin)
        fault = h3_read_http(s, NULL, 0, true);
    if (fault != FAULT_NONE || h->settings_in || state != H3_SETTINGS_WHOLE)
        return fault;
    h->settings_in = true;
    timer_stop(h->host->env->timers, &h->settings_timer);
    h->host->ops->ready(h->user);
    h3_request_unhold(h);
    return FAULT_NONE;
}
