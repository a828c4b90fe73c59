/*
 * Frames out through a stage, frames in through a shared buffer. Owns its dial or its sock, its
 * stage, the beginning of an incomplete frame and the receipts not reached yet. Calls dial, sock
 * and turn; news goes up through link_ops. Everything that ends a link goes through end_link, and
 * closed() comes from flush alone.
 */
#include "back/link.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "back/dial.h"
#include "back/sock.h"
#include "base/budget.h"
#include "base/stats.h"
#include "base/timers.h"
#include "base/turn.h"

#define LENGTH_SIZE   4
#define STARVED_NS    (20 * NS_PER_MS)
#define RECEIPT_BYTES 16384 /* a receipt that stands for so many is not added to */
#define PART_SMALL    4096  /* parts up to here are read and kept without ado */

enum link_state {
    LINK_NEW, /* the dial begins with the next flush */
    LINK_DIALING,
    LINK_OPEN,
    LINK_FINISHING, /* writes what is staged, then discards what comes */
    LINK_ENDED,     /* closed() comes with the next flush */
};

struct receipt {
    uint64_t position; /* of the stage, counted over the link's life */
    void *of;          /* NULL: forgotten */
    size_t bytes, count;
};

struct link {
    struct link_shared *shared;
    const struct link_ops *ops;
    void *user;
    enum link_state state;
    struct dial dial;
    struct sock *sock;
    bool paused, hung_up;
    bool eof_allowed, eof_seen;
    bool refused;    /* a frame's length was not legal */
    bool write_gone; /* a write failed: read what is left, then it is over */
    bool shut;

    uint8_t *stage; /* NULL while empty */
    size_t staged, sent;
    uint64_t written; /* bytes that the socket has taken, in all */
    uint64_t offered; /* bytes that it was asked to take: a receipt up to here waits no longer for
                         what follows */
    const void *open_key;
    size_t open_at; /* where the open frame begins in the stage */
    size_t open_head;

    struct receipt *receipts; /* a ring */
    size_t receipt_first, receipt_count, receipt_size;

    uint8_t *part; /* read and not handed up yet: part_begin to part_end */
    size_t part_begin, part_end, part_size;

    struct budget *memory;
    struct timer starved; /* asks again for memory for a stage */
    struct turn_flush flush;
    struct turn_grave grave;
    struct timer linger;
    struct link_end end;
    char end_text[256];
};

static void touch(struct link *l)
{
    turn_touch(l->shared->env->turn, &l->flush);
}

/* --- the end --- */

static void give_stage_back(struct link *l)
{
    struct link_shared *shared = l->shared;
    if (l->stage)
        budget_release(l->memory, shared->stage_size);
    if (l->stage && shared->spare_count < LINK_SPARE_STAGES)
        shared->spare_stages[shared->spare_count++] = l->stage;
    else
        free(l->stage);
    l->stage = NULL;
    l->staged = l->sent = 0;
    l->open_key = NULL;
}

static void end_link(struct link *l, enum fault fault, int error, const char *text)
{
    if (l->state == LINK_ENDED)
        return;
    if (l->state == LINK_DIALING)
        dial_cancel(&l->dial);
    if (l->sock)
        sock_close(l->sock);
    l->sock = NULL;
    l->state = LINK_ENDED;
    timer_stop(l->shared->env->timers, &l->linger);
    timer_stop(l->shared->env->timers, &l->starved);
    snprintf(l->end_text, sizeof l->end_text, "%s", text);
    l->end = (struct link_end){fault, error, l->end_text};
    touch(l);
}

static void lose(struct link *l, int error)
{
    char text[sizeof l->end_text];
    const char *where = l->part_end > l->part_begin ? " inside a frame" : "";
    if (error)
        snprintf(text, sizeof text, "%s: connection lost%s: %s", l->shared->target->address, where,
                 strerror(error));
    else
        snprintf(text, sizeof text, "%s closed its connection%s", l->shared->target->address,
                 where);
    bool finished = l->state == LINK_FINISHING;
    end_link(l, finished ? FAULT_NONE : FAULT_BACKEND_LOST, error, text);
}

