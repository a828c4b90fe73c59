/*
 * stress_internal - what the files of stress share.
 *
 *     stress.c          the program: what the test says, and what wt tells
 *     stress_stream.c   streams, and what is sent on them
 *     stress_work.c     rounds of work, and streams that get stuck beside them
 *     stress_trouble.c  everything that is meant to hurt
 */
#ifndef TESTS_WIRE_STRESS_INTERNAL_H
#define TESTS_WIRE_STRESS_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "bench/pattern.h"
#include "support/host.h"

#define ASK       8 /* bytes */
#define ASK_EVER  (UINT64_MAX - 1)
#define ASK_STUCK UINT64_MAX
#define ASK_CLOSE (UINT64_MAX - 2)

enum scenario {
    RUN_WORK,
    RUN_NOREAD,
    RUN_PUSH,
    RUN_STREAMS,
    RUN_DATAGRAMS,
    RUN_LISTEN,
    RUN_HOARD,
    RUNS
};

enum kind { KIND_FIN, KIND_RESET, KIND_RESET_BIDI, KIND_OPEN };

struct session {
    struct wt_session *wt;
    bool accepted;
    uint64_t to_open; /* streams of this round, or of push */
};

/* Which way the bytes go. */
enum round { ROUND_DOWN, ROUND_UP, ROUND_ECHO };

enum role { ROLE_WORK, ROLE_ECHO, ROLE_STUCK, ROLE_PUSH, ROLE_FLOOD, ROLE_HOARD, ROLE_SERVERS };

struct stream {
    struct wt_stream *wt;
    struct session *session;
    LIST_ENTRY(stream) entry;
    enum role role;
    uint64_t to_send, sent, to_get, got;
    uint8_t ask[ASK];
    bool end_told, fin, all_acked;
};

struct stress {
    struct host host;
    enum scenario scenario;
    uint64_t sessions, streams, bytes, kind, size, stuck, after;
    struct session *all;
    LIST_HEAD(, stream) alive;
    size_t accepted, closed;
    bool ending;
    uv_poll_t input;
    uv_check_t check;
    char line[64];
    size_t line_len;
    /* work */
    enum round round;
    bool in_round;
    uint64_t begun_ns, to_do, each;
    uint64_t sticking;
    /* the others */
    uint64_t sent, received;
    bool deaf;
    struct stream *hoarded;
};

extern struct stress stress;

/* --- stress_stream.c --- */

void stress_init(void);
/* At least PATTERN_CHUNK bytes as they are from this offset on. */
const uint8_t *stress_bytes(uint64_t at);
void stress_send_more(struct stream *st);
struct stream *stress_new_stream(struct session *s, struct wt_stream *wt, enum role role);
/* NULL at the server's limit: streams_available comes. */
struct stream *stress_open_stream(struct session *s, bool unidirectional, enum role role);
void stress_forget_stream(struct stream *st);
/* The session is over. */
void stress_forget_streams(const struct session *s);

/* --- stress_work.c --- */

void stress_begin_round(enum round round);
/* Of a round, and to be whole. */
bool stress_is_work(const struct stream *st);
void stress_open_work(struct session *s);
void stress_got_work(struct stream *st, const uint8_t *data, size_t len);
void stress_work_is_done(struct stream *st);
void stress_stick(bool is_up);
void stress_unstick(void);
void stress_got_stuck(struct stream *st, size_t len);
void stress_ask_for_close(void);

/* --- stress_trouble.c --- */

void stress_push(struct session *s);
/* A connection whose window is full has no room for the capsule that closes a session either. */
void stress_give_up_pushing(void);
void stress_hoard(struct session *s);
void stress_hoard_more(struct stream *st, size_t len);
/* What came has made room for more of a flood. */
void stress_after_poll(uv_check_t *check);
/* Whether what comes is taken. */
bool stress_reads(void);
void stress_tell_stopped(void);

#endif
