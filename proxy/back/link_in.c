/*
 * Frames in: what the socket has is read into a buffer that all links share, and whole frames are
 * handed up where they lie. Owns the beginning of an incomplete frame, and what was read before a
 * pause. Calls sock and budget; news goes up through link_ops.
 *
 * Where memory is short little is read at a time, and a large frame that there is no memory for
 * stays in its socket. One link of an upstream is exempt: it takes the memory for its frame from
 * what is kept for needs. So large frames come in one after the other instead of never, though each
 * link might hold half a frame and wait for the others. Who is exempt and does not finish its frame
 * in time is lost; whoever waits is not.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "back/link_internal.h"
#include "base/stats.h"

#define PART_SMALL 16384 /* parts up to here are read and kept without ado */

/* --- who waits for memory, and who is exempt --- */

static void wait_for_memory(struct link *l)
{
    struct link_shared *shared = l->shared;
    struct timers *timers = shared->env->timers;
    if (!l->starving)
        TAILQ_INSERT_TAIL(&shared->starving, l, starving_entry);
    l->starving = true;
    timer_set(timers, &l->starved, timers_now(timers) + STARVED_NS);
}

void link_stop_starving(struct link *l)
{
    if (l->starving)
        TAILQ_REMOVE(&l->shared->starving, l, starving_entry);
    l->starving = false;
}

/* The first that waits is the next. */
static bool become_exempt(struct link *l)
{
    struct link_shared *shared = l->shared;
    struct link *first = TAILQ_FIRST(&shared->starving);
    struct timers *timers = shared->env->timers;
    if (shared->exempt == l)
        return true;
    if (shared->exempt || (first && first != l))
        return false;
    shared->exempt = l;
    timer_set(timers, &l->unfinished, timers_now(timers) + shared->frame_timeout_ns);
    return true;
}

void link_end_exemption(struct link *l)
{
    struct link_shared *shared = l->shared;
    struct timers *timers = shared->env->timers;
    if (shared->exempt != l)
        return;
    shared->exempt = NULL;
    timer_stop(timers, &l->unfinished);
    struct link *next = TAILQ_FIRST(&shared->starving);
    if (next)
        timer_set(timers, &next->starved, timers_now(timers));
}

/* --- the part --- */

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

static void resize_part(struct link *l, size_t size)
{
    l->part = realloc(l->part, size);
    assert(l->part);
    l->part_size = size;
}

static size_t twice(const struct link *l, size_t needed)
{
    size_t size = l->part_size ? l->part_size : 512;
    while (size < needed)
        size *= 2;
    return size;
}

/* Room for len more bytes of a large frame, if there is memory for them. Grows with what really
 * comes, not with what a length claims. */
static bool afford_part(struct link *l, size_t len)
{
    size_t needed = l->part_end + len, whole = l->part_end + part_misses(l);
    size_t size = twice(l, needed) < whole ? twice(l, needed) : whole;
    if (needed <= l->part_size)
        return true;
    if (!budget_reserve(l->memory, size - l->part_size, BUDGET_NEWCOMER)) {
        size = needed;
        if (!become_exempt(l))
            return false;
        budget_charge(l->memory, size - l->part_size); /* at most a frame */
    }
    resize_part(l, size);
    return true;
}

/* Keeps what has been read, and so cannot be refused any more. */
static void keep_part(struct link *l, const uint8_t *data, size_t len)
{
    struct link_shared *shared = l->shared;
    size_t needed = l->part_end + len, before = l->part_size;
    bool is_short = budget_is_short(l->memory);
    if (!l->part && needed > PART_SMALL && shared->spare_part && !is_short) {
        l->part = shared->spare_part;
        l->part_size = shared->spare_part_size;
        shared->spare_part = NULL;
    }
    if (needed > l->part_size)
        resize_part(l, is_short ? needed : twice(l, needed));
    budget_charge(l->memory, l->part_size - before);
    memcpy(l->part + l->part_end, data, len);
    l->part_end += len;
}

void link_drop_part(struct link *l)
{
    struct link_shared *shared = l->shared;
    link_end_exemption(l);
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

/* --- handing up --- */

/* The rest is another turn's, so that a flood of small frames holds nobody up. */
static void fall_behind(struct link *l)
{
    struct timers *timers = l->shared->env->timers;
    l->behind = true;
    timer_set(timers, &l->more, timers_now(timers));
}

static bool hands_up(const struct link *l)
{
    return l->state == LINK_OPEN && !l->paused && !l->refused && !l->behind;
}

/* Hands up whole frames; returns how many bytes they were. */
static size_t deliver(struct link *l, const uint8_t *data, size_t len)
{
    size_t at = 0;
    while (hands_up(l)) {
        size_t size = frame_size(l, data + at, len - at);
        if (size == 0 || size > len - at)
            break;
        l->shared->env->stats->frames_received++;
        l->ops->frame_received(l->user, data + at + LENGTH_SIZE, size - LENGTH_SIZE);
        at += size;
        if (++l->frames >= LINK_FRAMES_A_TURN && l->state == LINK_OPEN)
            fall_behind(l);
    }
    return at;
}

void link_deliver_part(struct link *l)
{
    if (l->part_end == l->part_begin)
        return;
    l->part_begin += deliver(l, l->part + l->part_begin, l->part_end - l->part_begin);
    if (l->part_begin > 0)
        link_end_exemption(l);
    if (l->part_begin == l->part_end || l->state != LINK_OPEN) {
        link_drop_part(l);
    } else if (l->part_begin > 0) {
        memmove(l->part, l->part + l->part_begin, l->part_end - l->part_begin);
        l->part_end -= l->part_begin;
        l->part_begin = 0;
    }
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
        if (!hands_up(l))
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
 * not copied (*of_part bytes); the rest to the shared buffer. Returns how many places that are; 0
 * while there is no memory for the frame. */
static int aim(struct link *l, size_t size, struct iovec into[2], size_t *of_part)
{
    size_t misses = l->state == LINK_OPEN ? part_misses(l) : 0, most = l->shared->read_size / 4;
    int count = 0;
    *of_part = 0;
    if (misses > PART_SMALL && l->part_begin == 0) {
        *of_part = misses < most ? misses : most;
        if (!afford_part(l, *of_part)) {
            wait_for_memory(l);
            return 0;
        }
        into[count++] = (struct iovec){l->part + l->part_end, *of_part};
    }
    link_stop_starving(l);
    into[count++] = (struct iovec){l->shared->read_buffer, size};
    return count;
}

/* What is read may have to be kept. */
static size_t bounded_size(const struct link *l, size_t budget)
{
    size_t most = budget_is_short(l->memory) ? PART_SMALL : l->shared->read_size;
    return budget < most ? budget : most;
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
        size_t size = bounded_size(l, budget), of_part;
        struct iovec into[2];
        int count = aim(l, size, into, &of_part);
        if (count == 0)
            break;
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
    bool all_told = l->paused ? l->part_end == l->part_begin : l->starving;
    if (l->hung_up && all_told && l->state == LINK_OPEN && !l->eof_seen &&
        sock_unread(l->sock) == 0)
        met_eof(l, 0);
}