static void free_link(void *owner)
{
    struct link *l = owner;
    free(l->receipts);
    free(l);
}

static void drop_part(struct link *l);

static void report_closed(struct link *l)
{
    struct env *env = l->shared->env;
    l->shared->links--;
    env->stats->links--;
    give_stage_back(l);
    drop_part(l);
    turn_bury(env->turn, &l->grave, free_link, l);
    l->ops->closed(l->user, &l->end);
}

/* --- what is waited for --- */

static bool wants_read(const struct link *l)
{
    if (l->eof_seen)
        return false;
    return l->state == LINK_FINISHING || (l->state == LINK_OPEN && !l->paused && !l->refused);
}

static void want(struct link *l)
{
    if (l->sock)
        sock_want(l->sock, wants_read(l), l->staged > l->sent);
}

/* --- out --- */

static bool take_stage(struct link *l)
{
    struct link_shared *shared = l->shared;
    struct timers *timers = shared->env->timers;
    if (l->stage)
        return true;
    if (!budget_reserve(l->memory, shared->stage_size, BUDGET_NEED)) {
        timer_set(timers, &l->starved, timers_now(timers) + STARVED_NS);
        return false;
    }
    l->stage = shared->spare_count ? shared->spare_stages[--shared->spare_count]
                                   : malloc(shared->stage_size);
    assert(l->stage);
    touch(l);
    return true;
}

static void starved_fired(void *owner)
{
    struct link *l = owner;
    l->ops->writable(l->user);
}

size_t link_room(struct link *l)
{
    if (l->state != LINK_OPEN || l->write_gone || !take_stage(l))
        return 0;
    return l->shared->stage_size - l->staged;
}

static void put_u32(uint8_t *to, size_t value)
{
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
}

static uint8_t *add_to_stage(struct link *l, size_t len)
{
    assert(len <= link_room(l));
    uint8_t *at = l->stage + l->staged;
    l->staged += len;
    touch(l);
    return at;
}

void link_send(struct link *l, const void *body, size_t len)
{
    uint8_t *at = add_to_stage(l, LENGTH_SIZE + len);
    put_u32(at, len);
    memcpy(at + LENGTH_SIZE, body, len);
    l->open_key = NULL;
    l->shared->env->stats->frames_sent++;
}

/* The lengths of the frame and of its last value, from where the stage ends now. */
static void patch_lengths(struct link *l)
{
    uint8_t *frame = l->stage + l->open_at;
    size_t body = l->staged - l->open_at - LENGTH_SIZE;
    put_u32(frame, body);
    put_u32(frame + LENGTH_SIZE + l->open_head + 1, body - l->open_head - 5);
}

void link_open_frame(struct link *l, const void *key, const void *head, size_t len)
{
    size_t begin = l->staged;
    uint8_t *at = add_to_stage(l, len + LINK_FRAME_EXTRA);
    memcpy(at + LENGTH_SIZE, head, len);
    at[LENGTH_SIZE + len] = 0xc6; /* msgpack's bin 32 */
    l->open_key = key;
    l->open_at = begin;
    l->open_head = len;
    patch_lengths(l);
    l->shared->env->stats->frames_sent++;
}

bool link_extends(const struct link *l, const void *key)
{
    return key && l->open_key == key;
}

size_t link_append_room(struct link *l)
{
    if (!l->open_key)
        return 0;
    size_t room = link_room(l), body = l->staged - l->open_at - LENGTH_SIZE;
    size_t frame_room = l->shared->max_frame > body ? l->shared->max_frame - body : 0;
    return room < frame_room ? room : frame_room;
}

void link_append(struct link *l, const void *data, size_t len)
{
    assert(len <= link_append_room(l));
    memcpy(add_to_stage(l, len), data, len);
    patch_lengths(l);
}

