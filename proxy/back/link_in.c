/*
 * Frames in: what the socket has is read into a buffer that all links share, and whole frames are
 * handed up where they lie. Owns the beginning of an incomplete frame, and what was read before a
 * pause. Calls sock; news goes up through link_ops.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "back/link_internal.h"
#include "base/stats.h"

#define PART_SMALL 4096 /* parts up to here are read and kept without ado */

/* Room for len more bytes. Grows with what really came, not with what a length claims. */
static uint8_t *reserve_part(struct link *l, size_t len)
{
    struct link_shared *shared = l->shared;
    size_t needed = l->part_end + len;
    if (!l->part && needed > PART_SMALL && shared->spare_part) {
        l->part = shared->spare_part;
        l->part_size = shared->spare_part_size;
        shared->spare_part = NULL;
        budget_charge(l->memory, l->part_size);
    }
    if (needed > l->part_size) {
        size_t size = l->part_size ? l->part_size : 512;
        while (size < needed)
            size *= 2;
        l->part = realloc(l->part, size);
        assert(l->part);
        budget_charge(l->memory, size - l->part_size); /* at most a frame */
        l->part_size = size;
    }
    return l->part + l->part_end;
}

static void keep_part(struct link *l, const uint8_t *data, size_t len)
{
    memcpy(reserve_part(l, len), data, len);
    l->part_end += len;
}

void link_drop_part(struct link *l)
{
    struct link_shared *shared = l->shared;
    budget_release(l->memory, l->part_size);
    if (l->part_size > PART_SMALL && l->part_size <= shared->read_size && !shared->spare_part) {
        shared->spare_part = l->part;
        shared->spare_part_size = l->part_size;
    } else {
        free(l->part);
    }
    l->part = NULL;
    l->part_begin = l->part_end = l->part_size = 0;
}

/* Size of the frame that data begins with, its length included; 0 if that is not known yet. */
static size_t frame_size(struct link *l, const uint8_t *data, size_t len)
{
    if (len < LENGTH_SIZE)
        return 0;
    uint64_t body =
        (uint64_t)data[0] << 24 | (uint64_t)data[1] << 16 | (uint64_t)data[2] << 8 | data[3];
    if (body == 0 || body > l->shared->max_frame) {
        l->refused = true;
        l->ops->frame_refused(l->user, body);
        return 0;
    }
    return LENGTH_SIZE + body;
}

/* Hands up whole frames; returns how many bytes they were. */
static size_t deliver(struct link *l, const uint8_t *data, size_t len)
{
    size_t at = 0;
    while (l->state == LINK_OPEN && !l->paused && !l->refused) {
        size_t size = frame_size(l, data + at, len - at);
        if (size == 0 || size > len - at)
            break;
        l->shared->env->stats->frames_received++;
        l->ops->frame_received(l->user, data + at + LENGTH_SIZE, size - LENGTH_SIZE);
        at += size;
    }
    return at;
}

void link_deliver_part(struct link *l)
{
    if (l->part_end == l->part_begin)
        return;
    l->part_begin += deliver(l, l->part + l->part_begin, l->part_end - l->part_begin);
    if (l->part_begin == l->part_end || l->state != LINK_OPEN) {
        link_drop_part(l);
    } else if (l->part_begin > 0) {
        memmove(l->part, l->part + l->part_begin, l->part_end - l->part_begin);
        l->part_end -= l->part_begin;
        l->part_begin = 0;
    }
}

/* Bytes that an incomplete frame in part still needs, as far as known. */
static size_t part_misses(const struct link *l)
{
    size_t have = l->part_end - l->part_begin;
    if (have == 0)
        return 0;
    if (have < LENGTH_SIZE)
        return LENGTH_SIZE - have;
    const uint8_t *p = l->part + l->part_begin;
    size_t body = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    return LENGTH_SIZE + body - have;
}

/* Takes what was read: completes the frame begun before, hands up the whole ones that follow, and
 * keeps the rest. */
static void take(struct link *l, const uint8_t *data, size_t len)
{
    size_t misses;
    while ((misses = part_misses(l)) > 0 && len > 0) {
        size_t n = misses < len ? misses : len;
        keep_part(l, data, n);
        data += n;
        len -= n;
        link_deliver_part(l);
        if (l->paused || l->refused || l->state != LINK_OPEN)
            break;
    }
    if (l->part_end == l->part_begin) {
        size_t n = deliver(l, data, len);
        data += n;
        len -= n;
    }
    if (len > 0 && l->state == LINK_OPEN && !l->refused)
        keep_part(l, data, len);
}

static void met_eof(struct link *l, int error)
{
    l->eof_seen = true;
    if (l->state == LINK_OPEN && l->eof_allowed && !error && !l->write_gone)
        return;
    link_lose(l, error);
}

static void nothing_to_read(struct link *l)
{
    if (l->write_gone)
        link_lose(l, EPIPE);
}

/* Where the next bytes go: first what a large frame that has begun still needs, so that they are
 * not copied; the rest to the shared buffer. Returns the bytes of the former. */
static size_t aim(struct link *l, size_t size, struct iovec into[2], int *count)
{
    size_t misses = l->state == LINK_OPEN ? part_misses(l) : 0, most = l->shared->read_size / 4;
    *count = 0;
    if (misses > PART_SMALL && l->part_begin == 0) {
        misses = misses < most ? misses : most;
        into[(*count)++] = (struct iovec){reserve_part(l, misses), misses};
    } else {
        misses = 0;
    }
    into[(*count)++] = (struct iovec){l->shared->read_buffer, size};
    return misses;
}

static void take_in(struct link *l, size_t of_part, size_t len)
{
    size_t kept = len < of_part ? len : of_part;
    l->part_end += kept;
    if (kept > 0)
        link_deliver_part(l);
    if (l->state == LINK_OPEN && len > kept)
        take(l, l->shared->read_buffer, len - kept);
}

void link_read_in(struct link *l)
{
    struct link_shared *shared = l->shared;
    size_t budget = shared->read_budget;
    if (l->state == LINK_OPEN)
        link_deliver_part(l);
    while (budget > 0 && link_wants_read(l)) {
        size_t size = budget < shared->read_size ? budget : shared->read_size;
        struct iovec into[2];
        int count;
        size_t of_part = aim(l, size, into, &count);
        ssize_t n = sock_read(l->sock, into, count);
        if (n <= 0) {
            if (n == 0 || errno != EAGAIN)
                met_eof(l, n == 0 ? 0 : errno);
            else
                nothing_to_read(l);
            break;
        }
        bool is_all = (size_t)n < of_part + size;
        budget -= (size_t)n < budget ? (size_t)n : budget;
        if (l->state == LINK_OPEN)
            take_in(l, of_part, (size_t)n);
        if (is_all && !l->write_gone)
            break; /* that was all; what comes now is another turn's */
    }
}

void link_check_hang_up(struct link *l)
{
    if (l->hung_up && l->paused && l->state == LINK_OPEN && l->part_end == l->part_begin &&
        !l->eof_seen && sock_unread(l->sock) == 0)
        met_eof(l, 0);
}
