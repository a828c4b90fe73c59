/*
 * h3_control - the peer's control stream, on its way to nghttp3. Reads the SETTINGS as they pass,
 * and keeps PRIORITY_UPDATE frames back. Calls nghttp3 through h3_read_http; tells wt.
 *
 * We do nothing with priorities of requests, which RFC 9218 allows (section 4). nghttp3 (1.8) would
 * keep a stream for each one that is named, may it never come, and ends the process by an assert
 * when a packet ends between a PRIORITY_UPDATE's id and its value.
 */
#include <string.h>

#include "base/varint.h"
#include "front/h3_internal.h"

#define PRIORITY_UPDATE_REQUEST 0xf0700
#define PRIORITY_UPDATE_PUSH    0xf0701

static void skip(struct h3_stream *s, size_t len)
{
    if (len > 0)
        conn_stream_consumed(s->h3->conn, s->id, len);
}

/* Takes one byte of a frame's type and length; once both are whole, its payload follows. */
static enum fault take_head(struct h3_stream *s, uint8_t byte)
{
    struct h3_frames *f = &s->h3->frames;
    uint64_t type;
    f->head[f->head_len++] = byte;
    size_t n = varint_read(&type, f->head, f->head_len);
    if (!n || !varint_read(&f->left, f->head + n, f->head_len - n))
        return FAULT_NONE;
    size_t len = f->head_len;
    f->head_len = 0;
    f->is_skipped = type == PRIORITY_UPDATE_REQUEST || type == PRIORITY_UPDATE_PUSH;
    if (!f->is_skipped)
        return h3_read_http(s, f->head, len, false);
    skip(s, len);
    return FAULT_NONE;
}

static enum fault sort_frames(struct h3_stream *s, const uint8_t *data, size_t len)
{
    struct h3_frames *f = &s->h3->frames;
    enum fault fault = FAULT_NONE;
    while (len > 0 && fault == FAULT_NONE) {
        size_t n = 1;
        if (f->left == 0) {
            fault = take_head(s, *data);
        } else {
            n = len < f->left ? len : (size_t)f->left;
            f->left -= n;
            if (f->is_skipped)
                skip(s, n);
            else
                fault = h3_read_http(s, data, n, false);
        }
        data += n;
        len -= n;
    }
    return fault;
}

static enum fault settings_fault(struct h3 *h, enum h3_settings_state state)
{
    bool missing = state == H3_SETTINGS_MISSING;
    h3_fail(h, FAULT_H3_SETTINGS, missing ? H3_MISSING_SETTINGS : H3_SETTINGS_ERROR,
            missing ? "the control stream does not begin with SETTINGS" : "illegal SETTINGS");
    return FAULT_H3_SETTINGS;
}

enum fault h3_read_control(struct h3_stream *s, const uint8_t *data, size_t len, bool fin)
{
    struct h3 *h = s->h3;
    enum h3_settings_state state = H3_SETTINGS_WHOLE;
    if (!h->settings_in)
        state = h3_settings_read(&h->settings_reader, data, len, &h->settings);
    if (state == H3_SETTINGS_BAD || state == H3_SETTINGS_MISSING)
        return settings_fault(h, state);
    enum fault fault = sort_frames(s, data, len);
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
