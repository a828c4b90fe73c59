/*
 * packet - UDP payloads on their way in or out, with what the kernel tells about them.
 *
 * One struct packet may hold several payloads of the same size, the last one perhaps shorter, as
 * the kernel hands them over (GRO) and takes them (GSO). Everything is lent for the call.
 */
#ifndef FRONT_PACKET_H
#define FRONT_PACKET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* ECN codepoints, RFC 3168: 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced. */

/* An address of either family, smaller than a sockaddr_storage. */
struct packet_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } sa;
    socklen_t len; /* 0: unknown */
};

struct packet {
    const uint8_t *data;
    size_t len;          /* bytes in all */
    size_t segment_size; /* of each payload but the last; 0 or >= len: there is one */
    uint8_t ecn;
    uint8_t listener; /* where it came in: the socket's number, see udp.h */
    struct packet_address local;
    struct packet_address remote;
};

/* Payloads in it. */
static inline size_t packet_count(const struct packet *p)
{
    if (p->segment_size == 0 || p->len <= p->segment_size)
        return 1;
    return (p->len + p->segment_size - 1) / p->segment_size;
}

/* Returns false if it is neither IPv4 nor IPv6. */
static inline bool packet_address_set(struct packet_address *to, const struct sockaddr *sa,
                                      socklen_t len)
{
    memset(to, 0, sizeof(*to));
    if ((sa->sa_family == AF_INET && len >= (socklen_t)sizeof(to->sa.v4)) ||
        (sa->sa_family == AF_INET6 && len >= (socklen_t)sizeof(to->sa.v6))) {
        to->len = sa->sa_family == AF_INET ? sizeof(to->sa.v4) : sizeof(to->sa.v6);
        memcpy(&to->sa, sa, to->len);
        return true;
    }
    return false;
}

/* Whatever their ports. */
static inline bool packet_address_is_same_host(const struct packet_address *a,
                                               const struct packet_address *b)
{
    if (a->sa.any.sa_family != b->sa.any.sa_family)
        return false;
    return a->sa.any.sa_family == AF_INET
               ? a->sa.v4.sin_addr.s_addr == b->sa.v4.sin_addr.s_addr
               : memcmp(&a->sa.v6.sin6_addr, &b->sa.v6.sin6_addr, 16) == 0;
}

#endif
