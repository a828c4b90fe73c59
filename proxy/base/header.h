/*
 * header - one HTTP header field, lent: the bytes belong to somebody else.
 *
 * Used in both directions. How long the bytes stay valid is told where a list of headers is given.
 */
#ifndef BASE_HEADER_H
#define BASE_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct header {
    const uint8_t *name; /* lower case, not terminated */
    size_t name_len;
    const uint8_t *value; /* any bytes, not terminated */
    size_t value_len;
};

/* name is in lower case, as all names are in HTTP/3 (RFC 9114, section 4.2). */
static inline bool header_is(const struct header *h, const char *name)
{
    return h->name_len == strlen(name) && memcmp(h->name, name, h->name_len) == 0;
}

#endif
