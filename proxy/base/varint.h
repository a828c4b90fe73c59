/*
 * varint - QUIC's variable-length integers (RFC 9000, section 16).
 */
#ifndef BASE_VARINT_H
#define BASE_VARINT_H

#include <stddef.h>
#include <stdint.h>

#define VARINT_MAX      ((UINT64_C(1) << 62) - 1)
#define VARINT_SIZE_MAX 8

/* Reads one from the first of len bytes. Returns how many bytes it took (1, 2, 4 or 8), or 0 if
 * more bytes are needed. Any legal length is taken, minimal or not. */
size_t varint_read(uint64_t *value, const uint8_t *data, size_t len);
/* Writes the shortest form; to must have room for VARINT_SIZE_MAX. value <= VARINT_MAX.
 * Returns the bytes written. */
size_t varint_write(uint8_t *to, uint64_t value);
size_t varint_size(uint64_t value);

#endif
