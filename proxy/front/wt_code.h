/*
 * wt_code - an application's 32-bit error codes on the wire (draft-ietf-webtrans-http3,
 * section 4.4).
 *
 * The first 256 of them are those of draft-02, so one mapping serves every draft.
 */
#ifndef FRONT_WT_CODE_H
#define FRONT_WT_CODE_H

#include <stdint.h>

#include "front/wt.h"

uint64_t wt_code_to_wire(uint32_t code);
/* Not known if the wire's code is outside the range or one of the reserved ones in it. */
struct wt_code wt_code_from_wire(uint64_t wire);

#endif
