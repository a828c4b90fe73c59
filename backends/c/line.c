/*
 * line.c - one connection to Sluice. Owns the socket, the unfinished frame, and the backlog.
 * Calls fifo, spare and the system.
 *
 * Copies: a byte that is received and sent on in the same turn is copied only by the kernel. One
 * that the socket does not take, or that belongs to the application, is copied once here.
 */
#include "line.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/message.h"

bool line_loop_init(struct line_loop *loop)
{
    *loop = (struct line_loop){.epoll = epoll_create1(EPOLL_CLOEXEC)};
    loop->buffer = malloc(LINE_READ);
    loop->arena = malloc(LINE_ARENA);
    if (!loop->buffer || !loop->arena)
        abort();
    return loop->epoll >= 0;
}

void line_loop_fini(struct line_loop *loop)
{
    if (loop->epoll >= 0)
        close(loop->epoll);
    free(loop->buffer);
    free(loop->arena);
    spare_fini(&loop->spare);
}

static void watch(struct line *l)
{
    uint32_t wanted = (l->paused ? 0 : EPOLLIN) | (l->backlog.len ? EPOLLOUT : 0);
    if (wanted == l->watched)
        return;
    struct epoll_event ev = {.events = wanted, .data.ptr = l->user};
    int rc = epoll_ctl(l->loop->epoll, EPOLL_CTL_MOD, l->fd, &ev);
    assert(rc == 0);
    (void)rc;
    l->watched = wanted;
}

void line_open(struct line *l, struct line_loop *loop, int fd, void *user)
{
    *l = (struct line){.loop = loop,
                       .fd = fd,
                       .user = user,
                       .watched = EPOLLIN,
                       .backlog = {.spare = &loop->spare}};
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = user};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
        abort(); /* out of memory or of watches */
}

static void forget_gathered(struct line_loop *loop)
{
    loop->slice_count = loop->gathered = loop->arena_used = 0;
}

void line_close(struct line *l)
{
    if (l->loop->current == l) {
        forget_gathered(l->loop);
        l->loop->current = NULL;
    }
    close(l->fd);
    l->fd = -1;
    fifo_fini(&l->backlog);
    spare_give(&l->loop->spare, l->part, l->part_capacity);
    spare_give(&l->loop->spare, l->spent, l->spent_capacity);
    l->part = l->spent = NULL;
}

/* --- in --- */

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Keeps the beginning of a frame: 0 to 3 bytes of its length, or those and some of its body. */
static void keep(struct line *l, const uint8_t *at, size_t len)
{
    if (len < sizeof(l->length)) {
        memcpy(l->length, at, len);
        l->length_have = len;
        return;
    }
    l->part_size = read_u32(at);
    l->part_have = len - sizeof(l->length);
    l->part = spare_take(&l->loop->spare, l->part_size, &l->part_capacity);
    memcpy(l->part, at + sizeof(l->length), l->part_have);
}

static enum line_state take_frames(struct line *l, const uint8_t *at, size_t len, line_frame *frame)
{
    while (len >= sizeof(l->length)) {
        uint32_t size = read_u32(at);
        if (size == 0 || size > MESSAGE_MAX_FRAME)
            return LINE_REFUSED;
        if (len - sizeof(l->length) < size)
            break;
        if (!frame(l->user, at + sizeof(l->length), size))
            return LINE_STOPPED;
        at += sizeof(l->length) + size;
        len -= sizeof(l->length) + size;
    }
    keep(l, at, len);
    return LINE_EMPTY;
}

/* Where the next bytes go. Returns how many bytes of a kept length are at the buffer's start. */
static size_t aim(struct line *l, struct iovec into[2], int *count)
{
    size_t kept = l->length_have;
    *count = 0;
    if (l->part)
        into[(*count)++] = (struct iovec){l->part + l->part_have, l->part_size - l->part_have};
    memcpy(l->loop->buffer, l->length, kept);
    l->length_have = 0;
    into[(*count)++] = (struct iovec){l->loop->buffer + kept, LINE_READ - kept};
    return kept;
}

/* Of got bytes, those that belong to the unfinished frame. Returns how many they were. */
static size_t fill_part(struct line *l, size_t got)
{
    if (!l->part)
        return 0;
    size_t missing = l->part_size - l->part_have;
    size_t taken = got < missing ? got : missing;
    l->part_have += taken;
    return taken;
}

void line_begin(struct line *l)
{
    assert(!l->loop->current);
    l->loop->current = l;
}

