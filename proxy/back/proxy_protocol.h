/*
 * proxy_protocol - what a proxy says first on a connection: for whom it made it.
 *
 * The PROXY protocol as HAProxy's text specifies it: version 1 is one line of text (section 2.1),
 * version 2 is binary and has room for more (section 2.2). It goes before every other byte, TLS
 * included. Pure: it encodes, and keeps and calls nothing.
 *
 * The protocol says which sort of connection the receiver is to see. That is a stream: it stands
 * for one, although the client's own packets are UDP, and many receivers take the addresses of
 * nothing else.
 */
#ifndef BACK_PROXY_PROTOCOL_H
#define BACK_PROXY_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define PROXY_PROTOCOL_MAX 512

/* ALPN and unique id are ours: legal by the caller's doing. The authority is the client's; no name
 * of a host is longer, and some services refuse a header that has a longer one. */
enum {
    PROXY_PROTOCOL_ALPN_MAX = 255,
    PROXY_PROTOCOL_AUTHORITY_MAX = 255,
    PROXY_PROTOCOL_UNIQUE_ID_MAX = 128
};

/* Two IPv4 addresses that are written as IPv6 ones (::ffff:192.0.2.1) are told as IPv4. If only one
 * is IPv4, both are told as IPv6. If one is neither, both are told as unknown. */
struct proxy_protocol {
    struct sockaddr_storage client, server;
    /* For version 2 only. NULL or empty: not told. */
    const char *alpn;
    const char *authority; /* nor if it is longer, or does not fit; never cut */
    size_t authority_len;
    const char *unique_id;
};

/* Both write to `to`, which has room for at least PROXY_PROTOCOL_MAX bytes, and return how many
 * bytes they wrote; never more than PROXY_PROTOCOL_MAX. */
size_t proxy_protocol_v1(uint8_t *to, size_t room, const struct proxy_protocol *p);
size_t proxy_protocol_v2(uint8_t *to, size_t room, const struct proxy_protocol *p);

#endif
