/*
 * A connected UDP socket and the libuv poll handle that watches it. Owns both; frees itself when
 * libuv has closed the handle. Calls libuv and the kernel.
 */
#include "back/dgram.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "back/dial.h"
#include "base/stats.h"
#include "base/timers.h"
#include "base/turn.h"

enum { TURN_MAX = 8 * DGRAM_BATCH }; /* more is the next turn's, so that others have theirs */
/* What the kernel takes apart at once (UDP_MAX_SEGMENTS, and the length of a UDP datagram). */
enum { JOINED_MAX = 64, JOINED_BYTES_MAX = 65000 };

struct dgram {
    struct dgram_shared *shared;
    const struct dgram_ops *ops;
    void *user;
    uv_poll_t poll;
    int fd;
    int error;      /* was met while sending, and is told with the flush */
    bool is_simple; /* the kernel does not join its datagrams */
    bool closed;
    unsigned soon;     /* so many readings in a row came soon after the one before */
    uint64_t read_ns;  /* when it was read last */
    struct timer rest; /* set: it is not watched until then */
    struct turn_flush flush;
};

/* --- in --- */

/* An error that the network has reported of an earlier one, and that says something of the address:
 * that one was larger than the path allows (EMSGSIZE) does not. */
static bool is_of_the_past(int error)
{
    return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH ||
           error == EHOSTDOWN || error == ENETDOWN || error == ENOPROTOOPT || error == EPROTO ||
           error == EACCES;
}

static void tell_error(struct dgram *d, int error)
{
    d->ops->failed(d->user, error);
}

/* Returns how many came: less than a batch were all that there are. */
static unsigned read_batch(struct dgram *d)
{
    struct mmsghdr messages[DGRAM_BATCH] = {0};
    struct iovec parts[DGRAM_BATCH];
    for (size_t i = 0; i < DGRAM_BATCH; i++) {
        parts[i] = (struct iovec){d->shared->read_buffer + i * DGRAM_MAX, DGRAM_MAX};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int n = recvmmsg(d->fd, messages, DGRAM_BATCH, MSG_DONTWAIT, NULL);
    if (n < 0 && is_of_the_past(errno))
        tell_error(d, errno);
    for (int i = 0; i < n && !d->closed; i++)
        d->ops->received(d->user, parts[i].iov_base, messages[i].msg_len);
    return n > 0 ? (unsigned)n : 0;
}

/* Returns how many came; TURN_MAX if there may be more. It may be closed then. */
static unsigned read_turn(struct dgram *d)
{
    unsigned total = 0, n = DGRAM_BATCH;
    while (n == DGRAM_BATCH && total < TURN_MAX && !d->closed) {
        n = read_batch(d);
        total += n;
    }
    return total;
}

static void ready(uv_poll_t *handle, int status, int events);

static void watch(struct dgram *d)
{
    int failed = uv_poll_start(&d->poll, UV_READABLE, ready);
    assert(failed == 0);
    (void)failed;
}

/* A service that answers one by one would wake us for each, and cost a packet's way through the
 * kernel and the loop each time. Where they come as fast as that, the socket is left alone for a
 * moment and then read without being asked, as long as that brings several at once. */
static bool come_fast(struct dgram *d, unsigned count)
{
    uint64_t now = timers_now(d->shared->env->timers);
    bool is_soon = now - d->read_ns < DGRAM_REST_NS && count > 0 && count < TURN_MAX;
    d->read_ns = now;
    d->soon = is_soon ? d->soon + 1 : 0;
    return d->soon >= DGRAM_SOON;
}

static void rest(struct dgram *d)
{
    struct timers *timers = d->shared->env->timers;
    timer_set(timers, &d->rest, timers_now(timers) + DGRAM_REST_NS);
}

static void rest_is_over(void *owner)
{
    struct dgram *d = owner;
    unsigned count = read_turn(d);
    if (d->closed)
        return;
    if (count > 1 && count < TURN_MAX) {
        rest(d);
        return;
    }
    d->soon = 0;
    watch(d);
}

static void ready(uv_poll_t *handle, int status, int events)
{
    struct dgram *d = handle->data;
    (void)events;
    unsigned count = read_turn(d);
    if (d->closed)
        return;
    if (come_fast(d, count)) {
        uv_poll_stop(&d->poll);
        rest(d);
    } else if (status < 0) { /* libuv stops at errors, which have been read now */
        watch(d);
    }
}

/* --- out --- */

static bool send_once(struct dgram *d, const struct msghdr *message)
{
    ssize_t n;
    do
        n = sendmsg(d->fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n >= 0;
}

/* Returns false, and errno, if it was not sent. */
static bool send_message(struct dgram *d, const struct msghdr *message)
{
    if (send_once(d, message))
        return true;
    /* The kernel has told what became of an earlier one, and sent nothing. */
    if (is_of_the_past(errno)) {
        d->error = errno;
        turn_touch(d->shared->env->turn, &d->flush);
    } else if (errno != EMSGSIZE) { /* which may be of this one, too */
        return false;
    }
    return send_once(d, message);
}

static bool send_one(struct dgram *d, const uint8_t *data, size_t len)
{
    struct iovec part = {(uint8_t *)data, len};
    return send_message(d, &(struct msghdr){.msg_iov = &part, .msg_iovlen = 1});
}

static bool send_joined(struct dgram *d, const struct dgram_stage *stage)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(uint16_t))];
    } control = {.head = {.cmsg_level = SOL_UDP,
                          .cmsg_type = UDP_SEGMENT,
                          .cmsg_len = CMSG_LEN(sizeof(uint16_t))}};
    uint16_t size = (uint16_t)stage->size;
    struct iovec part = {stage->bytes, stage->len};
    memcpy(CMSG_DATA(&control.head), &size, sizeof size);
    return send_message(d, &(struct msghdr){.msg_iov = &part,
                                            .msg_iovlen = 1,
                                            .msg_control = &control,
                                            .msg_controllen = sizeof control.room});
}

