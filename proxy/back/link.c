/*
 * A link's life, and its frames out through a stage; frames in are in link_in.c. Owns its dial or
 * its sock, its stage and the receipts not reached yet. Calls dial, sock and turn; news goes up
 * through link_ops. Everything that ends a link goes through end_link, and closed() comes from
 * flush alone.
 */
#include "back/link_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/stats.h"

#define RECEIPT_BYTES 16384 /* a receipt that stands for so many is not added to */

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
    timer_stop(l->shared->env->timers, &l->more);
    link_stop_starving(l);
    link_end_exemption(l);
    snprintf(l->end_text, sizeof l->end_text, "%s", text);
    l->end = (struct link_end){fault, error, l->end_text};
    touch(l);
}

void link_lose(struct link *l, int error)
{
    char text[sizeof l->end_text];
    const char *where = l->part_end > l->part_begin ? " inside a frame" : "";
    if (error)
        snprintf(text, sizeof text, "%s: connection lost%s: %s", l->target->address, where,
                 strerror(error));
    else
        snprintf(text, sizeof text, "%s closed its connection%s", l->target->address, where);
    bool finished = l->state == LINK_FINISHING;
    end_link(l, finished ? FAULT_NONE : FAULT_BACKEND_LOST, error, text);
}

static void free_link(void *owner)
{
    struct link *l = owner;
    free(l->receipts);
    free(l);
}

static void report_closed(struct link *l)
{
    struct env *env = l->shared->env;
    l->shared->links--;
    env->stats->links--;
    give_stage_back(l);
    link_drop_part(l);
    turn_bury(env->turn, &l->grave, free_link, l);
    l->ops->closed(l->user, &l->end);
}

/* --- what is waited for --- */

bool link_wants_read(const struct link *l)
{
    if (l->eof_seen)
        return false;
    return l->state == LINK_FINISHING ||
           (l->state == LINK_OPEN && !l->paused && !l->refused && !l->behind);
}

static void want(struct link *l)
{
    if (l->sock)
        sock_want(l->sock, link_wants_read(l) && !l->starving, l->staged > l->sent);
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

/* The socket's turn, once in a turn of the loop. */
static void read_in(struct link *l)
{
    l->frames = 0;
    l->behind = false;
    link_read_in(l);
    link_check_hang_up(l);
    want(l);
}

static void sock_readable(void *user)
{
    read_in(user);
}

static void more_fired(void *owner)
{
    read_in(owner);
}

static void starved_fired(void *owner)
{
    struct link *l = owner;
    l->ops->writable(l->user);
    if (l->starving)
        read_in(l);
}

static void unfinished_fired(void *owner)
{
    struct link *l = owner;
    char text[sizeof l->end_text];
    snprintf(text, sizeof text, "%s did not finish a frame in time", l->target->address);
    end_link(l, FAULT_MEMORY_FRAME, 0, text);
}

static void sock_writable(void *user)
{
    touch(user);
}

static void sock_hung_up(void *user)
{
    struct link *l = user;
    l->hung_up = true;
    link_check_hang_up(l);
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
        link_lose(l, 0);
    else if (!l->shut)
        sock_shut(l->sock);
    l->shut = true;
}

static void flush(void *owner)
{
    struct link *l = owner;
    if (l->state == LINK_NEW) {
        l->state = LINK_DIALING;
        dial_begin(&l->dial, l->shared->env, l->shared->loop, l->target,
                   l->shared->connect_timeout_ns, &dialing_ops, l);
        return;
    }
    if (l->state == LINK_OPEN)
        link_deliver_part(l);
    else if (l->state == LINK_FINISHING)
        link_drop_part(l);
    write_out(l);
    if (l->write_gone && link_wants_read(l))
        link_read_in(l);
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

struct link *link_open(struct link_shared *shared, const struct dial_target *target,
                       const struct link_ops *ops, void *user, struct budget *memory)
{
    struct link *l = calloc(1, sizeof *l);
    assert(l);
    l->shared = shared;
    l->target = target;
    l->ops = ops;
    l->user = user;
    l->memory = memory;
    timer_init(&l->starved, starved_fired, l);
    timer_init(&l->more, more_fired, l);
    timer_init(&l->unfinished, unfinished_fired, l);
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
    link_stop_starving(l);
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
    link_stop_starving(l);
    l->receipt_count = 0;
    struct timers *timers = l->shared->env->timers;
    timer_set(timers, &l->linger, timers_now(timers) + l->shared->linger_timeout_ns);
    touch(l);
}

void link_close(struct link *l)
{
    end_link(l, FAULT_NONE, 0, "closed");
}
