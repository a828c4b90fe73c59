/*
 * upstream - an application behind one or several addresses: which one a session gets, and the
 * links to them.
 *
 * A session first asks for a seat. It is granted at an address that is usable (health.h) and has
 * room, by the policy of the pool (pool.h); if all are full it waits, for as long as it may. Then
 * the session connects, and says how it went: that is how the addresses' health is known. As long
 * as its session was not accepted it may be seated again, at an address where it has not been. If
 * all addresses rest, the one that has rested longest is tried rather than nobody served.
 *
 *      seat_ask ──► granted ──► seat_connect ──► seat_answered ──► seat_leave
 *                  ▲   denied        └─► seat_failed: true, another one ─┐
 *                  └─────────────────────────────────────────────────────┘
 *
 * A name stands for all the addresses it has, now and later (resolve.h). One that is gone gets no
 * new sessions; those that are there stay.
 *
 * An address that rests is tried without a session: by a connection, or, if the configuration says
 * so, by a session of its own (struct upstream_probe). Such a probe may also be made now and then
 * while it is up. Nobody can be asked whether datagrams would arrive: an address for those may
 * simply be used again when it has rested.
 *
 * Everything is of one worker: each has its own counts, limits and opinion of health.
 */
#ifndef BACK_UPSTREAM_H
#define BACK_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "back/dgram.h"
#include "back/health.h"
#include "back/link.h"
#include "back/pipe.h"
#include "back/pipe_tls.h"
#include "back/pool.h"
#include "base/env.h"
#include "base/fault.h"
#include "base/timers.h"

struct tally;
struct upstream;
struct upstream_member;

#define SEAT_ATTEMPTS_MAX 8
#define SEAT_ADDRESS_SIZE 128

enum upstream_probe_kind { UPSTREAM_PROBE_CONNECT, UPSTREAM_PROBE_ACCEPT };

/* How an address is tried without a client. */
struct upstream_probe {
    enum upstream_probe_kind kind;
    uint64_t interval_ns; /* also while it is up; 0: only when it rests */
    uint64_t timeout_ns;  /* from the connection to the answer */
    /* For ACCEPT: the first frame, whether the answer to it is good, and the last frame. They
     * outlive the upstream. */
    const uint8_t *hello;
    size_t hello_len;
    bool (*is_accepted)(const uint8_t *frame, size_t len);
    const uint8_t *farewell;
    size_t farewell_len;
};

/* What is made to its addresses. */
enum upstream_socket {
    UPSTREAM_STREAM,  /* links and pipes; "unix:PATH" or "tcp:HOST:PORT" */
    UPSTREAM_DATAGRAM /* dgrams; "udp:HOST:PORT" */
};

struct upstream_config {
    const char *name; /* for logs and statistics. Copied. */
    enum upstream_socket socket;
    /* All of that kind; IPv6 hosts in brackets. Copied. At least one. */
    const char *const *addresses;
    size_t address_count;
    struct pipe_tls *tls; /* of pipes (pipe_tls.h); NULL: plain bytes. The upstream shares it */
    uint64_t connect_timeout_ns; /* a full backlog (EAGAIN) is retried within it */
    uint64_t linger_timeout_ns;
    uint64_t frame_timeout_ns; /* to finish a large frame, where memory is short */
    size_t max_frame;          /* bytes; larger frames are refused */
    size_t stage_size;         /* bytes staged for one application socket */
    size_t read_budget;        /* bytes read from one application socket in one turn */

    enum pool_policy policy;
    size_t max_sessions;       /* at one address; 0: no limit */
    unsigned attempts;         /* addresses that one session is tried at: 1 to SEAT_ATTEMPTS_MAX */
    size_t queue_max;          /* sessions waiting for room */
    uint64_t queue_timeout_ns; /* how long one of them waits */
    struct health_config health;
    struct upstream_probe probe;
    uint64_t resolve_interval_ns; /* names are looked up again */
};

/* Whether upstream_new would take all addresses and the TLS; if not, *error says why (static text,
 * or TLS's own). */
bool upstream_check(const struct upstream_config *config, const char **error);
/* NULL for the same reasons; *error as there. */
struct upstream *upstream_new(struct env *env, uv_loop_t *loop,
                              const struct upstream_config *config, const char **error);
/* Tries no addresses and looks up no names any more. Its links end with the turn. */
void upstream_stop(struct upstream *u);
/* No link, pipe or dgram is alive and no seat taken. */
bool upstream_is_idle(const struct upstream *u);
/* It must be idle. */
void upstream_free(struct upstream *u);

/* Bytes of the largest frame that fits into an empty stage. */
size_t upstream_largest(const struct upstream *u);
/* How long those who were told that all is full should stay away. */
unsigned upstream_retry_after_s(const struct upstream *u);
/* Adds the numbers of each address. */
void upstream_count(const struct upstream *u, struct tally *to);

/* --- seats --- */

struct seat_ops {
    /* There is an address: say seat_connect now. */
    void (*granted)(void *user);
    /* There is none; the seat is free again. BACKEND_FULL, or why the last address failed. text is
     * for the log, valid only now; NULL: nothing is to be said that was not said before. */
    void (*denied)(void *user, enum fault fault, const char *text);
};

/* A part of its holder. Zero it to begin. */
struct seat {
    struct upstream *upstream; /* NULL while it is free */
    const struct seat_ops *ops;
    void *user;
    uint64_t key;
    struct upstream_member *member; /* NULL while it is being asked for */
    bool waits, answered;
    enum fault fault; /* of the last attempt */
    unsigned attempts;
    uint32_t tried[SEAT_ATTEMPTS_MAX];
    struct timer deadline; /* of waiting */
    TAILQ_ENTRY(seat) entry;
    char address[SEAT_ADDRESS_SIZE];
};

/* granted() or denied() follow, not before this returns. key (pool_hash) decides if the policy is
 * POOL_HASH. */
void seat_ask(struct seat *s, struct upstream *u, uint64_t key, const struct seat_ops *ops,
              void *user);
/* Begins to connect to the address that was granted. Never fails at once: opened() or closed()
 * follows, not before this returns. memory pays for what the link keeps, until closed(). */
struct link *seat_connect(struct seat *s, const struct link_ops *ops, void *user,
                          struct budget *memory);
/* The same for a service: failed() may come instead of opened(). preface, of at most
 * PIPE_PREFACE_MAX bytes, is copied. */
struct pipe *seat_open_pipe(struct seat *s, const void *preface, size_t len,
                            const struct pipe_ops *ops, void *user);
/* A socket to the address that was granted, of an upstream for datagrams. NULL if the system
 * refuses; *error is then an errno. */
struct dgram *seat_open_dgram(struct seat *s, const struct dgram_ops *ops, void *user, int *error);
/* The application has accepted the session, or rejected it in good order. */
void seat_answered(struct seat *s);
/* The link could not be made, or was lost, or no answer came, or it broke the protocol; the link
 * has closed, or is no link of this session any more. Returns true if the session will be seated
 * anew: granted() or denied() follow, not before this returns. Returns false if this was the end:
 * seat_leave. */
bool seat_failed(struct seat *s, enum fault fault);
/* Gives it back, also while it is being asked for. Nothing happens if it is free. */
void seat_leave(struct seat *s);
/* Of the address granted last, for logs; "" before. */
const char *seat_address(const struct seat *s);

#endif