void link_patch_head(struct link *l, size_t offset, uint8_t value)
{
    assert(l->open_key && offset < l->open_head);
    l->stage[l->open_at + LENGTH_SIZE + offset] = value;
}

static void grow_receipts(struct link *l)
{
    size_t size = l->receipt_size ? 2 * l->receipt_size : 8;
    struct receipt *ring = malloc(size * sizeof *ring);
    assert(ring);
    for (size_t i = 0; i < l->receipt_count; i++)
        ring[i] = l->receipts[(l->receipt_first + i) % l->receipt_size];
    free(l->receipts);
    l->receipts = ring;
    l->receipt_first = 0;
    l->receipt_size = size;
}

void link_receipt(struct link *l, void *receipt, size_t bytes)
{
    uint64_t position = l->written + (l->staged - l->sent);
    if (l->receipt_count) {
        size_t last = (l->receipt_first + l->receipt_count - 1) % l->receipt_size;
        struct receipt *r = &l->receipts[last];
        if (r->of == receipt && r->position > l->offered && r->bytes < RECEIPT_BYTES) {
            r->position = position;
            r->bytes += bytes;
            r->count++;
            return;
        }
    }
    if (l->receipt_count == l->receipt_size)
        grow_receipts(l);
    size_t next = (l->receipt_first + l->receipt_count++) % l->receipt_size;
    l->receipts[next] = (struct receipt){position, receipt, bytes, 1};
}

void link_forget_receipt(struct link *l, void *receipt)
{
    for (size_t i = 0; i < l->receipt_count; i++) {
        struct receipt *r = &l->receipts[(l->receipt_first + i) % l->receipt_size];
        if (r->of == receipt)
            r->of = NULL;
    }
}

static void tell_receipts(struct link *l)
{
    while (l->receipt_count && l->receipts[l->receipt_first].position <= l->written) {
        struct receipt r = l->receipts[l->receipt_first];
        l->receipt_first = (l->receipt_first + 1) % l->receipt_size;
        l->receipt_count--;
        if (r.of)
            l->ops->written(l->user, r.of, r.bytes, r.count);
    }
}

/* The other end is gone, but what it wrote before that is still to be read. */
static void write_failed(struct link *l)
{
    l->write_gone = true;
    give_stage_back(l);
}

static void drop_sent(struct link *l)
{
    size_t left = l->staged - l->sent;
    if (left == 0) {
        give_stage_back(l);
    } else if (left <= l->sent) { /* never moves more than was written */
        memcpy(l->stage, l->stage + l->sent, left);
        l->staged = left;
        l->sent = 0;
    }
}

static void write_out(struct link *l)
{
    if (!l->sock || l->staged == l->sent) {
        if (l->staged == l->sent)
            give_stage_back(l);
        return;
    }
    l->open_key = NULL;
    l->offered = l->written + (l->staged - l->sent);
    ssize_t n = sock_write(l->sock, l->stage + l->sent, l->staged - l->sent);
    if (n < 0) {
        if (errno != EAGAIN)
            write_failed(l);
        return;
    }
    l->sent += (size_t)n;
    l->written += (uint64_t)n;
    drop_sent(l);
    tell_receipts(l);
    if (l->state == LINK_OPEN)
        l->ops->writable(l->user);
}

/* --- in --- */

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

static void drop_part(struct link *l)
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

