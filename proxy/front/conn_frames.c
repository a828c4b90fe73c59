/*
 * conn_frames - finds in what a connection decrypts what ngtcp2 does not tell.
 *
 * ngtcp2 before 1.24 answers STOP_SENDING by itself and tells nobody until the stream closes, but
 * the application has to stop at once. And of a stream that we have stopped it never tells how long
 * it was if it ends with FIN; the flow control of a session counts its bytes nevertheless. So the
 * decrypt callback, which sees every packet's frames in clear, walks over them. It only has to know
 * how long each frame is; whatever it does not understand, it leaves to ngtcp2, which ends the
 * connection over it.
 *
 * That callback is not told the connection; hence the one thread-local of the program.
 */
#include <stdlib.h>

#include <ngtcp2/ngtcp2_crypto.h>

#include "base/varint.h"
#include "front/conn_internal.h"

static _Thread_local struct conn *current;

void conn_frames_watch(struct conn *c)
{
    current = c;
}

struct cursor {
    const uint8_t *at, *end;
    bool is_short; /* went beyond the end */
};

static uint64_t take_varint(struct cursor *cur)
{
    uint64_t value = 0;
    size_t n = varint_read(&value, cur->at, (size_t)(cur->end - cur->at));
    if (n == 0) {
        cur->is_short = true;
        cur->at = cur->end;
        return 0;
    }
    cur->at += n;
    return value;
}

static void skip(struct cursor *cur, uint64_t len)
{
    if (len > (uint64_t)(cur->end - cur->at)) {
        cur->is_short = true;
        len = (uint64_t)(cur->end - cur->at);
    }
    cur->at += len;
}

static void skip_varints(struct cursor *cur, unsigned count)
{
    while (count-- && !cur->is_short)
        take_varint(cur);
}

static void skip_ack(struct cursor *cur, bool has_ecn)
{
    skip_varints(cur, 2);
    uint64_t ranges = take_varint(cur);
    skip_varints(cur, 1);
    while (ranges-- && !cur->is_short)
        skip_varints(cur, 2);
    if (has_ecn)
        skip_varints(cur, 3);
}

static void take_stream(struct cursor *cur, uint8_t type, struct conn *c)
{
    uint64_t id = take_varint(cur);
    uint64_t offset = type & 0x04 ? take_varint(cur) : 0;
    uint64_t len = type & 0x02 ? take_varint(cur) : (uint64_t)(cur->end - cur->at);
    skip(cur, len);
    if (!(type & 0x01) || c->unread == 0 || cur->is_short)
        return;
    struct conn_stream *st = conn_stream_find(c, (int64_t)id);
    if (st && st->is_unread)
        st->final_size = offset + len;
}

static void take_stop(struct cursor *cur, struct conn *c)
{
    uint64_t id = take_varint(cur), code = take_varint(cur);
#ifdef HAVE_RECV_STOP_SENDING
    (void)id, (void)code, (void)c; /* told by ngtcp2 */
#else
    if (!cur->is_short)
        conn_note(c->hub, (int64_t)id, code, false);
#endif
}

/* RFC 9000, section 19, and RFC 9221, section 4. Returns false if the type is not known. */
static bool take_frame(struct cursor *cur, struct conn *c)
{
    uint8_t type = *cur->at++;

    if (type >= 0x08 && type <= 0x0f) {
        take_stream(cur, type, c);
        return true;
    }
    switch (type) {
    case 0x00: /* PADDING */
    case 0x01: /* PING */
    case 0x1e: /* HANDSHAKE_DONE */
        return true;
    case 0x02: /* ACK */
    case 0x03:
        skip_ack(cur, type == 0x03);
        return true;
    case 0x04: /* RESET_STREAM */
        skip_varints(cur, 3);
        return true;
    case 0x05:
        take_stop(cur, c);
        return true;
    case 0x06: /* CRYPTO */
        skip_varints(cur, 1);
        skip(cur, take_varint(cur));
        return true;
    case 0x07: /* NEW_TOKEN */
    case 0x31: /* DATAGRAM with length */
        skip(cur, take_varint(cur));
        return true;
    case 0x10: /* MAX_DATA */
    case 0x12: /* MAX_STREAMS */
    case 0x13:
    case 0x14: /* DATA_BLOCKED */
    case 0x16: /* STREAMS_BLOCKED */
    case 0x17:
    case 0x19: /* RETIRE_CONNECTION_ID */
        skip_varints(cur, 1);
        return true;
    case 0x11: /* MAX_STREAM_DATA */
    case 0x15: /* STREAM_DATA_BLOCKED */
        skip_varints(cur, 2);
        return true;
    case 0x18: /* NEW_CONNECTION_ID: two numbers, an id with a length of one byte, a token */
        skip_varints(cur, 2);
        if (cur->at < cur->end)
            skip(cur, (uint64_t)*cur->at + 1 + NGTCP2_STATELESS_RESET_TOKENLEN);
        return true;
    case 0x1a: /* PATH_CHALLENGE */
    case 0x1b: /* PATH_RESPONSE */
        skip(cur, 8);
        return true;
    case 0x1c: /* CONNECTION_CLOSE */
    case 0x1d:
        skip_varints(cur, type == 0x1c ? 2 : 1);
        skip(cur, take_varint(cur));
        return true;
    case 0x30: /* DATAGRAM to the end */
        cur->at = cur->end;
        return true;
    default:
        return false;
    }
}

int conn_frames_decrypt(uint8_t *dest, const ngtcp2_crypto_aead *aead,
                        const ngtcp2_crypto_aead_ctx *aead_ctx, const uint8_t *ciphertext,
                        size_t ciphertext_len, const uint8_t *nonce, size_t nonce_len,
                        const uint8_t *aad, size_t aad_len)
{
    int rv = ngtcp2_crypto_decrypt_cb(dest, aead, aead_ctx, ciphertext, ciphertext_len, nonce,
                                      nonce_len, aad, aad_len);
    if (rv == 0 && current && ciphertext_len >= aead->max_overhead) {
        struct cursor cur = {.at = dest, .end = dest + ciphertext_len - aead->max_overhead};
        while (cur.at < cur.end && take_frame(&cur, current))
            ;
    }
    return rv;
}
