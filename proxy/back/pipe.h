/*
 * pipe - one connection to a service: bytes out, bytes in.
 *
 * Nothing is kept in it: the holder reads what it has room for, and writes what the socket takes.
 * So whoever is slow makes the other wait, and nobody else. The one exception is the preface, which
 * the service gets before all else.
 *
 *      pipe_open ──► opened ──► pipe_read, pipe_write ... ──► pipe_close, pipe_reset
 *          └──► failed            pipe_shut, pipe_stop    └─► pipe_finish ──► finished
 *
 * A half that is broken does not break the other: after a write has failed with EPIPE, reading goes
 * on to the end. After a reset both halves tell it, reading only after what had come before it.
 *
 * A pipe is valid until failed(), finished(), pipe_close or pipe_reset; no upcall comes after any
 * of them. All of them may be called from within its upcalls.
 */
#ifndef BACK_PIPE_H
#define BACK_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <uv.h>

#include "base/env.h"
#include "base/fault.h"

struct dial_target;
struct pipe;
struct pipe_tls;

#define PIPE_PREFACE_MAX 512

/* What all pipes of one upstream share. Filled in by upstream.c. */
struct pipe_shared {
    struct env *env;
    uv_loop_t *loop;
    uint64_t connect_timeout_ns; /* until it is open */
    uint64_t linger_timeout_ns;  /* until it is finished */
    struct pipe_tls *tls;        /* NULL: plain bytes. See pipe_tls.h */
    size_t pipes;                /* that are alive */
};

struct pipe_end {
    enum fault fault; /* BACKEND_CONNECT, BACKEND_CONNECT_TIMEOUT, BACKEND_FULL, BACKEND_LOST,
                         BACKEND_TLS */
    int error;        /* errno */
    const char *text; /* a sentence for the log: "connect to unix:/run/x.sock: No such file ...".
                         Valid until failed() returns */
};

struct pipe_ops {
    /* It is connected, the preface is the socket's, and TLS, if it is asked for, is up. */
    void (*opened)(void *user);
    /* pipe_read will tell something. Again until it is read, or not wanted any more. */
    void (*readable)(void *user);
    /* pipe_write may take something. Again until it is not wanted any more. */
    void (*writable)(void *user);
    /* Instead of opened(): it could not be opened, and is gone. */
    void (*failed)(void *user, const struct pipe_end *end);
    /* After pipe_finish: it is gone. */
    void (*finished)(void *user);
};

/* Begins to connect to target, which stays until opened() or failed(). Never fails at once: one of
 * them follows, not before this returns. preface, of at most PIPE_PREFACE_MAX bytes, is copied. */
struct pipe *pipe_open(struct pipe_shared *shared, const struct dial_target *target,
                       const void *preface, size_t len, const struct pipe_ops *ops, void *user);

/* What the holder waits for from now on; nothing at first. It waits in vain for what cannot be any
 * more: to read after the end, to write after an error. */
void pipe_want(struct pipe *p, bool read, bool write);
/* Bytes read; room is not 0. 0 at the end, when the service has written all. -1 and
 * errno: EAGAIN when there is nothing now, or it is not open yet; else it is broken (ECONNRESET,
 * ETIMEDOUT, ...), now and ever. */
ssize_t pipe_read(struct pipe *p, void *to, size_t room);
/* Bytes taken, perhaps fewer. -1 and errno: EAGAIN when nothing can be taken now, or it is not open
 * yet; EPIPE: the service reads no more, what it writes may still be read; else it is broken. What
 * was not taken is given again before anything else: TLS may have begun with it. */
ssize_t pipe_write(struct pipe *p, const struct iovec *from, int count);
/* We have written all: the service reads the end after what was taken. Once; also before opened().
 */
void pipe_shut(struct pipe *p);
/* We want nothing more of what the service writes. A Unix service is told so when it writes. From
 * now on pipe_read throws away what comes, and only tells EAGAIN, the end, and errors: whoever
 * wants to hear of those, and not to let the service wait, goes on reading. Also before opened().
 */
void pipe_stop(struct pipe *p);
/* Ends both halves in good order: what was taken is delivered, what still comes is thrown away.
 * finished() follows, not before this returns: when the service has ended its half, or the
 * connection is broken, or after linger_timeout. (A Unix service has all by then, so it is over at
 * once.) */
void pipe_finish(struct pipe *p);
/* At once. What was taken is delivered, and the end if pipe_shut was called, unless the service has
 * written or writes something that was not read: then it gets a reset instead. */
void pipe_close(struct pipe *p);
/* At once: the service gets a reset (over TCP; a Unix socket is closed). */
void pipe_reset(struct pipe *p);

#endif
