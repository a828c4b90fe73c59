/*
 * sock - one non-blocking stream socket on the loop, Unix or TCP.
 *
 * A thin layer: the holder says what it waits for, hears of it, and then reads and writes itself.
 * While it does not want to read, it still hears once that the other end hung up.
 *
 * A sock is valid from sock_open until sock_close; no upcall comes after sock_close. (Its memory
 * goes a little later, when the loop has let go of it.)
 */
#ifndef BACK_SOCK_H
#define BACK_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <uv.h>

struct sock;

struct sock_ops {
    /* There is something to read, be it data, the end, or an error. Comes again until it is read.
     */
    void (*readable)(void *user);
    /* Writing may go on; for a sock that is connecting: the result is there (sock_error). */
    void (*writable)(void *user);
    /* The other end hung up while we did not want to read; once. What it wrote before may still be
     * unread (sock_unread). */
    void (*hung_up)(void *user);
};

/* NULL if the system refuses; *error is then an errno. */
struct sock *sock_open(uv_loop_t *loop, int family, const struct sock_ops *ops, void *user,
                       int *error);
void sock_set_ops(struct sock *s, const struct sock_ops *ops, void *user);
/* 0: connected. EINPROGRESS: want to write, then ask sock_error. EAGAIN: the backlog of a Unix
 * socket is full, try again. Other errnos: failed. */
int sock_connect(struct sock *s, const struct sockaddr *to, socklen_t len);
/* How connecting went: 0 or an errno. */
int sock_error(struct sock *s);
/* What the holder waits for from now on. */
void sock_want(struct sock *s, bool read, bool write);
/* As readv, send and writev, but never interrupted: -1 and errno, where EAGAIN is nothing now. */
ssize_t sock_read(struct sock *s, const struct iovec *to, int count);
ssize_t sock_write(struct sock *s, const void *data, size_t len);
ssize_t sock_writev(struct sock *s, const struct iovec *from, int count);
/* Bytes that have arrived and were not read. */
size_t sock_unread(struct sock *s);
/* We have written all. */
void sock_shut(struct sock *s);
/* We will use nothing more of what comes. A Unix socket's other end learns it when it writes
 * (EPIPE), and what had arrived is still there to be read. TCP cannot say it: what comes is to be
 * read and thrown away, or the other end will wait for room. */
void sock_stop(struct sock *s);
void sock_close(struct sock *s);
/* As sock_close, but what was written and not delivered is dropped, and the other end of TCP gets a
 * reset. */
void sock_reset(struct sock *s);

#endif
