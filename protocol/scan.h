/*
 * scan - looks through one frame before it is unpacked.
 *
 * msgpack-c allocates what a container's header claims before it has looked whether that much is
 * there. So a frame is first walked here, without recursion and without memory: afterwards its
 * depth, its number of elements and every length in it are known to be in bounds.
 *
 * Calls nobody.
 */
#ifndef PROTOCOL_SCAN_H
#define PROTOCOL_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define SCAN_MAX_DEPTH 8
#define SCAN_MAX_KEYS  64

struct scan_limits {
    unsigned depth; /* containers within each other, the outermost map counted; <= SCAN_MAX_DEPTH */
    size_t keys;    /* of the outermost map; <= SCAN_MAX_KEYS */
    size_t elements; /* keys and values at every level together, the outermost map not counted */
};

enum scan_result {
    SCAN_OK,
    SCAN_TRUNCATED, /* ends before the map does */
    SCAN_BAD_BYTE,  /* c1, which msgpack never uses */
    SCAN_TRAILING,  /* bytes after the map */
    SCAN_NOT_A_MAP,
    SCAN_TOO_DEEP,
    SCAN_TOO_MANY,
    SCAN_KEY_NOT_TEXT,  /* in the outermost map; what is further in is not looked at */
    SCAN_DUPLICATE_KEY, /* likewise */
};

struct scan_report {
    size_t offset;      /* where the walk ended */
    const uint8_t *key; /* the outermost map's key last seen, NULL if none */
    size_t key_len;
};

enum scan_result scan_frame(const uint8_t *body, size_t len, const struct scan_limits *limits,
                            struct scan_report *report);

#endif
