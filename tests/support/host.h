/*
 * host - the front on a real socket: a loop, a clock, one UDP socket and a wt_host on it, as a
 * client or as a server. For programs that tests start; inside one process, see world.h.
 *
 * Whatever the local system refuses ends the program with a sentence.
 */
#ifndef TESTS_SUPPORT_HOST_H
#define TESTS_SUPPORT_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/budget.h"
#include "base/env.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/turn.h"
#include "front/packet.h"
#include "front/wt.h"

struct udp;

struct host_config {
    const struct packet_address *bind; /* a server's; NULL for a client: it follows from peer */
    int family;                        /* a client's: of its servers */
    size_t kernel_buffer;
    enum log_level log_level;
    struct wt_config wt; /* tls is filled in: a fresh certificate, or trust in any */
};

/* In place from host_open to host_fini. */
struct host {
    uv_loop_t loop;
    struct env env;
    struct wt_host *wt;
    /* for host.c only */
    struct turn turn;
    struct stats stats;
    struct log log;
    struct budget memory;
    uv_prepare_t prepare;
    uv_poll_t timer_poll;
    uv_idle_t due;
    int timer_fd;
    uint64_t armed_ns;
    struct udp *udp;
    struct endpoint *endpoint;
    struct tls_context *tls;
    bool closing;
};

void host_open(struct host *h, const struct host_config *config, const struct wt_ops *ops,
               void *user);
/* Where it is bound. */
const struct packet_address *host_address(const struct host *h);
/* Until host_close has been called and everything has ended; handles that the caller put on the
 * loop must be closed by then. */
void host_run(struct host *h);
/* Ends all connections; the socket follows the last of them. */
void host_close(struct host *h);
/* After host_run. Returns false if a gauge is not zero, and tells which. */
bool host_fini(struct host *h);

uint64_t host_now_ns(void);
/* "HOST:PORT" with a numeric host, IPv6 in brackets; ends the program if it is something else. */
struct packet_address host_parse_address(const char *text);
/* A setting of a program's command line: NAME= and a number, perhaps with K, M or G. */
struct host_setting {
    const char *name; /* with its "=" */
    uint64_t *to;
    uint64_t least;
};
/* Ends the program with a sentence if argument is none of the settings. */
void host_set(const struct host_setting *settings, size_t count, const char *argument);

/* Upcalls for whoever does not want to know. */
void host_ignore_streams(void *user, bool unidirectional);
void host_ignore_datagram_max(void *user, size_t max);
void host_ignore_drain(void *user);

/* Ends the program with a sentence. */
_Noreturn void host_fail(const char *what);

#endif
