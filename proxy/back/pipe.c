/*
 * A pipe's life, from the dial to the end, and plain bytes. Owns its dial or its sock, and the
 * preface until it is sent. Calls dial, sock and turn; news goes up through pipe_ops.
 */
#include "back/pipe_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/stats.h"

enum {
    SCRATCH_SIZE = 16 << 10,  /* for what is thrown away */
    DISCARD_BUDGET = 1 << 20, /* thrown away in one go */
};

/* --- plain bytes --- */

static enum pipe_step plain_open(struct pipe *p, struct pipe_end *why)
{
    (void)p;
    (void)why;
    return PIPE_STEP_DONE;
}

static ssize_t plain_read(struct pipe *p, void *to, size_t room)
{
    const struct iovec whole = {to, room};
    return sock_read(p->sock, &whole, 1);
}

static ssize_t plain_write(struct pipe *p, const struct iovec *from, int count)
{
    return sock_writev(p->sock, from, count);
}

static bool plain_shut(struct pipe *p)
{
    sock_shut(p->sock);
    return true;
}

static bool plain_holds(const struct pipe *p)
{
    (void)p;
    return false;
}

static void plain_free(struct pipe *p)
{
    (void)p;
}

static const struct pipe_layer plain_layer = {
    .doing = "connect to",
    .open = plain_open,
    .read = plain_read,
    .holds = plain_holds,
    .write = plain_write,
    .shut = plain_shut,
    .free = plain_free,
};

/* --- the end --- */

static void free_pipe(void *owner)
{
    struct pipe *p = owner;
    free(p->preface);
    free(p);
}

/* Its memory stays until the turn ends: an upcall of it may be under way. */
static void close_with(struct pipe *p, void (*close_sock)(struct sock *s))
{
    struct env *env = p->shared->env;
    assert(p->state != PIPE_CLOSED);
    if (p->state == PIPE_DIALING && close_sock == sock_reset)
        dial_reset(&p->dial);
    else if (p->state == PIPE_DIALING)
        dial_cancel(&p->dial);
    if (p->sock)
        close_sock(p->sock);
    p->sock = NULL;
    p->layer->free(p);
    p->state = PIPE_CLOSED;
    timer_stop(env->timers, &p->deadline);
    turn_untouch(env->turn, &p->flush);
    turn_bury(env->turn, &p->grave, free_pipe, p);
    p->shared->pipes--;
    env->stats->links--;
}

static void close_now(struct pipe *p)
{
    close_with(p, sock_close);
}

static void nobody_hears(void *user)
{
    (void)user;
}

static const struct pipe_ops ops_of_nobody = {.finished = nobody_hears};

/* Our end must still be said where the service has said its own. */
void pipe_close(struct pipe *p)
{
    if (p->state == PIPE_OPEN && p->shutting && p->read_over && !p->broken) {
        p->ops = &ops_of_nobody;
        pipe_finish(p);
    } else {
        close_now(p);
    }
}

void pipe_reset(struct pipe *p)
{
    close_with(p, sock_reset);
}

static void fail(struct pipe *p, const struct pipe_end *end)
{
    close_now(p);
    p->ops->failed(p->user, end);
}

static void fail_opening(struct pipe *p, enum fault fault, int error, const char *why)
{
    snprintf(p->text, sizeof p->text, "%s %s: %s", p->layer->doing, p->target->address, why);
    fail(p, &(struct pipe_end){fault, error, p->text});
}

/* --- what is waited for --- */

/* The socket says nothing of what the layer holds: the clock does. */
static void see_to_held(struct pipe *p)
{
    struct timers *timers = p->shared->env->timers;
    if (p->state != PIPE_OPEN)
        return;
    if (p->want_read && !p->read_over && p->layer->holds(p))
        timer_set(timers, &p->deadline, timers_now(timers));
    else
        timer_stop(timers, &p->deadline);
}

static void want(struct pipe *p)
{
    if (p->state == PIPE_OPENING)
        sock_want(p->sock, p->step == PIPE_STEP_READ, p->step == PIPE_STEP_WRITE);
    else if (p->state == PIPE_OPEN)
        sock_want(p->sock, p->want_read && !p->read_over,
                  (p->want_write && !p->write_over) || p->shutting);
    else if (p->state == PIPE_FINISHING)
        sock_want(p->sock, !p->read_over, p->shutting);
    see_to_held(p);
}