/* One by one: also where the kernel does not join them, as with some that do not fit into a packet.
 */
static void send_each(struct dgram *d, const struct dgram_stage *stage)
{
    for (size_t at = 0, i = 0; i < stage->count; i++) {
        size_t len = stage->len - at < stage->size ? stage->len - at : stage->size;
        if (!send_one(d, stage->bytes + at, len))
            d->shared->env->stats->datagrams_dropped++;
        at += len;
    }
}

static void send_staged(struct dgram_shared *shared)
{
    struct dgram_stage *stage = &shared->stage;
    struct dgram *d = stage->owner;
    if (!d)
        return;
    stage->owner = NULL;
    if (stage->count > 1 && !d->is_simple) {
        if (send_joined(d, stage))
            return;
        if (errno == EAGAIN || errno == ENOBUFS) {
            shared->env->stats->datagrams_dropped += stage->count;
            return;
        }
        d->is_simple = true;
    }
    send_each(d, stage);
}

static void flush(void *owner)
{
    struct dgram *d = owner;
    if (d->shared->stage.owner == d)
        send_staged(d->shared);
    int error = d->error;
    d->error = 0;
    if (error)
        tell_error(d, error);
}

static bool fits(const struct dgram_stage *stage, const struct dgram *d, size_t len)
{
    bool last_is_whole = stage->len == stage->count * stage->size;
    return stage->owner == d && last_is_whole && len <= stage->size && len > 0 &&
           stage->count < JOINED_MAX && stage->len + len <= JOINED_BYTES_MAX;
}

void dgram_send(struct dgram *d, const void *data, size_t len)
{
    struct dgram_stage *stage = &d->shared->stage;
    if (len > DGRAM_MAX) {
        d->shared->env->stats->datagrams_dropped++;
        return;
    }
    if (!fits(stage, d, len)) {
        send_staged(d->shared);
        *stage = (struct dgram_stage){.owner = d, .size = len, .bytes = stage->bytes};
        turn_touch(d->shared->env->turn, &d->flush);
    }
    memcpy(stage->bytes + stage->len, data, len);
    stage->len += len;
    stage->count++;
}

/* --- life --- */

static int connected_socket(const struct dial_target *target)
{
    const struct sockaddr *to = (const struct sockaddr *)&target->socket_address;
    int fd = socket(to->sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, to, target->len)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static void freed(uv_handle_t *handle)
{
    free(handle->data);
}

struct dgram *dgram_open(struct dgram_shared *shared, const struct dial_target *target,
                         const struct dgram_ops *ops, void *user, int *error)
{
    int fd = connected_socket(target);
    if (fd < 0) {
        *error = errno;
        return NULL;
    }
    struct dgram *d = calloc(1, sizeof *d);
    assert(d);
    int failed = uv_poll_init(shared->loop, &d->poll, fd);
    if (failed) {
        *error = -failed;
        close(fd);
        free(d);
        return NULL;
    }
    d->shared = shared;
    d->ops = ops;
    d->user = user;
    d->poll.data = d;
    d->fd = fd;
    turn_flush_init(&d->flush, TURN_BACK, flush, d);
    timer_init(&d->rest, rest_is_over, d);
    shared->dgrams++;
    shared->env->stats->links++;
    watch(d);
    return d;
}

void dgram_close(struct dgram *d)
{
    assert(!d->closed);
    if (d->shared->stage.owner == d)
        send_staged(d->shared);
    d->closed = true;
    turn_untouch(d->shared->env->turn, &d->flush);
    timer_stop(d->shared->env->timers, &d->rest);
    d->shared->dgrams--;
    d->shared->env->stats->links--;
    /* libuv has a last word with epoll about it; another thread may have the number by then. */
    uv_close((uv_handle_t *)&d->poll, freed);
    close(d->fd);
}
