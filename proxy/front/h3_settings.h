/*
 * h3_settings - the SETTINGS frame, both ways (RFC 9114, section 7.2.4).
 *
 * nghttp3 knows no settings of WebTransport, so the control stream is ours: it is written here
 * whole, and the peer's is read here on its way to nghttp3.
 */
#ifndef FRONT_H3_SETTINGS_H
#define FRONT_H3_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H3_SETTINGS_STREAM_MAX 96   /* bytes of our own control stream's beginning */
#define H3_SETTINGS_PEER_MAX   1024 /* bytes of the peer's SETTINGS frame that are taken */

#define H3_QPACK_CAPACITY 4096
#define H3_QPACK_BLOCKED  100

/* What of the peer's SETTINGS matters here. */
struct h3_settings {
    bool datagrams;             /* 0x33 or 0xffd277 is 1 */
    bool wt_draft02;            /* 0x2b603742 */
    bool wt_draft07;            /* 0xc671706a */
    bool wt_draft14;            /* 0x14e9cd29 */
    bool wt_draft15;            /* 0x2c7cf000 */
    bool connect_protocol;      /* 0x08 */
    uint64_t wt_max_data;       /* 0x2b61 */
    uint64_t wt_max_streams[2]; /* 0x2b65 bidirectional, 0x2b64 unidirectional */
};

enum h3_settings_state {
    H3_SETTINGS_MORE, /* not whole yet */
    H3_SETTINGS_WHOLE,
    H3_SETTINGS_MISSING, /* the first frame is another one */
    H3_SETTINGS_CUT,     /* the frame ends inside a setting */
    H3_SETTINGS_BAD,     /* too long, or a value that is not allowed */
};

/* Collects the first frame of the peer's control stream, however it is cut. Zero it to begin. */
struct h3_settings_reader {
    enum h3_settings_state state;
    uint8_t bytes[H3_SETTINGS_PEER_MAX];
    size_t len;
};

/* What of our own SETTINGS differs from one connection to another. */
struct h3_settings_own {
    bool is_server;
    bool wt_draft15; /* announce draft 15, too: all but Safari may hear of it */
    /* What a session's flow control begins with; 0 is not announced. */
    uint64_t wt_max_data, wt_max_streams[2];
};

/* The beginning of a control stream: stream type and SETTINGS frame. Returns its length. */
size_t h3_settings_write(uint8_t *to, const struct h3_settings_own *own);

/* Feeds bytes after the stream type. Once the state is not MORE, further bytes are ignored. */
enum h3_settings_state h3_settings_read(struct h3_settings_reader *r, const uint8_t *data,
                                        size_t len, struct h3_settings *out);

#endif
