/*
 * pipe_internal - a pipe, as its files share it.
 *
 * pipe.c      its life, and plain bytes
 * pipe_tls.c  TLS
 *
 * What stands between the pipe and its socket is a layer: plain bytes go as they are.
 */
#ifndef BACK_PIPE_INTERNAL_H
#define BACK_PIPE_INTERNAL_H

#include "back/dial.h"
#include "back/pipe.h"
#include "back/sock.h"
#include "base/timers.h"
#include "base/turn.h"

enum pipe_state {
    PIPE_NEW, /* the dial begins with the next flush */
    PIPE_DIALING,
    PIPE_OPENING, /* connected: the preface goes out, then the layer opens */
    PIPE_OPEN,
    PIPE_FINISHING, /* has delivered all, and discards what comes */
    PIPE_FINISHED,  /* finished() comes with the next flush */
    PIPE_CLOSED,
};

enum pipe_step { PIPE_STEP_DONE, PIPE_STEP_READ, PIPE_STEP_WRITE, PIPE_STEP_FAILED };

struct pipe_layer {
    const char *doing; /* "connect to": for the sentence, should it fail to open */
    /* Goes on opening: it is done, or waits until the socket can be read or written, or has failed
     * and *why says it. */
    enum pipe_step (*open)(struct pipe *p, struct pipe_end *why);
    /* As pipe_read and pipe_write on a pipe that is open. */
    ssize_t (*read)(struct pipe *p, void *to, size_t room);
    /* Some of what is to be read is in it already: the socket need not say that there is something.
     */
    bool (*holds)(const struct pipe *p);
    ssize_t (*write)(struct pipe *p, const struct iovec *from, int count);
    /* Goes on ending our half. Returns false if it must wait until the socket can be written. */
    bool (*shut)(struct pipe *p);
    void (*free)(struct pipe *p);
};

extern const struct pipe_layer pipe_tls_layer; /* if the upstream has TLS */

struct pipe_tls_session;

struct pipe {
    struct pipe_shared *shared;
    const struct dial_target *target;
    const struct pipe_ops *ops;
    void *user;
    const struct pipe_layer *layer;
    struct pipe_tls_session *tls; /* of that layer; NULL until it begins */
    enum pipe_state state;
    struct dial dial;
    struct sock *sock;   /* NULL until connected, and once closed */
    enum pipe_step step; /* what opening waits for */
    uint64_t open_by_ns;
    /* Of opening, and of finishing. While it is open: what the layer holds is to be told. */
    struct timer deadline;
    bool want_read, want_write;
    bool stopped, shut;
    bool shutting;   /* shut, but the layer is not done with it */
    bool read_over;  /* the end, or an error, was told */
    bool write_over; /* an error was told */
    int broken;      /* errno of what broke both halves; the kernel tells it to one of them only */
    uint8_t *preface;
    size_t preface_len, preface_sent;
    struct turn_flush flush;
    struct turn_grave grave;
    char text[256]; /* of pipe_end */
};

#endif
