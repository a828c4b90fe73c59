/*
 * wt_code - the arithmetic of error codes: every 31st code point is left out for HTTP/3's GREASE.
 */
#include "front/wt_code.h"

#define WIRE_FIRST UINT64_C(0x52e4a40fa8db)
#define WIRE_LAST  UINT64_C(0x52e5ac983162)

uint64_t wt_code_to_wire(uint32_t code)
{
    return WIRE_FIRST + code + code / 0x1e;
}

struct wt_code wt_code_from_wire(uint64_t wire)
{
    if (wire < WIRE_FIRST || wire > WIRE_LAST || (wire - 0x21) % 0x1f == 0)
        return (struct wt_code){0};
    uint64_t shifted = wire - WIRE_FIRST;
    return (struct wt_code){.known = true, .value = (uint32_t)(shifted - shifted / 0x1f)};
}
