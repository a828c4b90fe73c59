/*
 * link_world - a link, a real loop and a pretended clock, for the tests of proxy/back. The
 * application's end is played with plain system calls.
 */
#ifndef TESTS_LINK_WORLD_H
#define TESTS_LINK_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "back/dial.h"
#include "back/link.h"
#include "base/budget.h"
#include "base/env.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/timers.h"
#include "base/turn.h"

#define MAX_FRAME  (1u << 20)
#define STAGE_SIZE (128u << 10)
#define WATCHDOG_S 20

struct world {
    uv_loop_t loop;
    uv_timer_t tick;
    uint64_t now;
    struct turn turn;
    struct stats stats;
    struct budget memory;
    struct log log;
    struct env env;
    char dir[64], path[96], address[112];
    struct dial_target target;
    struct link_shared shared;
    struct link *link;
    /* what was heard */
    int opened, closed, refused, writable;
    struct link_end end;
    char end_text[256];
    size_t frames, frame_bytes;
    uint8_t last[64];
    size_t last_len;
    size_t receipt_bytes, receipt_count;
    bool pause_after_frame, close_after_frame;
};

extern const struct link_ops world_ops;

int world_setup(void **state);
int world_teardown(void **state);
/* Where w->link is opened to from now on. Returns false if the address cannot be understood; *error
 * then says why. */
bool world_target(struct world *w, const char *address, const char **error);
struct link *world_open(struct world *w, const struct link_ops *ops, void *user);
/* One pass of the loop, what is due, and the end of the turn. */
void world_step(struct world *w);

/* That this process has open. */
size_t world_descriptors(void);
/* What the next socket will be. */
int world_next_descriptor(void);
/* Until the kernel has heard of a reset for this socket, which nobody is told meanwhile. */
void world_await_reset(int fd);

/* Runs the loop until the condition holds. */
#define until(w, condition)                                                                        \
    do {                                                                                           \
        uint64_t watchdog_ = uv_hrtime() + WATCHDOG_S * NS_PER_S;                                  \
        turn_end(&(w)->turn);                                                                      \
        while (!(condition)) {                                                                     \
            assert_true(uv_hrtime() < watchdog_);                                                  \
            world_step(w);                                                                         \
        }                                                                                          \
    } while (0)

/* The application's end. */
int world_listen_unix(struct world *w, int backlog); /* -1: bound only */
int world_connected(struct world *w);                /* opens w->link */
size_t world_unread(int fd);
void world_write(struct world *w, int fd, const void *data, size_t len);
uint8_t *world_frame(size_t len, uint8_t fill);
void world_write_frame(struct world *w, int fd, size_t len, uint8_t fill);
/* Reads exactly len bytes while the loop goes on. */
void world_read(struct world *w, int fd, uint8_t *to, size_t len);

#define in_world(test) cmocka_unit_test_setup_teardown(test, world_setup, world_teardown)

#endif