/* Hands up what was kept. Only an incomplete frame, or frames after a pause, stay. */
static void deliver_part(struct link *l)
{
    if (l->part_end == l->part_begin)
        return;
    l->part_begin += deliver(l, l->part + l->part_begin, l->part_end - l->part_begin);
    if (l->part_begin == l->part_end || l->state != LINK_OPEN) {
        drop_part(l);
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
        deliver_part(l);
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
    lose(l, error);
}

static void nothing_to_read(struct link *l)
{
    if (l->write_gone)
        lose(l, EPIPE);
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
        deliver_part(l);
    if (l->state == LINK_OPEN && len > kept)
        take(l, l->shared->read_buffer, len - kept);
}

static void read_in(struct link *l)
{
    struct link_shared *shared = l->shared;
    size_t budget = shared->read_budget;
    if (l->state == LINK_OPEN)
        deliver_part(l);
    while (budget > 0 && wants_read(l)) {
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

/* While paused: if nothing is left to be read, then nothing more will come. Otherwise that is read
 * first, when there is credit for it. */
static void check_hang_up(struct link *l)
{
    if (l->hung_up && l->paused && l->state == LINK_OPEN && l->part_end == l->part_begin &&
        !l->eof_seen && sock_unread(l->sock) == 0)
        met_eof(l, 0);
}

static void sock_readable(void *user)
{
    struct link *l = user;
    read_in(l);
    check_hang_up(l);
    want(l);
}

static void sock_writable(void *user)
{
    touch(user);
}

static void sock_hung_up(void *user)
{
    struct link *l = user;
    l->hung_up = true;
    check_hang_up(l);
}

static const struct sock_ops open_ops = {sock_readable, sock_writable, sock_hung_up};

/* --- life --- */

static void dial_connected(void *user, struct sock *sock)
{
    struct link *l = user;
    l->sock = sock;
    l->state = LINK_OPEN;
    sock_set_ops(sock, &open_ops, l);
    want(l);
    l->ops->opened(l->user);
}

static void dial_failed(void *user, enum fault fault, int error, const char *text)
{
    end_link(user, fault, error, text);
}

static const struct dial_ops dialing_ops = {dial_connected, dial_failed};

static void shut_when_written(struct link *l)
{
    if (l->state != LINK_FINISHING || l->staged > l->sent)
        return;
    if (l->write_gone || l->eof_seen)
        lose(l, 0);
    else if (!l->shut)
        sock_shut(l->sock);
    l->shut = true;
}

static void flush(void *owner)
{
    struct link *l = owner;
    if (l->state == LINK_NEW) {
        l->state = LINK_DIALING;
        dial_begin(&l->dial, l->shared->env, l->shared->loop, l->shared->target,
                   l->shared->connect_timeout_ns, &dialing_ops, l);
        return;
    }
    if (l->state == LINK_OPEN)
        deliver_part(l);
    write_out(l);
    if (l->write_gone && wants_read(l))
        read_in(l);
    shut_when_written(l);
    if (l->state == LINK_ENDED) {
        turn_untouch(l->shared->env->turn, &l->flush);
        report_closed(l);
        return;
    }
    want(l);
}

static void linger_fired(void *owner)
{
    end_link(owner, FAULT_NONE, 0, "the application did not close its end in time");
}

struct link *link_open(struct link_shared *shared, const struct link_ops *ops, void *user,
                       struct budget *memory)
{
    struct link *l = calloc(1, sizeof *l);
    assert(l);
    l->shared = shared;
    l->ops = ops;
    l->user = user;
    l->memory = memory;
    timer_init(&l->starved, starved_fired, l);
    turn_flush_init(&l->flush, TURN_BACK, flush, l);
    timer_init(&l->linger, linger_fired, l);
    shared->links++;
    shared->env->stats->links++;
    touch(l);
    return l;
}

void link_pause(struct link *l)
{
    l->paused = true;
    want(l);
}

void link_resume(struct link *l)
{
    l->paused = false;
    touch(l);
}

void link_allow_eof(struct link *l)
{
    l->eof_allowed = true;
}

void link_finish(struct link *l)
{
    if (l->state == LINK_NEW || l->state == LINK_DIALING) {
        link_close(l);
        return;
    }
    if (l->state != LINK_OPEN)
        return;
    l->state = LINK_FINISHING;
    l->receipt_count = 0;
    struct timers *timers = l->shared->env->timers;
    timer_set(timers, &l->linger, timers_now(timers) + l->shared->linger_timeout_ns);
    touch(l);
}

void link_close(struct link *l)
{
    end_link(l, FAULT_NONE, 0, "closed");
}
