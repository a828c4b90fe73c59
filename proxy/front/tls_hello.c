/*
 * tls_hello - looks at the extensions of a ClientHello. Owns nothing, calls only varint.
 *
 * Chromium and Safari fill their lists with reserved values, which no other client of WebTransport
 * does. Of the two only Chromium sends Google's transport parameters. (Draft 07 of reset_stream_at
 * tells nothing: webtransport-go announces it just as Safari does.)
 */
#include "front/tls_hello.h"

#include "base/varint.h"

#define EXTENSION_TRANSPORT_PARAMETERS 0x39 /* RFC 9001, section 8.2 */
#define PARAMETER_INITIAL_RTT          0x3127
#define PARAMETER_CONNECTION_OPTIONS   0x3128
#define PARAMETER_GOOGLE_VERSION       0x4752

/* 0x0a0a, 0x1a1a, ... 0xfafa */
static bool is_grease(unsigned type)
{
    return (type & 0x0f0f) == 0x0a0a && type >> 8 == (type & 0xff);
}

static void take_parameters(struct tls_hello *h, const uint8_t *at, size_t len)
{
    while (len > 0) {
        uint64_t id, size;
        size_t a = varint_read(&id, at, len);
        size_t b = a ? varint_read(&size, at + a, len - a) : 0;
        if (!b || size > len - a - b)
            return; /* ngtcp2 ends the handshake over it */
        h->is_chromium |= id == PARAMETER_INITIAL_RTT || id == PARAMETER_CONNECTION_OPTIONS ||
                          id == PARAMETER_GOOGLE_VERSION;
        at += a + b + size;
        len -= a + b + size;
    }
}

void tls_hello_take(struct tls_hello *h, unsigned type, const uint8_t *data, size_t len)
{
    h->has_grease |= is_grease(type);
    if (type == EXTENSION_TRANSPORT_PARAMETERS)
        take_parameters(h, data, len);
}

bool tls_hello_may_be_safari(const struct tls_hello *h)
{
    return h->has_grease && !h->is_chromium;
}
