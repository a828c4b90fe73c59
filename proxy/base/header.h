/*
 * header - one HTTP header field, lent: the bytes belong to somebody else.
 *
 * Used in both directions. How long the bytes stay valid is told where a list of headers is given.
 */
#ifndef BASE_HEADER_H
#define BASE_HEADER_H

#include <stddef.h>
#include <stdint.h>

struct header {
    const uint8_t *name; /* lower case, not terminated */
    size_t name_len;
    const uint8_t *value; /* any bytes, not terminated */
    size_t value_len;
};

#endif