void pipe_want(struct pipe *p, bool read, bool write)
{
    p->want_read = read;
    p->want_write = write;
    want(p);
}

/* --- reading and writing --- */

static bool is_for_now(ssize_t n)
{
    return n < 0 && errno == EAGAIN;
}

static ssize_t read_some(struct pipe *p, void *to, size_t room)
{
    ssize_t n = p->layer->read(p, to, room);
    if (n > 0)
        see_to_held(p);
    if (n > 0 || is_for_now(n))
        return n;
    if (n < 0)
        p->broken = errno;
    p->read_over = true;
    want(p);
    if (!p->broken)
        return 0;
    errno = p->broken; /* what a write has met is no end */
    return -1;
}

static ssize_t discard(struct pipe *p, void *to, size_t room)
{
    for (size_t all = 0; all < DISCARD_BUDGET;) {
        ssize_t n = read_some(p, to, room);
        if (n <= 0)
            return n;
        all += (size_t)n;
    }
    errno = EAGAIN;
    return -1;
}

ssize_t pipe_read(struct pipe *p, void *to, size_t room)
{
    assert(room > 0);
    if (p->state != PIPE_OPEN) {
        errno = EAGAIN;
        return -1;
    }
    return p->stopped ? discard(p, to, room) : read_some(p, to, room);
}

ssize_t pipe_write(struct pipe *p, const struct iovec *from, int count)
{
    assert(!p->shut);
    if (p->state != PIPE_OPEN || p->broken) {
        errno = p->broken ? p->broken : EAGAIN;
        return -1;
    }
    ssize_t n = p->layer->write(p, from, count);
    if (n >= 0 || is_for_now(n))
        return n;
    int error = errno;
    if (error != EPIPE)
        p->broken = error;
    p->write_over = true;
    want(p);
    errno = error;
    return -1;
}

static void go_on_shutting(struct pipe *p)
{
    p->shutting = !p->layer->shut(p);
    want(p);
}

void pipe_shut(struct pipe *p)
{
    assert(!p->shut);
    p->shut = true;
    if (p->state == PIPE_OPEN)
        go_on_shutting(p);
}

void pipe_stop(struct pipe *p)
{
    p->stopped = true;
    if (p->state == PIPE_OPEN)
        sock_stop(p->sock);
}

/* --- opening --- */

static void open_up(struct pipe *p)
{
    timer_stop(p->shared->env->timers, &p->deadline);
    free(p->preface);
    p->preface = NULL;
    p->state = PIPE_OPEN;
    if (p->stopped)
        sock_stop(p->sock);
    if (p->shut)
        p->shutting = !p->layer->shut(p);
    want(p);
    p->ops->opened(p->user);
}

/* Whether all of it is sent. */
static enum pipe_step send_preface(struct pipe *p, struct pipe_end *why)
{
    if (p->preface_sent == p->preface_len)
        return PIPE_STEP_DONE;
    ssize_t n = sock_write(p->sock, p->preface + p->preface_sent, p->preface_len - p->preface_sent);
    if (n < 0 && errno != EAGAIN) {
        *why = (struct pipe_end){FAULT_BACKEND_LOST, errno, strerror(errno)};
        return PIPE_STEP_FAILED;
    }
    if (n > 0)
        p->preface_sent += (size_t)n;
    return p->preface_sent == p->preface_len ? PIPE_STEP_DONE : PIPE_STEP_WRITE;
}

static void go_on_opening(struct pipe *p)
{
    struct pipe_end why;
    p->step = send_preface(p, &why);
    if (p->step == PIPE_STEP_DONE)
        p->step = p->layer->open(p, &why);
    if (p->step == PIPE_STEP_DONE) {
        open_up(p);
    } else if (p->step == PIPE_STEP_FAILED) {
        fail_opening(p, why.fault, why.error, why.text);
    } else {
        timer_set(p->shared->env->timers, &p->deadline, p->open_by_ns);
        want(p);
    }
}

/* --- finishing --- */

static void touch(struct pipe *p)
{
    turn_touch(p->shared->env->turn, &p->flush);
}

/* finished() comes with the flush. */
static void finish_now(struct pipe *p)
{
    if (p->state == PIPE_DIALING)
        dial_cancel(&p->dial);
    if (p->sock)
        sock_want(p->sock, false, false);
    timer_stop(p->shared->env->timers, &p->deadline);
    p->state = PIPE_FINISHED;
    touch(p);
}

