/*
 * Seats: who asks is answered at the end of the turn, who waits when something has changed. What
 * happens to those who are seated becomes their member's health. Calls pool, health, link, pipe and
 * dgram.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "back/upstream_internal.h"
#include "base/log.h"
#include "base/stats.h"

static void touch(struct upstream *u)
{
    turn_touch(u->env->turn, &u->flush);
}

static uint64_t now(const struct upstream *u)
{
    return timers_now(u->env->timers);
}

/* --- health --- */

static void told_down(struct upstream_member *m, enum fault fault)
{
    struct upstream *u = m->upstream;
    m->outages++;
    LOG(u->env->log, WARN, "backend.down", log_text("backend", u->name),
        log_text("address", m->target.address), log_text("fault", fault_name(fault)),
        log_uint("again_in_ms", (m->health.rests_till_ns - now(u)) / NS_PER_MS));
}

void member_worked(struct upstream_member *m)
{
    struct upstream *u = m->upstream;
    if (!health_worked(&m->health, now(u)))
        return;
    LOG(u->env->log, INFO, "backend.up", log_text("backend", u->name),
        log_text("address", m->target.address));
    probe_schedule(m);
    touch(u);
}

void member_unreachable(struct upstream_member *m, enum fault fault)
{
    struct upstream *u = m->upstream;
    if (health_unreachable(&m->health, now(u), &u->env->random))
        told_down(m, fault);
    probe_schedule(m);
    touch(u);
}

void member_failed(struct upstream_member *m, enum fault fault)
{
    struct upstream *u = m->upstream;
    if (!health_failed(&m->health, now(u), &u->env->random))
        return;
    told_down(m, fault);
    probe_schedule(m);
    touch(u);
}

/* --- choosing --- */

static struct upstream_member *member_of(const struct pool_member *place)
{
    return (struct upstream_member *)((char *)place - offsetof(struct upstream_member, place));
}

static bool was_tried(const struct seat *s, const struct upstream_member *m)
{
    for (unsigned i = 0; i < s->attempts; i++)
        if (s->tried[i] == m->id)
            return true;
    return false;
}

/* Of those who rest the one that is due first. */
static struct upstream_member *last_resort(const struct upstream *u)
{
    struct upstream_member *best = NULL;
    for (size_t i = 0; i < u->pool.count; i++) {
        struct upstream_member *m = member_of(u->pool.members[i]);
        if (m->place.excluded || !pool_has_room(&m->place))
            continue;
        if (!best || m->health.rests_till_ns < best->health.rests_till_ns)
            best = m;
    }
    return best;
}

/* NULL: there is none now; *may_come tells whether it is worth waiting for one. */
static struct upstream_member *choose(struct seat *s, bool *may_come)
{
    struct upstream *u = s->upstream;
    size_t left = 0, usable = 0;
    for (size_t i = 0; i < u->pool.count; i++) {
        struct upstream_member *m = member_of(u->pool.members[i]);
        m->place.excluded = was_tried(s, m);
        m->place.weight = health_weight(&m->health, now(u));
        left += !m->place.excluded;
        usable += !m->place.excluded && m->place.weight > 0;
    }
    struct pool_member *place = pool_choose(&u->pool, s->key);
    if (place)
        return member_of(place);
    *may_come = left > 0; /* when somebody leaves */
    return usable > 0 ? NULL : last_resort(u);
}

static bool names_are_unknown(const struct upstream *u)
{
    for (size_t i = 0; i < u->source_count; i++)
        if (!u->sources[i].answered)
            return true;
    return false;
}

/* --- answering --- */

static void unlist(struct seat *s)
{
    struct upstream *u = s->upstream;
    timer_stop(u->env->timers, &s->deadline);
    TAILQ_REMOVE(s->waits ? &u->waiting : &u->asking, s, entry);
    if (s->waits) {
        u->waiting_count--;
        u->env->stats->sessions_waiting--;
    }
    s->waits = false;
}

static void take(struct seat *s, struct upstream_member *m)
{
    unlist(s);
    s->member = m;
    s->tried[s->attempts++] = m->id;
    m->place.sessions++;
    m->given++;
    snprintf(s->address, sizeof s->address, "%s", m->target.address);
    s->ops->granted(s->user);
}

static void free_seat(struct seat *s)
{
    s->upstream->seats--;
    s->upstream = NULL;
}

static void deny(struct seat *s, enum fault fault, const char *text)
{
    unlist(s);
    free_seat(s);
    s->ops->denied(s->user, fault, text);
}

/* There is no address at all, or none is left. */
static void deny_for_want_of_addresses(struct seat *s)
{
    const struct upstream *u = s->upstream;
    const char *why = NULL;
    if (s->fault != FAULT_NONE) {
        deny(s, s->fault, NULL);
        return;
    }
    for (size_t i = 0; i < u->source_count && !why; i++)
        if (u->sources[i].why_not[0])
            why = u->sources[i].why_not;
    deny(s, FAULT_BACKEND_CONNECT, why ? why : "the name was not resolved in time");
}

static void deadline_fired(void *owner)
{
    struct seat *s = owner;
    if (s->upstream->pool.count > 0)
        deny(s, FAULT_BACKEND_FULL, "no address had room in time");
    else
        deny_for_want_of_addresses(s);
}

