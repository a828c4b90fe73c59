/*
 * One socket and the libuv poll handle that watches it. Owns both; frees itself when libuv has
 * closed the handle, so that its holder may forget it at once. Calls libuv and the kernel.
 */
#include "back/sock.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct sock {
    uv_poll_t poll;
    int fd, family;
    const struct sock_ops *ops;
    void *user;
    bool want_read, want_write;
    bool hung_up; /* told, or found in the course of reading: not to be watched any more */
    int watched;  /* events libuv watches now */
    bool closed;
};

static void freed(uv_handle_t *handle)
{
    free(handle->data);
}

static void ready(uv_poll_t *handle, int status, int events);

static void watch(struct sock *s)
{
    int events = (s->want_read ? UV_READABLE : 0) | (s->want_write ? UV_WRITABLE : 0) |
                 (s->want_read || s->hung_up ? 0 : UV_DISCONNECT);
    if (events == s->watched)
        return;
    s->watched = events;
    int failed = events ? uv_poll_start(&s->poll, events, ready) : uv_poll_stop(&s->poll);
    assert(failed == 0);
    (void)failed;
}

static void ready(uv_poll_t *handle, int status, int events)
{
    struct sock *s = handle->data;
    if (status < 0) {
        /* The kernel reported an error and libuv has stopped watching. Reading and writing will
         * meet the error themselves, reading only after what arrived before it. */
        s->watched = 0;
        events = UV_READABLE | UV_WRITABLE | UV_DISCONNECT;
    }
    if ((events & UV_WRITABLE) && s->want_write)
        s->ops->writable(s->user);
    if (s->closed)
        return;
    if (s->want_read) {
        if (events & (UV_READABLE | UV_DISCONNECT))
            s->ops->readable(s->user);
    } else if ((events & UV_DISCONNECT) && !s->hung_up) {
        s->hung_up = true;
        s->ops->hung_up(s->user);
    }
    if (!s->closed)
        watch(s);
}

/* For the kernel, of what the other end has no room for: whoever does not read is to be noticed. */
#define UNSENT_MAX (128 * 1024)

static void set_tcp_options(int fd)
{
    int on = 1;
    int unsent = UNSENT_MAX;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

struct sock *sock_open(uv_loop_t *loop, int family, const struct sock_ops *ops, void *user,
                       int *error)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *error = errno;
        return NULL;
    }
    if (family != AF_UNIX)
        set_tcp_options(fd);
    struct sock *s = calloc(1, sizeof *s);
    assert(s);
    int failed = uv_poll_init(loop, &s->poll, fd);
    if (failed) {
        *error = -failed;
        close(fd);
        free(s);
        return NULL;
    }
    s->poll.data = s;
    s->fd = fd;
    s->family = family;
    s->ops = ops;
    s->user = user;
    return s;
}

void sock_set_ops(struct sock *s, const struct sock_ops *ops, void *user)
{
    s->ops = ops;
    s->user = user;
}

int sock_connect(struct sock *s, const struct sockaddr *to, socklen_t len)
{
    int failed;
    do
        failed = connect(s->fd, to, len);
    while (failed && errno == EINTR);
    return failed ? errno : 0;
}

int sock_error(struct sock *s)
{
    int error = 0;
    socklen_t len = sizeof error;
    return getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) ? errno : error;
}

void sock_want(struct sock *s, bool read, bool write)
{
    s->want_read = read;
    s->want_write = write;
    watch(s);
}

ssize_t sock_read(struct sock *s, const struct iovec *to, int count)
{
    ssize_t n;
    do
        n = readv(s->fd, to, count);
    while (n < 0 && errno == EINTR);
    return n;
}

ssize_t sock_write(struct sock *s, const void *data, size_t len)
{
    ssize_t n;
    do
        n = send(s->fd, data, len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

ssize_t sock_writev(struct sock *s, const struct iovec *from, int count)
{
    /* msg_iov is not const for recvmsg's sake. */
    const struct msghdr message = {
        .msg_iov = (struct iovec *)from,
        .msg_iovlen = (size_t)(count < IOV_MAX ? count : IOV_MAX),
    };
    ssize_t n;
    do
        n = sendmsg(s->fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

size_t sock_unread(struct sock *s)
{
    int unread = 0;
    return ioctl(s->fd, FIONREAD, &unread) || unread < 0 ? 0 : (size_t)unread;
}

void sock_shut(struct sock *s)
{
    shutdown(s->fd, SHUT_WR);
}

void sock_stop(struct sock *s)
{
    /* On TCP it would only hide the end from us: every read without data would be one. */
    if (s->family == AF_UNIX)
        shutdown(s->fd, SHUT_RD);
}

void sock_close(struct sock *s)
{
    assert(!s->closed);
    s->closed = true;
    /* libuv has a last word with epoll about it; another thread may have the number by then. */
    uv_close((uv_handle_t *)&s->poll, freed);
    close(s->fd);
}

void sock_reset(struct sock *s)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    sock_close(s);
}
