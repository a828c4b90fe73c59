/*
 * capsule - the capsules of a session's CONNECT stream (RFC 9297, section 3.2).
 *
 * The reader takes bytes as they come, however they are split or merged, and gives whole capsules
 * of the types we know. Others, GREASE among them, are skipped without being held. What it holds is
 * bounded by CAPSULE_MAX.
 */
#ifndef FRONT_CAPSULE_H
#define FRONT_CAPSULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CAPSULE_DATAGRAM 0x00   /* RFC 9297 */
#define CAPSULE_CLOSE    0x2843 /* WT_CLOSE_SESSION */
#define CAPSULE_DRAIN    0x78ae /* WT_DRAIN_SESSION */

/* Flow control of a session: draft-ietf-webtrans-http3-15, section 5.6 */
#define CAPSULE_MAX_DATA             0x190b4d3d
#define CAPSULE_MAX_STREAM_DATA      0x190b4d3e /* forbidden: QUIC has its own */
#define CAPSULE_MAX_STREAMS_BIDI     0x190b4d3f
#define CAPSULE_MAX_STREAMS_UNI      0x190b4d40
#define CAPSULE_DATA_BLOCKED         0x190b4d41
#define CAPSULE_STREAM_DATA_BLOCKED  0x190b4d42 /* forbidden */
#define CAPSULE_STREAMS_BLOCKED_BIDI 0x190b4d43
#define CAPSULE_STREAMS_BLOCKED_UNI  0x190b4d44

#define CAPSULE_REASON_MAX 1024
#define CAPSULE_MAX        2048 /* payload of a known capsule; a longer DATAGRAM is skipped */
#define CAPSULE_HEAD_MAX   16

struct capsule {
    uint64_t type;
    const uint8_t *payload; /* valid until the next capsule_read */
    size_t len;
};

struct capsule_reader {
    uint8_t head[CAPSULE_HEAD_MAX];
    size_t head_len;
    bool in_payload, skipping;
    uint64_t type, length, got;
    uint8_t payload[CAPSULE_MAX];
};

enum capsule_result {
    CAPSULE_NONE,  /* all bytes taken, nothing whole yet */
    CAPSULE_WHOLE, /* one is in *out; call again with what is left */
    CAPSULE_BAD,   /* a known type with a length it cannot have */
};

/* Zero it to begin. Moves *data and *len past what was taken. */
enum capsule_result capsule_read(struct capsule_reader *r, const uint8_t **data, size_t *len,
                                 struct capsule *out);
/* True in the middle of a capsule: an end of the stream now is a mistake of the peer's. */
bool capsule_is_partial(const struct capsule_reader *r);

/* Not too long, and UTF-8. */
bool capsule_is_reason(const void *text, size_t len);
/* Splits a CLOSE payload. False if it is shorter than 4 bytes, or its reason is none. */
bool capsule_read_close(const struct capsule *c, uint32_t *code, const char **reason,
                        size_t *reason_len);
/* Room for CAPSULE_HEAD_MAX + 4 + reason_len bytes; returns the bytes written. */
size_t capsule_write_close(uint8_t *to, uint32_t code, const char *reason, size_t reason_len);
size_t capsule_write_drain(uint8_t *to);

/* One of flow control. */
bool capsule_is_flow(uint64_t type);
/* Its payload, if that is one number and nothing else. */
bool capsule_read_number(const struct capsule *c, uint64_t *value);
/* Room for CAPSULE_HEAD_MAX + 8 bytes; returns the bytes written. */
size_t capsule_write_number(uint8_t *to, uint64_t type, uint64_t value);

#endif
