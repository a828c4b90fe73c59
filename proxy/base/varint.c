/*
 * varint - QUIC's variable-length integers. Owns nothing, calls nobody.
 */
#include "base/varint.h"

#include <assert.h>

size_t varint_read(uint64_t *value, const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    /* RFC 9000, section 16: the two highest bits are the logarithm of the length. */
    size_t size = (size_t)1 << (data[0] >> 6);
    if (len < size)
        return 0;
    uint64_t v = data[0] & 0x3f;
    for (size_t i = 1; i < size; i++)
        v = v << 8 | data[i];
    *value = v;
    return size;
}

size_t varint_size(uint64_t value)
{
    assert(value <= VARINT_MAX);
    if (value < UINT64_C(1) << 6)
        return 1;
    if (value < UINT64_C(1) << 14)
        return 2;
    return value < UINT64_C(1) << 30 ? 4 : 8;
}

size_t varint_write(uint8_t *to, uint64_t value)
{
    static const uint8_t prefix[] = {[1] = 0x00, [2] = 0x40, [4] = 0x80, [8] = 0xc0};
    size_t size = varint_size(value);

    for (size_t i = size; i-- > 0; value >>= 8)
        to[i] = (uint8_t)value;
    to[0] |= prefix[size];
    return size;
}
