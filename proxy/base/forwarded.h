/*
 * forwarded - who the client is when a proxy stands in front, and telling the application.
 *
 * Proxies that are trusted name the one that came to them in a header: X-Forwarded-For (addresses,
 * the nearest last) or Forwarded (RFC 7239). From the end, each address that a trusted proxy has
 * named is believed; the first that is not a trusted proxy's is the client. What others say in such
 * a header is not believed, and not passed on.
 *
 * Networks are texts: ADDRESS or ADDRESS/BITS. Pure. Calls nobody.
 */
#ifndef BASE_FORWARDED_H
#define BASE_FORWARDED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/header.h"

/* The header that is read and written. */
enum forwarded_kind { FORWARDED_NONE, FORWARDED_X, FORWARDED_RFC7239 };

struct forwarded_rule {
    enum forwarded_kind kind;
    const char *const *trusted; /* networks */
    size_t trusted_count;
};

bool forwarded_is_network(const char *text);
bool forwarded_is_in(const char *network, const struct sockaddr_storage *address);

/* The header's name, in lower case; NULL for FORWARDED_NONE. */
const char *forwarded_name(enum forwarded_kind kind);
/* *client is who sends the packets, and becomes who is behind. A port that nobody named is 0. */
void forwarded_find(const struct forwarded_rule *rule, const struct header *headers, size_t count,
                    struct sockaddr_storage *client);
/* The header's value for the application: what trusted proxies have said, and then peer, who sends
 * the packets. To be freed; *len without a terminating byte. */
char *forwarded_write(const struct forwarded_rule *rule, const struct header *headers, size_t count,
                      const struct sockaddr_storage *peer, const char *authority, size_t *len);

#endif