enum line_state line_read(struct line *l, line_frame *frame)
{
    assert(l->loop->current == l && l->loop->slice_count == 0);
    struct iovec into[2];
    int count;
    size_t kept = aim(l, into, &count);
    ssize_t got;
    do
        got = readv(l->fd, into, count);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        memcpy(l->length, l->loop->buffer, kept);
        l->length_have = kept;
        if (got < 0 && errno == EAGAIN)
            return LINE_EMPTY;
        return got < 0 || kept > 0 || l->part ? LINE_BROKEN : LINE_EOF;
    }
    size_t left = (size_t)got - fill_part(l, (size_t)got);
    if (l->part) {
        if (l->part_have < l->part_size)
            return LINE_EMPTY;
        spare_give(&l->loop->spare, l->spent, l->spent_capacity);
        l->spent = l->part;
        l->spent_size = l->part_size;
        l->spent_capacity = l->part_capacity;
        l->part = NULL;
        if (!frame(l->user, l->spent, l->spent_size))
            return LINE_STOPPED;
    }
    return take_frames(l, l->loop->buffer, kept + left, frame);
}

void line_pause(struct line *l, bool paused)
{
    l->paused = paused;
    watch(l);
}

/* --- out --- */

static bool is_within(const void *data, const void *start, size_t size)
{
    uintptr_t at = (uintptr_t)data, first = (uintptr_t)start;
    return start && at >= first && at < first + size;
}

static bool is_lent(const struct line *l, const void *data)
{
    return is_within(data, l->loop->buffer, LINE_READ) || is_within(data, l->spent, l->spent_size);
}

/* Writes slices; returns how many bytes the socket took. */
static size_t write_slices(struct line *l, struct iovec *slices, size_t count)
{
    struct msghdr m = {.msg_iov = slices, .msg_iovlen = count};
    ssize_t sent;
    do
        sent = sendmsg(l->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return (size_t)sent;
    /* Not the end: what the proxy wrote before it went is still to be read. */
    if (errno != EAGAIN)
        l->deaf = true;
    return 0;
}

static void flush_gathered(struct line *l)
{
    struct line_loop *loop = l->loop;
    if (loop->slice_count == 0)
        return;
    size_t sent = write_slices(l, loop->slices, loop->slice_count);
    for (size_t i = 0; i < loop->slice_count && !l->deaf; i++) {
        struct iovec *v = &loop->slices[i];
        size_t skip = sent < v->iov_len ? sent : v->iov_len;
        sent -= skip;
        fifo_write(&l->backlog, (uint8_t *)v->iov_base + skip, v->iov_len - skip);
    }
    forget_gathered(loop);
}

static void add_slice(struct line_loop *loop, const void *data, size_t len)
{
    struct iovec *last = loop->slice_count ? &loop->slices[loop->slice_count - 1] : NULL;
    if (last && (uint8_t *)last->iov_base + last->iov_len == data)
        last->iov_len += len;
    else
        loop->slices[loop->slice_count++] = (struct iovec){(void *)data, len};
    loop->gathered += len;
}

static void gather(struct line *l, const void *data, size_t len)
{
    struct line_loop *loop = l->loop;
    bool lent = is_lent(l, data);
    if (loop->slice_count == LINE_SLICES || (!lent && len > LINE_ARENA - loop->arena_used)) {
        flush_gathered(l);
        line_put(l, data, len);
        return;
    }
    if (lent) {
        add_slice(loop, data, len);
        return;
    }
    uint8_t *copy = loop->arena + loop->arena_used;
    memcpy(copy, data, len);
    loop->arena_used += len;
    add_slice(loop, copy, len);
}

void line_put(struct line *l, const void *data, size_t len)
{
    if (l->deaf || l->fd < 0 || len == 0)
        return;
    bool is_current = l->loop->current == l;
    if (is_current && l->backlog.len == 0 && (len <= LINE_ARENA || is_lent(l, data))) {
        gather(l, data, len);
        return;
    }
    if (is_current)
        flush_gathered(l);
    fifo_write(&l->backlog, data, len);
}

size_t line_pending(const struct line *l)
{
    return l->backlog.len + (l->loop->current == l ? l->loop->gathered : 0);
}

void line_flush(struct line *l)
{
    assert(l->loop->current == l);
    flush_gathered(l);
    if (l->backlog.len > 0 && !l->deaf) {
        struct iovec v = {(void *)fifo_peek(&l->backlog), l->backlog.len};
        fifo_take(&l->backlog, write_slices(l, &v, 1));
    }
    if (l->deaf)
        fifo_fini(&l->backlog);
    spare_give(&l->loop->spare, l->spent, l->spent_capacity);
    l->spent = NULL;
    l->loop->current = NULL;
    watch(l);
}
