/*
 * h3_frames - walks through the frames of a request stream beside nghttp3, which skips types that
 * it does not know. Owns nothing, calls only varint.
 *
 * One such type must not be skipped: WT_STREAM says that the rest of a stream, from its first byte,
 * is a session's. Anywhere else whoever sends it and whoever skips it disagree about what follows
 * (draft-ietf-webtrans-http3, section 4.3: H3_FRAME_ERROR).
 */
#include "front/h3_internal.h"

bool h3_frames_legal(struct h3_walk *w, const uint8_t *data, size_t len)
{
    while (len > 0) {
        if (w->left > 0) {
            size_t n = len < w->left ? len : (size_t)w->left;
            w->left -= n;
            data += n;
            len -= n;
            continue;
        }
        w->head[w->head_len++] = *data++;
        len--;
        uint64_t type;
        size_t n = varint_read(&type, w->head, w->head_len);
        if (n && type == WT_STREAM_TYPE_BIDI)
            return false;
        if (n && varint_read(&w->left, w->head + n, w->head_len - n))
            w->head_len = 0;
    }
    return true;
}
