/*
 * held - checks that the server of a relay_world holds no more than it has granted credit for: per
 * stream, per session, per connection; and that the gauges and the budgets say what is really
 * there.
 */
#ifndef TESTS_HELD_H
#define TESTS_HELD_H

#include <stddef.h>
#include <stdint.h>

#include "front/wt.h"

struct rworld;

/* For the end of any turn. Ends the program with a sentence if it is not so. excess: by how much an
 * application may go beyond its credit (a frame), 0 if all honour it. */
void held_check(const struct rworld *w, size_t excess);

/* --- held_front.c, for held.c --- */

/* Payload that a stream keeps for its client, and bytes from its client without credit yet. */
uint64_t held_to_send(const struct wt_stream *st);
uint64_t held_uncredited(const struct wt_stream *st);
/* What all connections of a host hold; checks what concerns the front alone. */
struct held_sums {
    uint64_t send_bytes, receive_bytes, datagrams, memory;
};
struct held_sums held_by_front(const struct wt_host *host);

#define held_require(condition)                                                                    \
    ((condition) ? (void)0 : held_violated(#condition, __FILE__, __LINE__))
_Noreturn void held_violated(const char *condition, const char *file, int line);

#endif
