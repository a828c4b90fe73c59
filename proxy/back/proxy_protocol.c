/*
 * proxy_protocol - both versions of the header, from one pair of addresses. Owns nothing, calls
 * nobody.
 */
#include "back/proxy_protocol.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* --- the addresses as they are told --- */

struct end {
    uint8_t address[16]; /* the first four of an IPv4 address */
    uint16_t port;
};

struct ends {
    int family; /* of both; AF_UNSPEC if they are not known */
    struct end client, server;
};

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static bool is_ip(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET || a->ss_family == AF_INET6;
}

/* In 16 bytes, IPv4 as a mapped address. */
static struct end end_of(const struct sockaddr_storage *a)
{
    struct end e;
    if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
        memcpy(e.address, &v6->sin6_addr, 16);
        e.port = ntohs(v6->sin6_port);
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
        memcpy(e.address, mapped_prefix, 12);
        memcpy(e.address + 12, &v4->sin_addr, 4);
        e.port = ntohs(v4->sin_port);
    }
    return e;
}

static bool is_mapped(const struct end *e)
{
    return memcmp(e->address, mapped_prefix, 12) == 0;
}

static struct ends ends_of(const struct proxy_protocol *p)
{
    struct ends e = {.family = AF_UNSPEC};
    if (!is_ip(&p->client) || !is_ip(&p->server))
        return e;
    e.client = end_of(&p->client);
    e.server = end_of(&p->server);
    e.family = is_mapped(&e.client) && is_mapped(&e.server) ? AF_INET : AF_INET6;
    if (e.family == AF_INET) {
        memmove(e.client.address, e.client.address + 12, 4);
        memmove(e.server.address, e.server.address + 12, 4);
    }
    return e;
}

/* --- version 1 --- */

/* Section 2.1 wants IPv6 in hexadecimal digits only, but inet_ntop writes the last half of
 * ::ffff:192.0.2.1 and of ::192.0.2.1 with dots. */
static void write_text(int family, const struct end *e, char to[INET6_ADDRSTRLEN])
{
    inet_ntop(family, e->address, to, INET6_ADDRSTRLEN);
    if (family == AF_INET6 && strchr(to, '.'))
        snprintf(to, INET6_ADDRSTRLEN, "::%s%x:%x", is_mapped(e) ? "ffff:" : "",
                 e->address[12] << 8 | e->address[13], e->address[14] << 8 | e->address[15]);
}

size_t proxy_protocol_v1(uint8_t *to, size_t room, const struct proxy_protocol *p)
{
    struct ends e = ends_of(p);
    assert(room >= PROXY_PROTOCOL_MAX);
    if (e.family == AF_UNSPEC)
        return (size_t)snprintf((char *)to, room, "PROXY UNKNOWN\r\n");
    char client[INET6_ADDRSTRLEN], server[INET6_ADDRSTRLEN];
    write_text(e.family, &e.client, client);
    write_text(e.family, &e.server, server);
    return (size_t)snprintf((char *)to, room, "PROXY TCP%c %s %s %u %u\r\n",
                            e.family == AF_INET ? '4' : '6', client, server, e.client.port,
                            e.server.port);
}

/* --- version 2 --- */

enum {
    COMMAND_PROXY = 0x21, /* version 2, not LOCAL */
    UNKNOWN = 0x00,
    STREAM_OVER_IPV4 = 0x11,
    STREAM_OVER_IPV6 = 0x21,
};

enum { TLV_ALPN = 0x01, TLV_AUTHORITY = 0x02, TLV_UNIQUE_ID = 0x05, TLV_HEAD = 3 };

static const uint8_t signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                      0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

enum { LENGTH_AT = 14, HEAD_LEN = 16 };

struct out {
    uint8_t *to;
    size_t len;
};

static void put(struct out *o, const void *data, size_t len)
{
    memcpy(o->to + o->len, data, len);
    o->len += len;
}

static void put_u8(struct out *o, unsigned value)
{
    o->to[o->len++] = (uint8_t)value;
}

static void put_u16(struct out *o, size_t value)
{
    put_u8(o, (unsigned)(value >> 8));
    put_u8(o, (unsigned)value);
}

static void put_ends(struct out *o, const struct ends *e)
{
    size_t len = e->family == AF_INET ? 4 : 16;
    if (e->family == AF_UNSPEC)
        return;
    put(o, e->client.address, len);
    put(o, e->server.address, len);
    put_u16(o, e->client.port);
    put_u16(o, e->server.port);
}

/* Section 2.2.1 onwards. */
static void put_tlv(struct out *o, unsigned type, const void *value, size_t len)
{
    if (len == 0 || len > PROXY_PROTOCOL_MAX - TLV_HEAD - o->len)
        return;
    put_u8(o, type);
    put_u16(o, len);
    put(o, value, len);
}

static void put_text_tlv(struct out *o, unsigned type, const char *text, size_t most)
{
    size_t len = text ? strlen(text) : 0;
    assert(len <= most);
    put_tlv(o, type, text, len);
}

static unsigned family_and_transport(const struct ends *e)
{
    return e->family == AF_INET    ? STREAM_OVER_IPV4
           : e->family == AF_INET6 ? STREAM_OVER_IPV6
                                   : UNKNOWN;
}

size_t proxy_protocol_v2(uint8_t *to, size_t room, const struct proxy_protocol *p)
{
    struct ends e = ends_of(p);
    struct out o = {.to = to};
    assert(room >= PROXY_PROTOCOL_MAX);
    (void)room;
    put(&o, signature, sizeof signature);
    put_u8(&o, COMMAND_PROXY);
    put_u8(&o, family_and_transport(&e));
    put_u16(&o, 0);
    put_ends(&o, &e);
    put_text_tlv(&o, TLV_ALPN, p->alpn, PROXY_PROTOCOL_ALPN_MAX);
    put_text_tlv(&o, TLV_UNIQUE_ID, p->unique_id, PROXY_PROTOCOL_UNIQUE_ID_MAX);
    if (p->authority_len <= PROXY_PROTOCOL_AUTHORITY_MAX) /* last: it may not fit */
        put_tlv(&o, TLV_AUTHORITY, p->authority, p->authority_len);
    struct out length = {.to = to, .len = LENGTH_AT};
    put_u16(&length, o.len - HEAD_LEN);
    return o.len;
}