static void begin_to_wait(struct seat *s, uint64_t time_ns)
{
    struct upstream *u = s->upstream;
    TAILQ_REMOVE(&u->asking, s, entry);
    s->waits = true;
    TAILQ_INSERT_TAIL(&u->waiting, s, entry);
    u->waiting_count++;
    u->env->stats->sessions_waiting++;
    timer_set(u->env->timers, &s->deadline, now(u) + time_ns);
}

static void keep_or_deny(struct seat *s, bool may_come)
{
    struct upstream *u = s->upstream;
    bool for_names = u->pool.count == 0 && names_are_unknown(u);
    if (!may_come && !for_names) {
        deny_for_want_of_addresses(s);
    } else if (s->waits) {
        return;
    } else if (for_names) {
        begin_to_wait(s, u->config.connect_timeout_ns);
    } else if (u->waiting_count >= u->config.queue_max || u->config.queue_timeout_ns == 0) {
        deny(s, FAULT_BACKEND_FULL, "all addresses are full, and so is the queue");
    } else {
        begin_to_wait(s, u->config.queue_timeout_ns);
    }
}

/* Returns false if it got no seat. */
static bool serve(struct seat *s)
{
    bool may_come = false;
    struct upstream_member *m = choose(s, &may_come);
    if (m)
        take(s, m);
    else
        keep_or_deny(s, may_come);
    return m != NULL;
}

void seats_flush(void *upstream)
{
    struct upstream *u = upstream;
    struct seat *s, *next;
    /* What a newcomer cannot have, those behind it cannot have either. */
    for (s = TAILQ_FIRST(&u->waiting); s; s = next) {
        bool is_new = s->attempts == 0;
        next = TAILQ_NEXT(s, entry);
        if (!serve(s) && is_new && u->pool.count > 0)
            break;
    }
    while ((s = TAILQ_FIRST(&u->asking)))
        serve(s);
}

/* --- what holders say --- */

void seat_ask(struct seat *s, struct upstream *u, uint64_t key, const struct seat_ops *ops,
              void *user)
{
    assert(!s->upstream && !u->stopped);
    memset(s, 0, sizeof *s);
    s->upstream = u;
    s->ops = ops;
    s->user = user;
    s->key = key;
    timer_init(&s->deadline, deadline_fired, s);
    u->seats++;
    TAILQ_INSERT_TAIL(&u->asking, s, entry);
    touch(u);
}

struct link *seat_connect(struct seat *s, const struct link_ops *ops, void *user,
                          struct budget *memory)
{
    assert(s->member);
    return link_open(&s->upstream->shared, &s->member->target, ops, user, memory);
}

struct pipe *seat_open_pipe(struct seat *s, const void *preface, size_t len,
                            const struct pipe_ops *ops, void *user)
{
    assert(s->member);
    return pipe_open(&s->upstream->pipes, &s->member->target, preface, len, ops, user);
}

struct dgram *seat_open_dgram(struct seat *s, const struct dgram_ops *ops, void *user, int *error)
{
    assert(s->member);
    return dgram_open(&s->upstream->dgrams, &s->member->target, ops, user, error);
}

void seat_answered(struct seat *s)
{
    s->answered = true;
    s->member->answered++;
    member_worked(s->member);
}

static void learn(struct upstream_member *m, enum fault fault)
{
    if (fault == FAULT_BACKEND_FULL) /* of us: see dial_fault */
        return;
    if (fault == FAULT_BACKEND_CONNECT || fault == FAULT_BACKEND_CONNECT_TIMEOUT) {
        m->refused++;
        member_unreachable(m, fault);
    } else {
        m->lost++;
        member_failed(m, fault);
    }
}

static void give_place_back(struct seat *s)
{
    struct upstream_member *m = s->member;
    s->member = NULL;
    m->place.sessions--;
    touch(s->upstream);
    member_settle(m);
}

/* Whoever was silent has kept the client waiting for long enough. */
static bool may_go_on(const struct seat *s)
{
    return !s->answered && s->attempts < s->upstream->config.attempts && !s->upstream->stopped &&
           (s->fault == FAULT_BACKEND_CONNECT || s->fault == FAULT_BACKEND_CONNECT_TIMEOUT ||
            s->fault == FAULT_BACKEND_TLS || s->fault == FAULT_BACKEND_LOST);
}

static bool is_another_left(const struct seat *s)
{
    const struct upstream *u = s->upstream;
    for (size_t i = 0; i < u->pool.count; i++)
        if (!was_tried(s, member_of(u->pool.members[i])))
            return true;
    return false;
}

bool seat_failed(struct seat *s, enum fault fault)
{
    s->fault = fault;
    learn(s->member, fault);
    if (!may_go_on(s) || !is_another_left(s))
        return false;
    give_place_back(s);
    TAILQ_INSERT_HEAD(&s->upstream->asking, s, entry);
    return true;
}

void seat_leave(struct seat *s)
{
    if (!s->upstream)
        return;
    if (s->member)
        give_place_back(s);
    else
        unlist(s);
    free_seat(s);
}

const char *seat_address(const struct seat *s)
{
    return s->address;
}
