/*
 * Probes: a member that rests is tried when its pause is over, and all are now and then if the
 * configuration asks for it. A probe is a link of its own. Calls link.
 */
#include <assert.h>

#include "back/upstream_internal.h"
#include "base/random.h"

static bool is_by_accept(const struct upstream_member *m)
{
    return m->upstream->config.probe.kind == UPSTREAM_PROBE_ACCEPT;
}

/* Nobody can be asked by a connection: when it has rested it is up again. */
static bool is_for_datagrams(const struct upstream_member *m)
{
    return m->upstream->config.socket == UPSTREAM_DATAGRAM;
}

/* --- how it went --- */

/* That it takes connections says nothing new of one that is up. */
static void went_well(struct upstream_member *m)
{
    m->probe_told = true;
    if (is_by_accept(m) || !m->health.is_up)
        member_worked(m);
}

static void went_wrong(struct upstream_member *m, enum fault fault)
{
    m->probe_told = true;
    if (m->health.is_up && fault == FAULT_BACKEND_FULL) /* of us: see dial_fault */
        return;
    if (!m->health.is_up || fault == FAULT_BACKEND_CONNECT ||
        fault == FAULT_BACKEND_CONNECT_TIMEOUT)
        member_unreachable(m, fault);
    else
        member_failed(m, fault);
}

static void opened(void *user)
{
    struct upstream_member *m = user;
    const struct upstream_probe *probe = &m->upstream->config.probe;
    if (!is_by_accept(m)) {
        went_well(m);
        link_close(m->probe);
    } else if (link_room(m->probe) >= probe->hello_len + 4) {
        link_send(m->probe, probe->hello, probe->hello_len);
    } else { /* no memory: nothing is learnt */
        m->probe_told = true;
        link_close(m->probe);
    }
}

static void answered(void *user, const uint8_t *body, size_t len)
{
    struct upstream_member *m = user;
    const struct upstream_probe *probe = &m->upstream->config.probe;
    if (m->probe_told)
        return;
    if (probe->is_accepted(body, len))
        went_well(m);
    else
        went_wrong(m, FAULT_BACKEND_PROTOCOL);
    if (link_room(m->probe) >= probe->farewell_len + 4)
        link_send(m->probe, probe->farewell, probe->farewell_len);
    link_allow_eof(m->probe);
    link_finish(m->probe);
}

static void refused(void *user, uint64_t length)
{
    struct upstream_member *m = user;
    (void)length;
    if (!m->probe_told)
        went_wrong(m, FAULT_BACKEND_PROTOCOL);
    link_close(m->probe);
}

static void written(void *user, void *receipt, size_t bytes, size_t count)
{
    (void)user;
    (void)receipt;
    (void)bytes;
    (void)count;
}

static void writable(void *user)
{
    (void)user;
}

static void closed(void *user, const struct link_end *end)
{
    struct upstream_member *m = user;
    timer_stop(m->upstream->env->timers, &m->probe_limit);
    m->probe = NULL;
    if (!m->probe_told && end->fault != FAULT_NONE)
        went_wrong(m, end->fault);
    probe_schedule(m);
    member_settle(m);
}

static const struct link_ops probe_ops = {opened, answered, refused, written, writable, closed};

/* --- when --- */

static void limit_fired(void *owner)
{
    struct upstream_member *m = owner;
    if (!m->probe_told)
        went_wrong(m, FAULT_BACKEND_ACCEPT_TIMEOUT);
    link_close(m->probe);
}

static void due_fired(void *owner)
{
    struct upstream_member *m = owner;
    struct timers *timers = m->upstream->env->timers;
    if (is_for_datagrams(m)) {
        member_worked(m);
        return;
    }
    m->probe_told = false;
    m->probe = link_open(&m->upstream->shared, &m->target, &probe_ops, m, &m->probe_memory);
    timer_set(timers, &m->probe_limit,
              timers_now(timers) + m->upstream->config.connect_timeout_ns +
                  m->upstream->config.probe.timeout_ns);
}

void probe_init(struct upstream_member *m)
{
    timer_init(&m->probe_due, due_fired, m);
    timer_init(&m->probe_limit, limit_fired, m);
    budget_init(&m->probe_memory, m->upstream->env->memory, UINT64_MAX, NULL);
}

void probe_schedule(struct upstream_member *m)
{
    struct upstream *u = m->upstream;
    uint64_t due = TIMERS_NEVER, interval = u->config.probe.interval_ns;
    if (m->retired || m->probe || u->stopped)
        return;
    if (!m->health.is_up)
        due = m->health.rests_till_ns;
    else if (interval > 0 && !is_for_datagrams(m))
        due =
            timers_now(u->env->timers) + interval - random_below(&u->env->random, interval / 8 + 1);
    timer_set(u->env->timers, &m->probe_due, due);
}

void probe_stop(struct upstream_member *m)
{
    timer_stop(m->upstream->env->timers, &m->probe_due);
    m->probe_told = true;
    if (m->probe)
        link_close(m->probe);
}

void probe_fini(struct upstream_member *m)
{
    assert(!m->probe);
    budget_fini(&m->probe_memory);
}