static void go_on_finishing(struct pipe *p)
{
    uint8_t scratch[SCRATCH_SIZE];
    if (p->shutting)
        p->shutting = !p->layer->shut(p);
    if (!p->read_over)
        discard(p, scratch, sizeof scratch);
    if (p->broken || (p->read_over && !p->shutting))
        finish_now(p);
    else
        want(p);
}

void pipe_finish(struct pipe *p)
{
    struct timers *timers = p->shared->env->timers;
    assert(p->state < PIPE_FINISHING);
    if (p->state != PIPE_OPEN) { /* nothing was taken */
        finish_now(p);
        return;
    }
    pipe_stop(p);
    if (!p->shut)
        pipe_shut(p);
    p->state = PIPE_FINISHING;
    timer_set(timers, &p->deadline, timers_now(timers) + p->shared->linger_timeout_ns);
    go_on_finishing(p);
}

/* --- what the socket and the clock say --- */

/* Whether the pipe sees to itself. */
static bool goes_on_alone(struct pipe *p)
{
    if (p->state == PIPE_OPENING)
        go_on_opening(p);
    else if (p->state == PIPE_FINISHING)
        go_on_finishing(p);
    else if (p->state == PIPE_OPEN)
        return false;
    return true;
}

static void sock_readable(void *user)
{
    struct pipe *p = user;
    if (!goes_on_alone(p) && p->want_read)
        p->ops->readable(p->user);
}

static void sock_writable(void *user)
{
    struct pipe *p = user;
    if (goes_on_alone(p))
        return;
    if (p->shutting)
        go_on_shutting(p);
    if (p->want_write)
        p->ops->writable(p->user);
}

/* It is met when somebody reads or writes: what came before it has its turn first. */
static void sock_hung_up(void *user)
{
    (void)user;
}

static const struct sock_ops connected_ops = {sock_readable, sock_writable, sock_hung_up};

static void dial_connected(void *user, struct sock *sock)
{
    struct pipe *p = user;
    p->sock = sock;
    p->state = PIPE_OPENING;
    sock_set_ops(sock, &connected_ops, p);
    go_on_opening(p);
}

static void dial_failed(void *user, enum fault fault, int error, const char *text)
{
    fail(user, &(struct pipe_end){fault, error, text});
}

static const struct dial_ops dialing_ops = {dial_connected, dial_failed};

static void tell_held(struct pipe *p)
{
    p->ops->readable(p->user);
    see_to_held(p);
}

static void deadline_fired(void *owner)
{
    struct pipe *p = owner;
    if (p->state == PIPE_OPEN)
        tell_held(p);
    else if (p->state == PIPE_OPENING)
        fail_opening(p, FAULT_BACKEND_CONNECT_TIMEOUT, ETIMEDOUT,
                     "connected, but did not go on in time");
    else
        finish_now(p);
}

/* --- life --- */

static void begin(struct pipe *p)
{
    struct env *env = p->shared->env;
    uint64_t timeout = p->shared->connect_timeout_ns;
    p->state = PIPE_DIALING;
    p->open_by_ns = timers_now(env->timers) + timeout;
    dial_begin(&p->dial, env, p->shared->loop, p->target, timeout, &dialing_ops, p);
}

static void flush(void *owner)
{
    struct pipe *p = owner;
    if (p->state == PIPE_NEW) {
        begin(p);
    } else if (p->state == PIPE_FINISHED) {
        close_now(p);
        p->ops->finished(p->user);
    }
}

struct pipe *pipe_open(struct pipe_shared *shared, const struct dial_target *target,
                       const void *preface, size_t len, const struct pipe_ops *ops, void *user)
{
    struct pipe *p = calloc(1, sizeof *p);
    assert(p && len <= PIPE_PREFACE_MAX);
    p->shared = shared;
    p->target = target;
    p->ops = ops;
    p->user = user;
    p->layer = shared->tls ? &pipe_tls_layer : &plain_layer;
    if (len > 0) {
        p->preface = malloc(len);
        assert(p->preface);
        memcpy(p->preface, preface, len);
        p->preface_len = len;
    }
    timer_init(&p->deadline, deadline_fired, p);
    turn_flush_init(&p->flush, TURN_BACK, flush, p);
    shared->pipes++;
    shared->env->stats->links++;
    touch(p);
    return p;
}
